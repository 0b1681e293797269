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
            variable.place = (self, begin, begin + size)
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


def segments(variables: Iterable[Variable], merge: bool = True) -> list[tuple[Array, Array]]:
    """(value, gradient) flat arrays that cover packed ``variables``; neighbours are one segment.

    Args:
        variables: Packed variables, each counted once.
        merge: False gives one segment per variable, for settings that differ between them.
    """
    spans: list[tuple[_Store, int, int]] = []
    for variable in dict.fromkeys(variables):
        assert variable.place is not None
        store, begin, end = variable.place
        if merge and spans and spans[-1][0] is store and spans[-1][2] == begin:
            spans[-1] = (store, spans[-1][1], end)
        else:
            spans.append((store, begin, end if merge else begin + variable.value.size))
    return [(store.values[begin:end], store.gradients[begin:end]) for store, begin, end in spans]
