"""What the tests of steppers share: sequences, and running them a step at a time."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from fastseq import layers, ops


class Leaky(layers.Layer):
    """A cell whose output is not its state, with a state of another size that its weights alone change."""

    def __init__(self, units, **options):
        super().__init__(**options)
        self.state_size, self.output_size = [units, 2], 2 * units

    def build(self, input_shape):
        units = self.state_size[0]
        self.kernel = self.add_weight((input_shape[-1], units))
        self.recurrent = self.add_weight((units, units))
        self.decay = self.add_weight((2,), "ones")

    def call(self, inputs, states):
        h, m = states
        new = ops.tanh(inputs @ self.kernel + h @ self.recurrent + ops.sum(m, -1, True))
        return ops.concatenate([new, -h]), [0.5 * h + new, 0.25 * m + ops.exp(self.decay)]


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
