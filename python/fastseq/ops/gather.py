"""Rows picked from arrays: batches, embeddings; and dropout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from fastseq import _core
from fastseq._arrays import Array, column, describe, floating, integer, message, number
from fastseq.ops._saved import Saved, check_wanted, opened

__all__ = [
    "DropoutGradients",
    "EmbeddingGradients",
    "dropout_backward",
    "dropout_forward",
    "embedding_backward",
    "embedding_forward",
    "gather_rows",
]


def gather_rows(source: Any, indices: Any, out: Array) -> Array:
    """``out[...] = source[indices]``, converted to the dtype of ``out`` on the way.

    Args:
        source: (rows, ...): bool, integers, float32 or float64.
        indices: (batch,) integers in [0, rows).
        out: (batch, ...) float32 or float64, C-contiguous and writable; overwritten.
    Returns:
        ``out``.
    Raises:
        TypeError: A dtype or layout other than those.
        ValueError: Shapes disagree, an index is out of range, or ``out`` is read-only.
    """
    function = "gather_rows"
    if not isinstance(out, np.ndarray):
        raise TypeError(message(function, "out", "be an array", describe(out)))
    source = column(source, function, "source")
    _core.gather_rows(function, source, integer(indices, function, "indices", ndim=1), out)
    return out


class EmbeddingGradients(NamedTuple):
    """The gradient of the table, in its shape; None where not wanted."""

    table: Array | None


def embedding_forward(ids: Any, table: Any, *, training: bool = True) -> tuple[Array, Any]:
    """``table[ids]``: a row for each id.

    Args:
        ids: Whole numbers in [0, rows), any shape.
        table: (rows, features), float32 or float64.
        training: Keep what backward needs; False: saved is None.
    Returns:
        y, (*ids.shape, features), and what ``embedding_backward`` needs.
    Raises:
        TypeError: Not arrays of real numbers.
        ValueError: An id is out of range or no whole number; the table has not 2 dimensions.
    """
    function = "embedding_forward"
    ids = integer(ids, function, "ids")
    table = floating(table, function, "table")
    y = _core.embedding(ids, table)
    return y, Saved(function, ids, table.shape, table.dtype) if training else None


def embedding_backward(
    saved: Any,
    dy: Any,
    wanted: Sequence[str] = ("table",),
    into: Mapping[str, Array] | None = None,
    keep: bool = False,
) -> EmbeddingGradients:
    """The gradient of ``embedding_forward``: each row of dy added to its id's row, in order.

    Args:
        saved: What forward returned; used up unless ``keep``.
        dy: Like y.
        wanted: ("table",) or nothing.
        into: {"table": an array} to which the gradient is added.
        keep: Leave ``saved`` usable for another backward.
    Raises:
        TypeError: ``saved`` is something else.
        ValueError: dy has another shape.
        RuntimeError: ``saved`` was used up.
    """
    function = "embedding_backward"
    check_wanted(wanted, EmbeddingGradients._fields, function)
    ids, shape, dtype = opened(saved, "embedding_forward", function, keep)
    if "table" not in wanted:
        return EmbeddingGradients(None)
    dtable = (into or {}).get("table")
    if dtable is None:
        dtable = np.zeros(shape, dtype)
    elif not isinstance(dtable, np.ndarray) or dtable.shape != shape:
        raise ValueError(message(function, "into['table']", f"have shape {shape}", describe(dtable)))
    _core.embedding_backward(ids, floating(dy, function, "dy", dtype=dtype), dtable)
    return EmbeddingGradients(dtable)


class DropoutGradients(NamedTuple):
    """The gradient of the input, in its shape; None where not wanted."""

    x: Array | None


def dropout_forward(x: Any, rate: float, seed: int, *, training: bool = True) -> tuple[Array, Any]:
    """x with a share of its elements set to 0 and the others made larger by ``1 / (1 - rate)``.

    Args:
        x: Any shape, any real dtype.
        rate: In [0, 1]: the chance of each element to be dropped; at 1, y is all 0.
        seed: In [0, 2**64). The same seed drops the same elements on any number of threads.
        training: False drops nothing: y is x, saved is None.
    Returns:
        y, like x, and what ``dropout_backward`` needs.
    Raises:
        TypeError: Not an array of real numbers.
        ValueError: ``rate`` or ``seed`` is out of range.
    Source:
        Srivastava et al. (2014); random numbers: Salmon et al. (2011),
        https://doi.org/10.1145/2063384.2063405
    """
    function = "dropout_forward"
    x = floating(x, function, "x")
    if not training:
        return x, None
    rate = number(rate, function, "rate", low=0, high=1)
    seed = number(seed, function, "seed", low=0, high=2**64 - 1, whole=True)
    return _dropped(function, x, rate, seed), Saved(function, x.shape, x.dtype, rate, seed)


def dropout_backward(
    saved: Any,
    dy: Any,
    wanted: Sequence[str] = ("x",),
    into: Mapping[str, Array] | None = None,
    keep: bool = False,
) -> DropoutGradients:
    """The gradient of ``dropout_forward``: dy with the same elements dropped.

    Args:
        saved: What forward returned; used up unless ``keep``.
        dy: Like y.
        wanted: ("x",) or nothing.
        into: Not used: x is no parameter.
        keep: Leave ``saved`` usable for another backward.
    Raises:
        TypeError: ``saved`` is something else.
        ValueError: dy has another shape.
        RuntimeError: ``saved`` was used up.
    """
    function = "dropout_backward"
    check_wanted(wanted, DropoutGradients._fields, function)
    shape, dtype, rate, seed = opened(saved, "dropout_forward", function, keep)
    if "x" not in wanted:
        return DropoutGradients(None)
    dy = floating(dy, function, "dy", dtype=dtype)
    if dy.shape != shape:
        raise ValueError(message(function, "dy", f"have the shape of y, {shape}", str(dy.shape)))
    return DropoutGradients(_dropped(function, dy, rate, seed))


def _dropped(function: str, x: Array, rate: float, seed: int) -> Array:
    # The kernel divides by 1 - rate.
    return np.zeros_like(x) if rate == 1.0 else _core.dropout(function, x, rate, seed)
