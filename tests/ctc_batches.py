"""What random tests of the CTC operations share: arrays that lie among values nobody may read."""

import numpy as np


def guarded(array, value):
    """The array, with 64 elements of ``value`` before it in memory and after it."""
    room = np.full(array.size + 128, value, array.dtype)
    inner = room[64 : 64 + array.size].reshape(array.shape)
    inner[...] = array
    return inner


def spoilt(draw, rng, x, values):
    """Writes up to three of ``values`` anywhere into x."""
    for _ in range(draw(3)):
        if x.size:
            x.flat[rng.integers(x.size)] = values[rng.integers(len(values))]
