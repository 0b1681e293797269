"""The dense layer: ``activation(x kernel + bias)`` in one pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from fastseq import _core
from fastseq._arrays import Array, describe, floating, message
from fastseq.ops._saved import Saved, check_wanted, opened, place_for
from fastseq.ops.activation import activation_backward, activation_forward

__all__ = ["DenseGradients", "dense_backward", "dense_forward"]


class DenseGradients(NamedTuple):
    """Gradients in the shapes of the inputs; None where not wanted or not given to forward."""

    x: Array | None
    kernel: Array | None
    bias: Array | None


def dense_forward(
    x: Any, kernel: Any, bias: Any = None, *, activation: str = "linear", training: bool = True
) -> tuple[Array, Any]:
    """``y = activation(x kernel + bias)`` over the last axis.

    Args:
        x: (..., features), any real dtype; computed in the dtype of ``kernel``.
        kernel: (features, units), float32 or float64.
        bias: (units,) or None.
        activation: A name as for ``activation_forward``.
        training: Keep what backward needs; False: saved is None.
    Returns:
        y, (..., units), and what ``dense_backward`` needs. x and ``kernel`` are read again by backward
        and must not change before it.
    Raises:
        TypeError: Something is not an array of real numbers.
        ValueError: Shapes disagree, or there is no such activation.
    """
    function = "dense_forward"
    kernel = floating(kernel, function, "kernel")
    dtype = kernel.dtype
    x = floating(x, function, "x", dtype=dtype)
    if bias is not None:
        bias = floating(bias, function, "bias", dtype=dtype)
    if not isinstance(activation, str):
        raise TypeError(message(function, "activation", "be the name of one", describe(activation)))
    if _core.is_output_activation(activation):
        y = _core.dense_forward(x, kernel, bias, activation)
        after = None
    else:  # its slope needs the sums, or the whole row
        sums = _core.dense_forward(x, kernel, bias, "linear")
        y, after = activation_forward(sums, activation, training=training)
        activation = "linear"
    if not training:
        return y, None
    return y, Saved(function, x, kernel, bias is not None, y, activation, after)


def dense_backward(
    saved: Any,
    dy: Any,
    wanted: Sequence[str] = DenseGradients._fields,
    into: Mapping[str, Array] | None = None,
    keep: bool = False,
) -> DenseGradients:
    """The gradients of ``dense_forward``.

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
    function = "dense_backward"
    check_wanted(wanted, DenseGradients._fields, function)
    x, kernel, has_bias, y, activation, after = opened(saved, "dense_forward", function, keep)
    if after is not None:
        dy = activation_backward(after, dy, keep=keep).x
    else:
        dy = floating(dy, function, "dy", dtype=kernel.dtype)
    dkernel = place_for("kernel", wanted, into)
    dbias = place_for("bias", wanted, into) if has_bias else None
    return DenseGradients(*_core.dense_backward(x, kernel, y, dy, activation, "x" in wanted, dkernel, dbias))
