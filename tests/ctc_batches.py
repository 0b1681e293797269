"""What tests of the CTC operations share: random batches, what the twin makes of them, and arrays that lie
among values nobody may read."""

import numpy as np
from reference import log_softmax
from reference_labels import ctc_loss


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


def problem(seed, batch, frames, classes, longest, dtype=np.float64, scale=1.0, blank=0):
    rng = np.random.default_rng(seed)
    x = (scale * rng.normal(size=(batch, frames, classes))).astype(dtype)
    labels = rng.integers(0, classes - 1, (batch, longest))
    labels += labels >= blank % classes
    label_lengths = rng.integers(0, longest + 1, batch)
    return x, labels, rng.integers(0, frames + 1, batch), label_lengths


def expected(x, labels, lengths, label_lengths, blank=0):
    losses, gradient = np.zeros(len(x)), np.zeros(x.shape)
    for n, (frames, count) in enumerate(zip(lengths, label_lengths, strict=True)):
        log_probs = log_softmax(x[n, :frames].astype(np.float64))
        losses[n], posterior = ctc_loss(log_probs, labels[n, :count], blank % x.shape[-1])
        if losses[n] < np.inf:
            gradient[n, :frames] = np.exp(log_probs) - posterior
    return losses, gradient
