"""Data on their way to the model: columns of arrays, split, shuffled, and gathered batch by batch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from fastseq import ops
from fastseq._arrays import Array, column, describe, floating, message
from fastseq._random import generator
from fastseq._symbol import Symbol

__all__ = ["Batches", "agree", "class_weights", "columns", "fits", "split"]


def columns(value: Any, names: Sequence[str], function: str, argument: str) -> list[Any]:
    """One entry per name out of what a user gave: a dict by name, a list, or, for one name, an array.

    Raises:
        ValueError: Another number of entries, or a name that is missing or unknown.
    """
    count = len(names)
    if isinstance(value, dict):
        missing = [name for name in names if name not in value]
        unknown = [name for name in value if name not in names]
        if missing or unknown:
            rule = f"have the keys {', '.join(names)}"
            raise ValueError(message(function, argument, rule, ", ".join(map(str, value))))
        return [value[name] for name in names]
    if count == 1:
        alone = isinstance(value, (list, tuple)) and len(value) == 1 and isinstance(value[0], np.ndarray)
        return [value[0]] if alone and value[0].ndim > 0 else [value]
    if not isinstance(value, (list, tuple)) or len(value) != count:
        got = f"{len(value)} entries" if isinstance(value, (list, tuple)) else describe(value)
        raise ValueError(message(function, argument, f"be a list of {count} arrays", got))
    return list(value)


def agree(shape: tuple[int, ...], wanted: tuple[int | None, ...]) -> bool:
    """Whether a shape is the one that is wanted, where None stands for any size."""
    same_rank = len(shape) == len(wanted)
    return same_rank and not [n for n, want in zip(shape, wanted, strict=True) if want not in (None, n)]


def fits(array: Array, symbol: Symbol, function: str, argument: str) -> Array:
    """The array, its shape agreeing with the Symbol's; a missing last axis of size 1 is added.

    Raises:
        ValueError: It does not agree.
    """
    shape = symbol.shape
    if array.ndim == len(shape) - 1 and shape[-1] == 1:
        array = array.reshape((*array.shape, 1))
    if not agree(array.shape[1:], shape[1:]):
        raise ValueError(message(function, argument, f"have shape {shape}", str(array.shape)))
    return array


def split(arrays: Sequence[Array | None], share: float) -> tuple[list[Any], list[Any]]:
    """(the first rows, the last rows) of every array: the last ``share`` of them are for validation.

    Raises:
        ValueError: ``share`` is not in (0, 1), or leaves one side without rows.
    """
    if not 0.0 < share < 1.0:
        raise ValueError(message("fit", "validation_split", "be in (0, 1)", repr(share)))
    rows = next(len(array) for array in arrays if array is not None)
    at = math.floor(rows * (1.0 - share))
    if at == 0 or at == rows:
        got = f"{rows} rows split at {at}"
        raise ValueError(message("fit", "validation_split", "leave rows on both sides", got))
    first = [None if array is None else array[:at] for array in arrays]
    return first, [None if array is None else array[at:] for array in arrays]


def class_weights(target: Array, weights: dict[int, float], sparse: bool) -> Array:
    """A weight per row from a weight per class: float32, the shape of the labels.

    Args:
        target: One-hot (..., classes), or labels where ``sparse`` or the last axis has size 1.
        weights: By class; 1 where a class is missing.
        sparse: Whether ``target`` holds labels.
    """
    if not sparse and target.shape[-1] > 1:
        labels = target.argmax(axis=-1)
    else:
        labels = np.rint(target if sparse else target[..., 0]).astype(np.int64)
    classes = max(int(labels.max(initial=0)), max((int(key) for key in weights), default=0)) + 1
    table = np.ones(classes, np.float32)
    for key, weight in weights.items():
        table[int(key)] = weight
    return np.asarray(table[labels])


class Batches:
    """The rows of several columns, batch by batch, in buffers that are used again for the next batch.

    Args:
        data: Columns of equal length; None stands for one that is not there.
        types: For each column the dtype its batches have; None leaves the column's own.
        batch_size: Rows per batch; the last batch may have fewer.
    Attributes:
        rows: How many rows there are.
        steps: How many batches.
    """

    def __init__(
        self, data: Sequence[Array | None], types: Sequence[np.dtype[Any] | None], batch_size: int
    ) -> None:
        self.rows = next((len(array) for array in data if array is not None), 0)
        self.batch_size = batch_size
        self.steps = -(-self.rows // batch_size)
        self._data = list(data)
        self._types = [
            None if array is None else array.dtype if kind is None else np.dtype(kind)
            for array, kind in zip(data, types, strict=True)
        ]
        self._buffers: list[Array | None] = [None] * len(self._data)

    def _buffer(self, index: int, rows: int) -> Array:
        buffer = self._buffers[index]
        if buffer is None:
            array = self._data[index]
            assert array is not None
            shape = (min(self.batch_size, self.rows), *array.shape[1:])
            buffer = self._buffers[index] = np.empty(shape, self._types[index])
        return buffer if len(buffer) == rows else buffer[:rows]

    def _take(self, index: int, begin: int, end: int, order: Array | None) -> Array | None:
        array = self._data[index]
        if array is None:
            return None
        if order is None:
            part = array[begin:end]
            if array.dtype == self._types[index]:
                return part
            out = self._buffer(index, end - begin)
            np.copyto(out, part, casting="unsafe")
            return out
        out = self._buffer(index, end - begin)
        if out.dtype.kind == "f":
            ops.gather_rows(array, order[begin:end], out)
        else:
            np.take(array, order[begin:end], axis=0, out=out)
        return out

    def epoch(self, shuffle: bool = False, first: int = 0) -> Iterator[list[Any]]:
        """Every batch once: lists with an array (or None) per column, valid until the next batch.

        Args:
            shuffle: Whether the rows come in a random order, drawn from ``set_seed``'s generator now.
            first: How many batches of them to leave out.
        """
        order = generator().permutation(self.rows) if shuffle else None
        return self._in_order(order, first)

    def _in_order(self, order: Array | None, first: int) -> Iterator[list[Any]]:
        every = range(len(self._data))
        for begin in range(first * self.batch_size, self.rows, self.batch_size):
            end = min(begin + self.batch_size, self.rows)
            yield [self._take(index, begin, end, order) for index in every]


def sample_weights(value: Any, names: Sequence[str], function: str) -> list[Array | None]:
    """Weights of samples, one array or None per output; one array alone stands for all outputs."""
    if value is None:
        return [None] * len(names)
    if isinstance(value, np.ndarray) or len(names) == 1:
        parts = [value[0]] if isinstance(value, list) and len(value) == 1 else [value]
        parts = parts * len(names) if isinstance(value, np.ndarray) else parts
    else:
        parts = columns(value, names, function, "sample_weight")
    return [None if part is None else floating(part, function, "sample_weight") for part in parts]


def same_rows(data: Sequence[tuple[str, Array | None]], function: str) -> int:
    """The number of rows, which all columns must share.

    Raises:
        ValueError: They do not.
    """
    counts = {name: len(array) for name, array in data if array is not None}
    if len(set(counts.values())) > 1:
        got = ", ".join(f"{name} with {rows}" for name, rows in counts.items())
        raise ValueError(message(function, "data", "have the same number of rows", got))
    return next(iter(counts.values()))


def as_columns(values: Sequence[Any], symbols: Sequence[Symbol], function: str, argument: str) -> list[Array]:
    """Every value as a dataset's column that fits its Symbol."""
    return [
        fits(column(value, function, argument), symbol, function, argument)
        for value, symbol in zip(values, symbols, strict=True)
    ]
