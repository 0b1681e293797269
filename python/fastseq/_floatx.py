"""The type of floats that layers and inputs have unless they are told: float32, or what was set."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastseq._arrays import describe, message

__all__ = ["EPSILON", "epsilon", "floatx", "set_floatx"]

EPSILON = 1e-7  # keras.config.epsilon()
_floatx = "float32"


def floatx() -> str:
    """The type of floats that layers and inputs have unless they are told: "float32" or "float64"."""
    return _floatx


def set_floatx(dtype: Any) -> None:
    """Sets what ``floatx`` returns; layers and inputs that are there already keep their type.

    Args:
        dtype: "float32" or "float64".
    Raises:
        ValueError: Another type.
    """
    global _floatx
    try:
        name = np.dtype(dtype).name
    except TypeError:
        name = ""
    if name not in ("float32", "float64"):
        raise ValueError(message("set_floatx", "dtype", "be float32 or float64", describe(dtype)))
    _floatx = name


def epsilon() -> float:
    """1e-7: how far losses keep probabilities from 0 and 1, and quotients from 0."""
    return EPSILON
