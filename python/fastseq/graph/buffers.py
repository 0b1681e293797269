"""The flat buffers in which weights and their gradients lie."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from fastseq._arrays import Array
from fastseq._symbol import Variable

__all__ = ["pack", "segments"]

ALIGNMENT = 64  # bytes: a cache line, and the widest register


def _aligned_zeros(size: int, dtype: np.dtype[Any]) -> Array:
    raw = np.zeros(size * dtype.itemsize + ALIGNMENT, np.uint8)
    offset = -raw.ctypes.data % ALIGNMENT
    return raw[offset : offset + size * dtype.itemsize].view(dtype)


class _Store:
    """One flat buffer of values and one of gradients; variables are views at 64-byte steps."""

    def __init__(self, variables: Sequence[Variable], dtype: np.dtype[Any]) -> None:
        step = ALIGNMENT // dtype.itemsize
        sizes = [-(-variable.value.size // step) * step for variable in variables]
        self.values = _aligned_zeros(sum(sizes), dtype)
        self.gradients = _aligned_zeros(sum(sizes), dtype)
        begin = 0
        for variable, size in zip(variables, sizes, strict=True):
            shape, end = variable.value.shape, begin + variable.value.size
            view = self.values[begin:end].reshape(shape)
            view[...] = variable.value
            variable.value = view
            variable.gradient = self.gradients[begin:end].reshape(shape)
            variable.place = (self, begin)
            begin += size


def pack(variables: Iterable[Variable]) -> None:
    """Moves variables into flat buffers, one per dtype, each with a buffer of gradients (all 0).

    Those that have a place already keep it, for good: plans remember where they are.
    """
    by_dtype: dict[np.dtype[Any], list[Variable]] = {}
    for variable in dict.fromkeys(variables):
        if variable.place is None:
            by_dtype.setdefault(variable.dtype, []).append(variable)
    for dtype, group in by_dtype.items():
        _Store(group, dtype)


def segments(variables: Iterable[Variable]) -> list[tuple[Array, Array]]:
    """(value, gradient) flat arrays of each of the packed ``variables``, each counted once."""
    found = []
    for variable in dict.fromkeys(variables):
        assert variable.place is not None
        store, begin = variable.place
        part = slice(begin, begin + variable.value.size)
        found.append((store.values[part], store.gradients[part]))
    return found
