"""Weights that are on their way: while a file is read, new ones take room and draw nothing at random."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from fastseq._arrays import Array, message

__all__ = ["arriving", "is_arriving", "reserved"]


class _Arriving(threading.local):
    """How many numbers the file that is being read has for weights; None where none is read."""

    left: int | None = None


_arriving = _Arriving()


@contextmanager
def arriving(numbers: int) -> Iterator[None]:
    """Within it new weights are 0 and draw nothing at random: their values come later, from a file.

    Args:
        numbers: How many numbers the file holds: there is no room for more.
    """
    before, _arriving.left = _arriving.left, numbers
    try:
        yield
    finally:
        _arriving.left = before


def reserved(sizes: Any, dtype: Any, function: str) -> Array:
    """Room for a weight whose value is in the file."""
    count = math.prod(sizes)
    if _arriving.left is None or count > _arriving.left:
        rule = f"fit into the {_arriving.left} numbers left in the file"
        raise ValueError(message(function, "shape", rule, str(sizes)))
    _arriving.left -= count
    return np.zeros(sizes, dtype)


def is_arriving() -> bool:
    """Whether the values of new weights come from a file."""
    return _arriving.left is not None
