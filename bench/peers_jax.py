"""The addition model in plain JAX: one jitted step, input products before the loop, Adam by hand."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from peers import RATE, Peer

Array = Any


def lstm(weights: list[Array], inputs: Array, unroll: bool) -> tuple[Array, Array]:
    """Every output and the last one; `inputs` is x W + b, (steps, batch, 4 units)."""
    recurrent = weights[1]
    units = recurrent.shape[0]

    def step(state: Any, a: Array) -> Any:
        h, c = state
        i, f, g, o = jnp.split(a + h @ recurrent, 4, axis=-1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    zero = jnp.zeros((inputs.shape[1], units), inputs.dtype)
    (h, _), outputs = lax.scan(step, (zero, zero), inputs, unroll=unroll)
    return outputs, h


def gru(weights: list[Array], inputs: Array, unroll: bool) -> tuple[Array, Array]:
    recurrent, bias = weights[1], weights[2][1]

    def step(h: Array, a: Array) -> Any:
        az, ar, ah = jnp.split(a, 3, axis=-1)
        bz, br, bh = jnp.split(h @ recurrent + bias, 3, axis=-1)
        z, r = jax.nn.sigmoid(az + bz), jax.nn.sigmoid(ar + br)
        h = z * h + (1 - z) * jnp.tanh(ah + r * bh)
        return h, h

    h, outputs = lax.scan(
        step, jnp.zeros((inputs.shape[1], recurrent.shape[0]), inputs.dtype), inputs, unroll=unroll
    )
    return outputs, h


def simple_rnn(weights: list[Array], inputs: Array, unroll: bool) -> tuple[Array, Array]:
    recurrent = weights[1]

    def step(h: Array, a: Array) -> Any:
        h = jnp.tanh(a + h @ recurrent)
        return h, h

    h, outputs = lax.scan(
        step, jnp.zeros((inputs.shape[1], recurrent.shape[0]), inputs.dtype), inputs, unroll=unroll
    )
    return outputs, h


CELLS = {"lstm": lstm, "gru": gru, "simple_rnn": simple_rnn}


def logits(weights: list[Array], x: Array, *, cell: str, repeat: int, unroll: bool) -> Array:
    bias = [b[0] if cell == "gru" else b for b in (weights[2], weights[5])]
    _, last = CELLS[cell](weights[:3], jnp.swapaxes(x, 0, 1) @ weights[0] + bias[0], unroll)
    once = last @ weights[3] + bias[1]
    outputs, _ = CELLS[cell](weights[3:6], jnp.broadcast_to(once, (repeat, *once.shape)), unroll)
    return jnp.swapaxes(outputs, 0, 1) @ weights[6] + weights[7]


class JaxPeer(Peer):
    def __init__(self, unroll: bool) -> None:
        self.unroll = unroll

    def version(self) -> str:
        return jax.__version__

    def open(self, job: str) -> str:
        version = super().open(job)
        forward = partial(logits, cell=self.job["cell"], repeat=self.y.shape[1], unroll=self.unroll)

        def loss(weights: list[Array], x: Array, y: Array) -> Array:
            return -jnp.mean(jnp.sum(jax.nn.log_softmax(forward(weights, x)) * y, axis=-1))

        @partial(jax.jit, donate_argnums=(0, 1))
        def adam(weights: Any, moments: Any, x: Array, y: Array) -> Any:
            value, gradients = jax.value_and_grad(loss)(weights, x, y)
            count, m, v = moments
            count = count + 1
            m = [0.9 * a + 0.1 * g for a, g in zip(m, gradients, strict=True)]
            v = [0.999 * a + 0.001 * g * g for a, g in zip(v, gradients, strict=True)]
            rate = 0.001 * jnp.sqrt(1 - 0.999**count) / (1 - 0.9**count)
            weights = [w - rate * a / (jnp.sqrt(b) + 1e-7) for w, a, b in zip(weights, m, v, strict=True)]
            return weights, (count, m, v), value

        @jax.jit
        def sgd(weights: Any, moments: Any, x: Array, y: Array) -> Any:
            value, gradients = jax.value_and_grad(loss)(weights, x, y)
            return [w - RATE * g for w, g in zip(weights, gradients, strict=True)], moments, value

        @jax.jit
        def evaluate(weights: Any, x: Array, y: Array) -> Any:
            z = forward(weights, x)
            value = -jnp.sum(jax.nn.log_softmax(z) * y)
            return value, jnp.sum(z.argmax(-1) == y.argmax(-1))

        self.optimizers = {"adam": adam, "sgd": sgd}
        self.evaluate = evaluate
        self.softmax = jax.jit(lambda weights, x: jax.nn.softmax(forward(weights, x)))
        self.batch = jnp.asarray(self.x), jnp.asarray(self.y)
        return version

    def build(self, optimizer: str, fresh: bool = False) -> None:
        self.train = self.optimizers[optimizer]
        self.values = [jnp.array(w) for w in self.start]
        zeros = [[jnp.zeros_like(w) for w in self.values] for _ in range(2)]
        self.moments = (jnp.zeros((), jnp.float32), *zeros)
        self.random = np.random.default_rng(0)

    def step(self) -> float:
        self.values, self.moments, value = self.train(self.values, self.moments, *self.batch)
        return float(value)

    def run_steps(self, count: int) -> None:
        for _ in range(count):
            self.values, self.moments, _ = self.train(self.values, self.moments, *self.batch)
        jax.block_until_ready(self.values)

    def run_epoch(self) -> float:
        a, size = self.arrays, self.job["batch_size"]
        order = self.random.permutation(len(a["x_train"]))
        for start in range(0, len(order), size):
            rows = order[start : start + size]
            x, y = (a[k][rows].astype(np.float32) for k in ("x_train", "y_train"))
            self.values, self.moments, _ = self.train(self.values, self.moments, x, y)
        right = 0
        for start in range(0, len(a["x_val"]), size):
            x, y = (a[k][start : start + size].astype(np.float32) for k in ("x_val", "y_val"))
            right += self.evaluate(self.values, x, y)[1]
        return float(right) / a["y_val"].sum()

    def probabilities(self, x: np.ndarray) -> np.ndarray:
        size = self.job["batch_size"]
        parts = [
            self.softmax(self.values, x[s : s + size].astype(np.float32)) for s in range(0, len(x), size)
        ]
        return np.concatenate(parts)

    def weights(self) -> list[np.ndarray]:
        return [np.array(w) for w in self.values]
