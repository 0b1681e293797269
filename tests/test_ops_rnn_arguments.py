"""What the recurrent ops take, refuse and give back: layouts, edges, errors, one use of ``saved``."""

import numpy as np
import pytest
from rnn_ops import CELLS, Op, problem

from fastseq import _core
from fastseq.ops import rnn


def test_saved_is_consumed_unless_kept():
    op = Op("lstm")
    inputs = problem("lstm", 3, 4, 2, 5)
    sequence, _, saved = op.forward(**inputs)
    first = op.backward(saved, sequence, keep=True)
    second = op.backward(saved, sequence)
    for a, b in zip(first[:4], second[:4], strict=True):
        assert np.array_equal(a, b)
    with pytest.raises(RuntimeError) as error:
        op.backward(saved, sequence)
    assert str(error.value) == (
        "lstm_backward: saved must be used once unless kept with keep=True, got one that is consumed"
    )


@pytest.mark.parametrize("cell", CELLS)
def test_empty_batch_and_no_steps(cell, isa):
    op = Op(cell)
    for batch, steps in [(0, 4), (3, 0), (0, 0)]:
        inputs = problem(cell, batch, steps, 2, 5)
        sequence, state, saved = op.forward(**inputs)
        assert sequence.shape == (batch, steps, 5)
        for s, s0 in zip(state, inputs["initial_state"], strict=True):
            assert np.array_equal(s, s0)
        grads = op.backward(saved, sequence, state)
        assert grads.x.shape == (batch, steps, 2)
        assert not np.any(grads.kernel)
        for g, s in zip(grads.initial_state, state, strict=True):
            assert np.array_equal(g, s)
        fast, _, _ = op.forward(**inputs, training=False)
        assert fast.shape == (batch, steps, 5)


def test_nan_and_inf_stay_in_their_sequence():
    op = Op("lstm")
    inputs = problem("lstm", 4, 5, 3, 9, np.float32)
    clean, _, _ = op.forward(**inputs)
    for bad in (np.nan, np.inf):
        x = inputs["x"].copy()
        x[1, 2, 0] = bad
        sequence, _, _ = op.forward(**inputs | {"x": x})
        assert np.array_equal(sequence[[0, 2, 3]], clean[[0, 2, 3]])
        assert np.array_equal(sequence[1, :2], clean[1, :2])
    x[1, 2, 0] = np.nan
    sequence, _, _ = op.forward(**inputs | {"x": x})
    assert np.isnan(sequence[1, 2:]).all()


def test_any_layout_and_kind_of_input():
    op = Op("gru_after")
    inputs = problem("gru_after", 6, 5, 4, 8)
    want, _, _ = op.forward(**inputs)
    strided = {k: np.asfortranarray(v) for k, v in inputs.items() if k != "initial_state"}
    for array in strided.values():
        array.setflags(write=False)
    got, _, _ = op.forward(**strided, initial_state=inputs["initial_state"])
    assert np.array_equal(got, want)
    onehot = np.random.default_rng(0).random((6, 5, 4)) < 0.5
    as_bool, _, _ = op.forward(**inputs | {"x": onehot})
    as_int, _, _ = op.forward(**inputs | {"x": onehot.astype(np.int64)})
    as_float, _, _ = op.forward(**inputs | {"x": onehot.astype(np.float64)})
    assert np.array_equal(as_bool, as_float)
    assert np.array_equal(as_int, as_float)


LSTM = {"x": (3, 4, 2), "kernel": (2, 20), "recurrent_kernel": (5, 20), "bias": (20,)}


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"x": np.ones((3, 4))}, ValueError, "x must have shape (batch, steps, features), got (3, 4)"),
        ({"x": np.ones((3, 4, 3))}, ValueError, "kernel must have shape (3, 20), got (2, 20)"),
        ({"x": "text"}, TypeError, "x must be an array of real numbers, got 'text'"),
        ({"x": None}, TypeError, "x must be an array of real numbers, got None"),
        (
            {"recurrent_kernel": None},
            TypeError,
            "recurrent_kernel must be an array of real numbers, got None",
        ),
        (
            {"recurrent_kernel": np.ones((5, 15))},
            ValueError,
            "recurrent_kernel must have shape (units, 4 * units), got (5, 15)",
        ),
        ({"bias": np.ones(19)}, ValueError, "bias must have shape (20), got (19)"),
        ({"initial_state": (np.ones((3, 5)),)}, ValueError, "initial_state must have 2 parts, got 1"),
        (
            {"initial_state": (np.ones((2, 5)), None)},
            ValueError,
            "initial_state must have shape (3, 5), got (2, 5)",
        ),
        ({"mask": np.ones((3, 5), bool)}, ValueError, "mask must have shape (3, 4), got (3, 5)"),
        ({"lengths": [4, 5, 1]}, ValueError, "lengths must lie in [0, steps = 4], got 5 at index 1"),
        ({"lengths": [4, -1, 1]}, ValueError, "lengths must lie in [0, steps = 4], got -1 at index 1"),
        ({"lengths": [4, 1]}, ValueError, "lengths must have shape (3), got (2)"),
        ({"dropout": 1.0}, ValueError, "dropout must be in [0, 1), got 1.0"),
        ({"recurrent_dropout": -0.1}, ValueError, "recurrent_dropout must be in [0, 1), got -0.1"),
        ({"repeat": -2}, ValueError, "repeat must be at least 0, got -2"),
        (
            {"activation": "gelu"},
            ValueError,
            f"activation must be one of {', '.join(rnn.CELL_ACTIVATIONS)}, got 'gelu'",
        ),
    ],
)
def test_errors_of_forward(change, error, text):
    arguments = {name: np.ones(shape) for name, shape in LSTM.items()} | change
    with pytest.raises(error) as raised:
        rnn.lstm_forward(**arguments)
    assert str(raised.value).replace(",)", ")") == f"lstm_forward: {text}"


def test_errors_of_backward():
    arguments = {name: np.ones(shape) for name, shape in LSTM.items()}
    _, _, saved = rnn.lstm_forward(**arguments)
    for call, error, text in [
        (
            lambda: rnn.lstm_backward(1),
            TypeError,
            "saved must be what forward returned with training=True, got 1",
        ),
        (
            lambda: rnn.lstm_backward(saved, np.ones((3, 4, 4))),
            ValueError,
            "dsequence must have shape (3, 4, 5), got (3, 4, 4)",
        ),
        (
            lambda: rnn.lstm_backward(saved, wanted=("weights",)),
            ValueError,
            "wanted must name some of x, kernel, recurrent_kernel, bias, initial_state, got 'weights'",
        ),
        (
            lambda: rnn.lstm_backward(saved, into={"kernel": np.ones((2, 19))}),
            ValueError,
            "into['kernel'] must have shape (2, 20), got (2, 19)",
        ),
    ]:
        with pytest.raises(error) as raised:
            call()
        assert str(raised.value) == f"lstm_backward: {text}"
    assert rnn.lstm_backward(saved).x.shape == (3, 4, 2)  # an error consumes nothing


@pytest.mark.skipif(len(_core.available_isas()) < 2, reason="one instruction set")
def test_saved_belongs_to_its_instruction_set():
    arguments = {name: np.ones(shape) for name, shape in LSTM.items()}
    _, _, saved = rnn.lstm_forward(**arguments)
    before = _core.isa()
    other = next(name for name in _core.available_isas() if name != before)
    _core.set_isa(other)
    try:
        with pytest.raises(RuntimeError, match="saved must come from the instruction set in use"):
            rnn.lstm_backward(saved)
    finally:
        _core.set_isa(before)


@pytest.mark.parametrize("cell", CELLS)
def test_large_results_start_at_a_line_of_the_cache(cell):
    op, inputs = Op(cell), problem(cell, 40, 5, 60, 70, np.float32)
    for _ in range(4):
        sequence, _, saved = op.forward(**inputs)
        grads = op.backward(saved, np.ones_like(sequence))
        for result in (sequence, grads.x, grads.kernel, grads.recurrent_kernel):
            assert result.ctypes.data % 64 == 0
            assert result.flags.c_contiguous
            assert result.flags.writeable
