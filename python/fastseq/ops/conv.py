"""Convolution over images, (batch, height, width, channels), with bias and activation in one pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from fastseq import _core
from fastseq._arrays import Array, describe, floating, message
from fastseq._symbol import Op, Shape, apply
from fastseq.ops._saved import Saved, check_wanted, opened, place_for
from fastseq.ops._windows import Axis, axes_of, output_shape, padding_of, pair, pooled
from fastseq.ops.activation import activation_backward, activation_forward

__all__ = ["Conv2DGradients", "conv2d", "conv2d_backward", "conv2d_forward"]


class Conv2DGradients(NamedTuple):
    """Gradients in the shapes of the inputs; None where not wanted or not given to forward."""

    x: Array | None
    kernel: Array | None
    bias: Array | None


def conv2d_forward(
    x: Any,
    kernel: Any,
    bias: Any = None,
    *,
    strides: Any = 1,
    padding: str = "valid",
    dilation_rate: Any = 1,
    activation: str = "linear",
    pool_size: Any = 1,
    training: bool = True,
) -> tuple[Array, Any]:
    """``y = activation(bias + the sum over a window of x times kernel)``, at each place of the window.

    Args:
        x: (batch, height, width, channels), any real dtype; computed in the dtype of ``kernel``.
        kernel: (kernel height, kernel width, channels, filters), float32 or float64.
        bias: (filters,) or None.
        strides: How far the window moves: an int, or (height, width).
        padding: "valid": windows lie in the image; "same": zeros around it, such that y is
            ceil(size / stride) in size, the odd one below and to the right.
        dilation_rate: How far neighbours in the window are apart: an int, or (height, width).
        activation: A name as for ``activation_forward``.
        pool_size: Of y only the largest of each block of this size, an int or (height, width), is made, as
            by ``max_pool2d``, in less time and memory than by the two. The slope of ``activation`` must
            then follow from its output.
        training: Keep what backward needs; False: saved is None.
    Returns:
        y, (batch, new height, new width, filters), and what ``conv2d_backward`` needs. x and ``kernel``
        are read again by backward and must not change before it.
    Raises:
        TypeError: Something is not an array of real numbers, or an option not an integer.
        ValueError: Shapes disagree, x is smaller than the window, or there is no such option.
    """
    function = "conv2d_forward"
    kernel = floating(kernel, function, "kernel", ndim=4)
    dtype = kernel.dtype
    x = floating(x, function, "x", dtype=dtype)
    if bias is not None:
        bias = floating(bias, function, "bias", dtype=dtype)
    if not isinstance(activation, str):
        raise TypeError(message(function, "activation", "be the name of one", describe(activation)))
    pool = pair(pool_size, function, "pool_size")
    h, w = _axes(function, x.shape, kernel.shape, strides, padding, dilation_rate, pool)
    if pool != (1, 1) or _core.is_output_activation(activation):
        y, place = _core.conv2d_forward(x, kernel, bias, h, w, pool, activation, training)
        after = None
    else:  # its slope needs the sums, or the whole row
        sums, place = _core.conv2d_forward(x, kernel, bias, h, w, pool, "linear", training)
        y, after = activation_forward(sums, activation, training=training)
        activation = "linear"
    if not training:
        return y, None
    return y, Saved(function, x, kernel, bias is not None, y, place, h, w, pool, activation, after)


def _axes(
    function: str,
    shape: tuple[int | None, ...],
    kernel: tuple[int, ...],
    strides: Any,
    padding: str,
    dilation_rate: Any,
    pool: tuple[int, int],
) -> tuple[Axis | None, Axis | None]:
    axes = axes_of(
        function,
        shape,
        (kernel[0], kernel[1]),
        pair(strides, function, "strides"),
        pair(dilation_rate, function, "dilation_rate"),
        padding_of(padding, function),
    )
    return axes if pool == (1, 1) else pooled(function, axes, pool)


def conv2d_backward(
    saved: Any,
    dy: Any,
    wanted: Sequence[str] = Conv2DGradients._fields,
    into: Mapping[str, Array] | None = None,
    keep: bool = False,
) -> Conv2DGradients:
    """The gradients of ``conv2d_forward``.

    Args:
        saved: What forward returned; used up unless ``keep``.
        dy: Like y.
        wanted: Which gradients to compute: some of x, kernel, bias.
        into: Arrays by name (kernel, bias) to which the gradients are added.
        keep: Leave ``saved`` usable for another backward.
    Raises:
        TypeError: ``saved`` is something else.
        ValueError: Shapes disagree with forward's, or ``wanted`` names something else.
        RuntimeError: ``saved`` was used up.
    """
    function = "conv2d_backward"
    check_wanted(wanted, Conv2DGradients._fields, function)
    values = opened(saved, "conv2d_forward", function, keep)
    x, kernel, has_bias, y, place, h, w, pool, activation, after = values
    if after is not None:
        dy = activation_backward(after, dy, keep=keep).x
    else:
        dy = floating(dy, function, "dy", dtype=kernel.dtype)
    dkernel = place_for("kernel", wanted, into)
    dbias = place_for("bias", wanted, into) if has_bias else None
    made = _core.conv2d_backward(
        x, kernel, y, place, dy, h, w, pool, activation, "x" in wanted, dkernel, dbias
    )
    return Conv2DGradients(*made)


def _infer(
    x: Any,
    kernel: Any,
    bias: Any,
    *,
    strides: Any,
    padding: str,
    dilation_rate: Any,
    activation: str,
    pool_size: Any,
) -> tuple[tuple[Shape, Any], ...]:
    function = "conv2d"
    if len(kernel.shape) != 4:
        raise ValueError(message(function, "kernel", "have 4 dimensions", f"shape {tuple(kernel.shape)}"))
    pool = pair(pool_size, function, "pool_size")
    axes = _axes(function, x.shape, kernel.shape, strides, padding, dilation_rate, pool)
    if x.shape[3] not in (None, kernel.shape[2]):
        rule = f"have {kernel.shape[2]} channels"
        raise ValueError(message(function, "x", rule, f"shape {tuple(x.shape)}"))
    _, high, wide, filters = output_shape(x.shape, axes, kernel.shape[3])
    sizes = (None if size is None else size // block for size, block in zip((high, wide), pool, strict=True))
    return (((x.shape[0], *sizes, filters), kernel.dtype),)


_ARGUMENTS = ("x", "kernel", "bias")
CONV2D = Op("conv2d", _ARGUMENTS, conv2d_forward, _infer, conv2d_backward, _ARGUMENTS, adds=True)


def conv2d(
    x: Any,
    kernel: Any,
    bias: Any = None,
    *,
    strides: Any = 1,
    padding: str = "valid",
    dilation_rate: Any = 1,
    activation: str = "linear",
    pool_size: Any = 1,
) -> Any:
    """Convolution of arrays or Symbols: ``conv2d_forward`` without ``saved``."""
    options = {
        "strides": strides,
        "padding": padding,
        "dilation_rate": dilation_rate,
        "activation": activation,
        "pool_size": pool_size,
    }
    return apply(CONV2D, (x, kernel, bias), options)


def pools(options: Mapping[str, Any], pooling: Mapping[str, Any]) -> bool:
    """Whether a convolution with ``options`` can make just what ``max_pool2d`` with ``pooling`` would."""
    size = pair(pooling["pool_size"], "max_pool2d", "pool_size")
    strides = size if pooling["strides"] is None else pair(pooling["strides"], "max_pool2d", "strides")
    whole = strides == size and pooling["padding"].lower() == "valid"
    return whole and options["pool_size"] == 1 and _core.is_output_activation(options["activation"])
