"""Sums, means and extremes over axes, on arrays or Symbols."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable
from typing import Any

import numpy as np

from fastseq._arrays import INT64, Array, message, number
from fastseq._floatx import EPSILON
from fastseq._symbol import Op, Shape, apply
from fastseq.ops.elementwise import divide, float_type, maximum, operands, sqrt, square

__all__ = ["max", "mean", "min", "normalize", "sum"]

_X = namedtuple("_X", "x")


def _axes(function: str, axis: Any, rank: int) -> tuple[int, ...]:
    """The axes meant, from 0, in order.

    Raises:
        TypeError: Not integers.
        ValueError: There is no such axis, or one is named twice.
    """
    if axis is None:
        return tuple(range(rank))
    several = axis if isinstance(axis, (tuple, list)) else [axis]
    given = [number(one, function, "axis", whole=True) for one in several]
    for one in given:
        if not -rank <= one < rank:
            raise ValueError(message(function, "axis", f"lie in [{-rank}, {rank})", str(one)))
    axes = sorted(one % rank for one in given)
    if len(set(axes)) < len(axes):
        raise ValueError(message(function, "axis", "name each axis once", str(axis)))
    return tuple(axes)


def _shape_without(shape: Shape, axes: tuple[int, ...], keepdims: bool) -> Shape:
    if keepdims:
        return tuple(1 if axis in axes else n for axis, n in enumerate(shape))
    return tuple(n for axis, n in enumerate(shape) if axis not in axes)


def _stretched(values: Array, shape: tuple[int, ...], axes: tuple[int, ...]) -> Array:
    """``values`` without the axes, at every place along them."""
    return np.broadcast_to(values.reshape(_shape_without(shape, axes, True)), shape)


def _sum_type(x: Any) -> np.dtype[Any]:
    return x.dtype if x.dtype.kind == "f" else INT64


def _reduction(
    name: str,
    value: Callable[..., Any],
    slope: Callable[[Array, Array, tuple[int, ...]], Any],
    type_of: Callable[[Any], np.dtype[Any]],
) -> Op:
    """The Op of a reduction.

    Args:
        name: As in ``fastseq.ops``.
        value: ``value(x, axis=..., keepdims=...)``.
        slope: ``slope(x, y, axes)``: what the gradient of ``y``, stretched, is multiplied with; y with
            all axes kept.
        type_of: The result's type.
    """

    def forward(x: Array, *, axes: tuple[int, ...], keepdims: bool, training: bool) -> tuple[Any, ...]:
        with np.errstate(all="ignore"):
            y = np.asarray(value(x, axis=axes, keepdims=True)).astype(type_of(x), copy=False)
        out = y if keepdims else y.reshape(_shape_without(x.shape, axes, False))
        return out, (x, y, axes)

    def backward(saved: Any, dy: Array, **_: Any) -> _X:
        x, y, axes = saved
        factor = slope(x, y, axes)
        dx = _stretched(dy, x.shape, axes)
        return _X(dx if factor is None else dx * factor)

    def infer(x: Any, *, axes: tuple[int, ...], keepdims: bool) -> tuple[tuple[Shape, Any], ...]:
        return ((_shape_without(x.shape, axes, keepdims), type_of(x)),)

    return Op(name, ("x",), forward, infer, backward, ("x",), fresh=False)


def _total(x: Array, axis: tuple[int, ...], keepdims: bool) -> Any:
    return np.sum(x, axis=axis, keepdims=keepdims, dtype=_sum_type(x))


def _count(x: Array, y: Array) -> float:
    """How many elements of ``x`` make one of ``y``."""
    return x.size / y.size if y.size else 1


def _mean(x: Array, axis: tuple[int, ...], keepdims: bool) -> Any:
    total = np.asarray(np.sum(x, axis=axis, keepdims=keepdims, dtype=float_type(x)))
    return total / total.dtype.type(_count(x, total))


def _shared(x: Array, y: Array, axes: tuple[int, ...]) -> Array:
    """1 where the extreme lies, divided by how many share it."""
    hit = np.equal(x, y)
    shared: Array = hit / hit.sum(axis=axes, keepdims=True).astype(y.dtype)
    return shared


SUM = _reduction("sum", _total, lambda x, y, axes: None, _sum_type)
MEAN = _reduction("mean", _mean, lambda x, y, axes: y.dtype.type(1 / _count(x, y)), float_type)
MAX = _reduction("max", np.max, _shared, lambda x: x.dtype)
MIN = _reduction("min", np.min, _shared, lambda x: x.dtype)


def _reduce(op: Op, x: Any, axis: Any, keepdims: bool) -> Any:
    (x,) = operands(op.name, x=x)
    return apply(op, (x,), {"axes": _axes(op.name, axis, len(x.shape)), "keepdims": bool(keepdims)})


def sum(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """The sum over axes; of integers and bools an int64.

    Args:
        x: Any shape.
        axis: An axis, several, or None for all of them.
        keepdims: Whether the axes stay, with size 1.
    Raises:
        TypeError: Not real numbers, or an axis that is no integer.
        ValueError: There is no such axis.
    """
    return _reduce(SUM, x, axis, keepdims)


def mean(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """The mean over axes, a float; arguments and errors as for ``sum``."""
    return _reduce(MEAN, x, axis, keepdims)


def max(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """The largest over axes; equal ones share the gradient. Arguments and errors as for ``sum``."""
    return _reduce(MAX, x, axis, keepdims)


def min(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """The smallest over axes; equal ones share the gradient. Arguments and errors as for ``sum``."""
    return _reduce(MIN, x, axis, keepdims)


def normalize(x: Any, axis: Any = -1) -> Any:
    """``x`` over its length along an axis (or several), which is taken to be at least 1e-7.

    Args:
        x: Any shape.
        axis: As for ``sum``.
    Raises:
        TypeError: Not real numbers, or an axis that is no integer.
        ValueError: There is no such axis.
    """
    squares = sum(square(x), axis=axis, keepdims=True)
    return divide(x, sqrt(maximum(squares, EPSILON**2)))
