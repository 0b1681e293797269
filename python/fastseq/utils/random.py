"""set_random_seed."""

from __future__ import annotations

import random

import numpy as np

from fastseq._arrays import number
from fastseq._random import set_seed

__all__ = ["set_random_seed"]


def set_random_seed(seed: int) -> None:
    """Seeds Python's ``random``, numpy's global generator and fastseq's own (see ``fastseq.set_seed``).

    Args:
        seed: In [0, 2**32), as numpy's old generator wants it.
    Raises:
        TypeError: Not an integer.
        ValueError: Out of range.
    """
    made = number(seed, "set_random_seed", "seed", low=0, high=2**32 - 1, whole=True)
    random.seed(made)
    np.random.seed(made)  # noqa: NPY002 (the generator that old programs draw from)
    set_seed(made)
