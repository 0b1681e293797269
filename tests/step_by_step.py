"""What the tests of steppers share: sequences, and running them a step at a time."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np


def series(batch, features, dtype=np.float32, steps=4):
    return np.random.default_rng(1).normal(size=(batch, steps, features)).astype(dtype)


def run(stepper, x, state=None):
    """All steps of x: outputs (batch, steps, units) and the last state."""
    outputs = []
    for t in range(x.shape[1]):
        output, state = stepper.step(x[:, t], state)
        outputs.append(output)
    return np.stack(outputs, axis=1), state


def same(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and bool(np.array_equal(a, b))


def in_threads(count, work):
    """What ``work`` gives in ``count`` threads at once."""
    with ThreadPoolExecutor(count) as threads:
        return [one.result() for one in [threads.submit(work) for _ in range(count)]]
