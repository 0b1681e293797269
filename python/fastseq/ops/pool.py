"""Pooling over images, (batch, height, width, channels): the largest or the mean of each window."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from fastseq import _core
from fastseq._arrays import Array, floating
from fastseq._symbol import Op, Shape, apply
from fastseq.ops._saved import Saved, check_wanted, opened
from fastseq.ops._windows import Axis, axes_of, output_shape, padding_of, pair

__all__ = [
    "Pool2DGradients",
    "average_pool2d",
    "average_pool2d_backward",
    "average_pool2d_forward",
    "max_pool2d",
    "max_pool2d_backward",
    "max_pool2d_forward",
]


class Pool2DGradients(NamedTuple):
    """The gradient of x; None where not wanted."""

    x: Array | None


def _axes(
    function: str, shape: tuple[int | None, ...], pool_size: Any, strides: Any, padding: str
) -> tuple[Axis | None, Axis | None]:
    taps = pair(pool_size, function, "pool_size")
    moved = taps if strides is None else pair(strides, function, "strides")
    return axes_of(function, shape, taps, moved, (1, 1), padding_of(padding, function))


def _forward(
    function: str, average: bool, x: Any, pool_size: Any, strides: Any, padding: str, training: bool
) -> tuple[Array, Any]:
    x = floating(x, function, "x")
    h, w = _axes(function, x.shape, pool_size, strides, padding)
    y, place = _core.pool2d_forward(average, x, h, w, training)
    return y, Saved(function, x.shape, y.dtype, place, h, w) if training else None


def _backward(average: bool, saved: Any, dy: Any, wanted: Sequence[str], keep: bool) -> Pool2DGradients:
    name = "average_pool2d" if average else "max_pool2d"
    function = f"{name}_backward"
    check_wanted(wanted, Pool2DGradients._fields, function)
    shape, dtype, place, h, w = opened(saved, f"{name}_forward", function, keep)
    dy = floating(dy, function, "dy", dtype=dtype)
    if "x" not in wanted:
        return Pool2DGradients(None)
    return Pool2DGradients(_core.pool2d_backward(average, shape, place, dy, h, w))


def max_pool2d_forward(
    x: Any, *, pool_size: Any = 2, strides: Any = None, padding: str = "valid", training: bool = True
) -> tuple[Array, Any]:
    """The largest of each window and channel; NaN where the window holds one.

    Args:
        x: (batch, height, width, channels), float32 or float64 (anything else becomes float32).
        pool_size: The window: an int, or (height, width).
        strides: How far it moves; as far as it is large by default.
        padding: "valid": windows lie in the image; "same": also those that reach beyond it, as for
            ``conv2d_forward``; what lies outside does not count.
        training: Keep what backward needs; False: saved is None.
    Returns:
        y, (batch, new height, new width, channels), and what ``max_pool2d_backward`` needs.
    Raises:
        TypeError: Not an array of real numbers, or an option not an integer.
        ValueError: Not four axes, x smaller than the window, or no such padding.
    """
    return _forward("max_pool2d_forward", False, x, pool_size, strides, padding, training)


def max_pool2d_backward(
    saved: Any, dy: Any, wanted: Sequence[str] = ("x",), into: Any = None, keep: bool = False
) -> Pool2DGradients:
    """The gradient of ``max_pool2d_forward``: each of ``dy`` to the first of the largest in its window.

    Args:
        saved: What forward returned; used up unless ``keep``.
        dy: Like y.
        wanted: ("x",), or nothing.
        into: Not used: there are no parameters.
        keep: Leave ``saved`` usable for another backward.
    Raises:
        TypeError: ``saved`` is something else.
        ValueError: dy has another shape than y.
        RuntimeError: ``saved`` was used up.
    """
    return _backward(False, saved, dy, wanted, keep)


def average_pool2d_forward(
    x: Any, *, pool_size: Any = 2, strides: Any = None, padding: str = "valid", training: bool = True
) -> tuple[Array, Any]:
    """The mean of each window and channel, over what lies in the image; see ``max_pool2d_forward``."""
    return _forward("average_pool2d_forward", True, x, pool_size, strides, padding, training)


def average_pool2d_backward(
    saved: Any, dy: Any, wanted: Sequence[str] = ("x",), into: Any = None, keep: bool = False
) -> Pool2DGradients:
    """The gradient of ``average_pool2d_forward``; arguments and errors as for ``max_pool2d_backward``."""
    return _backward(True, saved, dy, wanted, keep)


def _op(name: str, forward: Any, backward: Any) -> Op:
    def infer(x: Any, *, pool_size: Any, strides: Any, padding: str) -> tuple[tuple[Shape, Any], ...]:
        axes = _axes(name, x.shape, pool_size, strides, padding)
        return ((output_shape(x.shape, axes, x.shape[3]), x.dtype),)

    return Op(name, ("x",), forward, infer, backward, ("x",))


MAX_POOL2D = _op("max_pool2d", max_pool2d_forward, max_pool2d_backward)
AVERAGE_POOL2D = _op("average_pool2d", average_pool2d_forward, average_pool2d_backward)


def max_pool2d(x: Any, pool_size: Any = 2, strides: Any = None, padding: str = "valid") -> Any:
    """``max_pool2d_forward`` of an array or a Symbol, without ``saved``."""
    return apply(MAX_POOL2D, (x,), {"pool_size": pool_size, "strides": strides, "padding": padding})


def average_pool2d(x: Any, pool_size: Any = 2, strides: Any = None, padding: str = "valid") -> Any:
    """``average_pool2d_forward`` of an array or a Symbol, without ``saved``."""
    return apply(AVERAGE_POOL2D, (x,), {"pool_size": pool_size, "strides": strides, "padding": padding})
