"""The recurrent operations under one signature, what they are given, and how they are held against twins."""

import functools

import numpy as np
import reference
from gradcheck import check_gradients

from fastseq.ops import rnn

CELLS = ("lstm", "gru_after", "gru_before", "simple_rnn")
GATES = {"lstm": 4, "gru_after": 3, "gru_before": 3, "simple_rnn": 1}


class Op:
    """One cell's forward, backward and twin under one signature."""

    def __init__(self, cell):
        self.cell = cell
        stem = "gru" if cell.startswith("gru") else cell
        extra = {"reset_after": cell == "gru_after"} if stem == "gru" else {}
        forward, twin = getattr(rnn, f"{stem}_forward"), getattr(reference, stem)
        self.forward = lambda *a, **k: forward(*a, **k, **extra)
        self.backward = getattr(rnn, f"{stem}_backward")
        self.twin = lambda *a, **k: twin(*a, **k, **extra)
        self.states = 2 if cell == "lstm" else 1


def problem(cell, batch, steps, features, units, dtype=np.float64, seed=0, state=True, scale=0.5):
    rng = np.random.default_rng(seed)
    g = GATES[cell]

    def normal(*shape):
        return (rng.standard_normal(shape) * scale).astype(dtype)

    bias = normal(2, g * units) if cell == "gru_after" else normal(g * units)
    inputs = {
        "x": normal(batch, steps, features),
        "kernel": normal(features, g * units),
        "recurrent_kernel": normal(units, g * units) / np.sqrt(units).astype(dtype),
        "bias": bias,
    }
    if state:
        inputs["initial_state"] = tuple(normal(batch, units) for _ in range(2 if cell == "lstm" else 1))
    return inputs


def check(op, inputs, **options):
    # Bound here: check_gradients has a seed of its own.
    check_gradients(functools.partial(op.forward, **options), op.backward, inputs)


def random_mask(batch, steps, seed=1):
    mask = np.random.default_rng(seed).random((batch, steps)) < 0.6
    if batch > 2:
        mask[1] = False  # a sequence with nothing in it
        mask[2] = True
    return mask


def assert_close(got, want, dtype, what=""):
    tolerance = 2e-5 if dtype == np.float32 else 1e-12
    np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance, err_msg=what)


def run_both(op, inputs, dtype, **options):
    sequence, state, _ = op.forward(**inputs, **options)
    want_sequence, want_state = op.twin(**inputs, **options)
    assert sequence.dtype == dtype
    assert sequence.shape == want_sequence.shape
    assert_close(sequence, want_sequence, dtype, "sequence")
    for part, (s, w) in enumerate(zip(state, want_state, strict=True)):
        assert_close(s, w, dtype, f"state {part}")
    inference, inference_state, saved = op.forward(**inputs, **options, training=False)
    assert saved is None
    assert np.array_equal(inference, sequence)
    assert all(np.array_equal(a, b) for a, b in zip(inference_state, state, strict=True))
