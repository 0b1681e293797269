"""The one source of randomness: a numpy Generator that ``set_seed`` restarts."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastseq._arrays import number

__all__ = ["draw_seed", "generator", "random_state", "set_random_state", "set_seed"]

_generator: np.random.Generator | None = None  # made when first asked for: numpy.random is slow to import


def set_seed(seed: int) -> None:
    """Makes everything random that follows repeat: initial weights, shuffling, dropout.

    The same seed and the same calls in the same order give the same bits, with any number of threads.

    Args:
        seed: An integer, at least 0.
    Raises:
        TypeError: ``seed`` is not an integer.
        ValueError: ``seed`` is negative.
    """
    global _generator
    _generator = np.random.default_rng(number(seed, "set_seed", "seed", low=0, whole=True))


def generator() -> np.random.Generator:
    """The generator that everything random draws from unless it was given a seed of its own."""
    global _generator
    if _generator is None:
        _generator = np.random.default_rng()
    return _generator


def random_state() -> dict[str, Any]:
    """Where the generator stands, as plain values."""
    return dict(generator().bit_generator.state)


def set_random_state(state: dict[str, Any]) -> None:
    """Lets the generator go on from where ``random_state`` found it.

    Raises:
        ValueError, TypeError, LookupError: That is no such state.
    """
    global _generator
    fresh = np.random.default_rng(0)
    fresh.bit_generator.state = state
    _generator = fresh


def draw_seed() -> int:
    """A fresh 63-bit seed for a generator or a counter that will live on its own."""
    return int(generator().integers(1 << 63))
