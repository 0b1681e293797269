"""Products of matrices, on arrays or Symbols."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastseq._arrays import Array, message
from fastseq._symbol import Op, Shape, apply, operators
from fastseq.ops.elementwise import broadcast, float_type, operands, unbroadcast
from fastseq.ops.symbolic import DENSE

__all__ = ["matmul"]

_Pair = namedtuple("_Pair", "a b")
_AB = ("a", "b")


def _matmul_forward(a: Array, b: Array, *, training: bool) -> tuple[Any, ...]:
    dtype = float_type(a, b)
    a, b = a.astype(dtype, copy=False), b.astype(dtype, copy=False)
    return np.asarray(np.matmul(a, b)), (a, b)


def _matmul_backward(saved: Any, dy: Array, *, wanted: Sequence[str] = _AB, **_: Any) -> _Pair:
    a, b = saved
    left = a if a.ndim > 1 else a[None, :]
    right = b if b.ndim > 1 else b[:, None]
    dy = dy if b.ndim > 1 else dy[..., None]
    dy = dy if a.ndim > 1 else dy[..., None, :]
    da = db = None
    if "a" in wanted:
        da = unbroadcast(np.matmul(dy, right.swapaxes(-1, -2)), left.shape).reshape(a.shape)
    if "b" in wanted:
        db = unbroadcast(np.matmul(left.swapaxes(-1, -2), dy), right.shape).reshape(b.shape)
    return _Pair(da, db)


def _matmul_infer(a: Any, b: Any) -> tuple[tuple[Shape, Any], ...]:
    left, right = tuple(a.shape), tuple(b.shape)
    inner = (left[-1], right[-2] if len(right) > 1 else right[0]) if left and right else (0, 1)
    if None not in inner and inner[0] != inner[1]:
        rule = "have as many columns as b has rows"
        raise ValueError(message("matmul", "a", rule, f"shapes {left} and {right}"))
    shape = broadcast("matmul", left[:-2], right[:-2])
    shape += (left[-2],) if len(left) > 1 else ()
    shape += (right[-1],) if len(right) > 1 else ()
    return ((shape, float_type(a, b)),)


MATMUL = Op("matmul", _AB, _matmul_forward, _matmul_infer, _matmul_backward, _AB)


def matmul(a: Any, b: Any) -> Any:
    """``a @ b`` by numpy's rules: the last two axes are matrices, those before are broadcast.

    A product with one matrix, (..., k) times (k, n), is that of a Dense layer and as fast.

    Args:
        a: (..., m, k), or (k,).
        b: (..., k, n), or (k,).
    Returns:
        (..., m, n), a float; without the axis of an argument that has but one.
    Raises:
        TypeError: Not real numbers.
        ValueError: Shapes do not fit.
    """
    a, b = operands("matmul", a=a, b=b)
    shapes = [value.shape if hasattr(value, "shape") else () for value in (a, b)]
    if () in shapes:
        name = "ab"[shapes.index(())]
        raise ValueError(message("matmul", name, "have at least 1 dimension", "shape ()"))
    _matmul_infer(a, b)
    if a.dtype == b.dtype and a.dtype.kind == "f" and len(a.shape) > 1 and len(b.shape) == 2:
        return apply(DENSE, (a, b, None), {"activation": "linear"})
    return apply(MATMUL, (a, b), {})


operators.update(matmul=matmul)
