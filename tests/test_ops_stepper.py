"""Steps of one recurrent layer: the bits of the sequence kernels, shared by threads, refusals."""

import itertools

import numpy as np
import pytest
from step_by_step import in_threads, run, same, series

from fastseq import ops

# name: forward, stepper, gates, options of both
CELLS = {
    "lstm": (ops.lstm_forward, ops.lstm_stepper, 4, {}),
    "gru_after": (ops.gru_forward, ops.gru_stepper, 3, {"reset_after": True}),
    "gru_before": (ops.gru_forward, ops.gru_stepper, 3, {"reset_after": False}),
    "simple_rnn": (ops.simple_rnn_forward, ops.simple_rnn_stepper, 1, {}),
}
# (batch, features, units): one short of a register, one over, more than a panel, several threads' worth
SIZES = [
    (1, 1, 1), (1, 3, 7), (1, 129, 15), (2, 3, 17), (1, 1, 17), (3, 129, 7), (4, 5, 33), (5, 3, 100),
    (1, 129, 100), (1, 96, 160),
]  # fmt: skip


def weights_of(cell, features, units, dtype=np.float32, seed=0, bias=True):
    gates = CELLS[cell][2]
    rng = np.random.default_rng(seed)
    kernel = rng.normal(size=(features, gates * units)) / features**0.5
    recurrent = rng.normal(size=(units, gates * units)) / units**0.5
    b = rng.normal(size=(2, gates * units) if cell == "gru_after" else gates * units)
    return [np.asarray(w, dtype) for w in (kernel, recurrent)] + [np.asarray(b, dtype) if bias else None]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("cell", CELLS)
def test_steps_give_the_bits_of_whole_sequences(isa, cell, dtype):
    forward, make, _, options = CELLS[cell]
    for batch, features, units in SIZES:
        weights = weights_of(cell, features, units, dtype)
        x = series(batch, features, dtype)
        sequence, state, _ = forward(x, *weights, training=False, **options)
        outputs, last = run(make(*weights, **options), x)
        assert same(outputs, sequence), (batch, features, units)
        assert len(last) == len(state)
        assert all(map(same, last, state))


@pytest.mark.parametrize("cell", CELLS)
def test_steps_with_options_and_a_given_state(isa, cell):
    forward, make, _, options = CELLS[cell]
    rng = np.random.default_rng(2)
    for activation, gate, bias in itertools.product(
        ["tanh", "relu", "softsign"], ["sigmoid", "hard_sigmoid"], [1, 0]
    ):
        named = {"activation": activation, **options}
        if cell != "simple_rnn":
            named["recurrent_activation"] = gate
        weights = weights_of(cell, 5, 19, bias=bool(bias))
        for batch in (1, 3):
            state = tuple(
                rng.normal(size=(batch, 19)).astype(np.float32) for _ in range(1 + (cell == "lstm"))
            )
            kept = [part.copy() for part in state]
            sequence, final, _ = forward(
                series(batch, 5), *weights, initial_state=state, training=False, **named
            )
            outputs, last = run(make(*weights, **named), series(batch, 5), state)
            assert same(outputs, sequence)
            assert all(map(same, last, final))
            assert all(map(same, state, kept))  # what was given is left alone


@pytest.mark.parametrize("cell", CELLS)
def test_threads_change_no_bit(cell, threads):
    _, make, _, options = CELLS[cell]
    weights = weights_of(cell, 130, 290)
    x = series(1, 130, steps=60)  # first 16 steps alone, then 16 of the team
    stepper = make(*weights, **options)
    found = []
    for n in (1, 2, 3):
        threads(n)
        found.append(run(stepper, x)[0])
    assert same(found[0], found[1])
    assert same(found[0], found[2])


def test_weights_are_those_of_the_making():
    kernel, recurrent, bias = weights_of("lstm", 3, 5)
    stepper = ops.lstm_stepper(kernel, recurrent, bias)
    x = series(1, 3)
    before = run(stepper, x)[0]
    for array in (kernel, recurrent, bias):
        array[...] = 0
    assert same(run(stepper, x)[0], before)
    assert (stepper.features, stepper.units, stepper.parts, stepper.dtype) == (3, 5, 2, np.float32)


def test_a_stepper_outlives_the_instruction_set_it_was_made_for():
    from fastseq import _core

    before = _core.isa()
    x, weights = series(1, 3), weights_of("gru_before", 3, 21)
    stepper = ops.gru_stepper(*weights, reset_after=False)
    expected = run(stepper, x)[0]
    try:
        for isa in _core.available_isas():
            _core.set_isa(isa)
            assert same(run(stepper, x)[0], expected)
    finally:
        _core.set_isa(before)


def test_inputs_are_converted():
    stepper = ops.gru_stepper(*weights_of("gru_after", 2, 3))
    h = np.asarray([[0.5, -0.25, 0.125]], np.float32)
    expected = stepper.step(np.asarray([[1, 0]], np.float32), (h,))
    for x, state in (
        ([[1, 0]], [h]),
        (np.asarray([[True, False]]), h),
        (np.asarray([[1, 0]], np.float64), (h.astype(np.float64),)),
        (np.asfortranarray([[1, 0]]), h[:, ::-1][:, ::-1]),
        (np.asarray([[1, 0]], ">f4"), (h.tolist(),)),
        (np.asarray([[1, 9, 0, 9]], np.float32)[:, ::2], (h,)),
    ):
        output, after = stepper.step(x, state)
        assert same(output, expected[0])
        assert same(after[0], expected[1][0])


def test_outputs_belong_to_the_caller():
    stepper = ops.lstm_stepper(*weights_of("lstm", 2, 9))
    x = series(1, 2)
    output, (h, c) = stepper.step(x[:, 0])
    assert same(output, h)
    kept = h.copy(), c.copy()
    output[...] = 7
    stepper.step(x[:, 1], (h, c))
    assert same(h, kept[0])
    assert same(c, kept[1])


def test_empty_batch():
    output, (h, c) = ops.lstm_stepper(*weights_of("lstm", 2, 9)).step(np.zeros((0, 2), np.float32))
    assert output.shape == h.shape == c.shape == (0, 9)


@pytest.mark.parametrize(
    ("x", "state", "kind", "text"),
    [
        (np.zeros(2, "f"), None, ValueError, "lstm_step: x must have shape (batch, 2), got (2,)"),
        (np.zeros((1, 3), "f"), None, ValueError, "lstm_step: x must have shape (batch, 2), got (1, 3)"),
        ([["a", "b"]], None, TypeError,
         "lstm_step: x must be an array of real numbers, got <U1 array of shape (1, 2)"),
        (np.zeros((1, 2), "f"), (np.zeros((1, 5), "f"),), ValueError,
         "lstm_step: state must have 2 parts, got 1"),
        (np.zeros((1, 2), "f"), (np.zeros((2, 5), "f"),) * 2, ValueError,
         "lstm_step: state must have shape (1, 5), got (2, 5)"),
        (np.zeros((1, 2), "f"), (np.zeros((1, 5), "f"), np.zeros(5, "f")), ValueError,
         "lstm_step: state must have shape (1, 5), got (5,)"),
        (np.zeros((1, 2), "f"), (None, "c"), TypeError,
         "lstm_step: state must be an array of real numbers, got 'c'"),
    ],
)  # fmt: skip
def test_refusals_of_a_step(x, state, kind, text):
    stepper = ops.lstm_stepper(*weights_of("lstm", 2, 5))
    with pytest.raises(kind) as error:
        stepper.step(x, state)
    assert str(error.value) == text


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"kernel": np.zeros((2, 8), "f")}, "lstm_step: kernel must have shape (features, 20), got (2, 8)"),
        ({"recurrent_kernel": np.zeros((5, 5), "f")},
         "lstm_step: recurrent_kernel must have shape (units, 4 * units), got (5, 5)"),
        ({"bias": np.zeros(5, "f")}, "lstm_step: bias must have shape (20,), got (5,)"),
        ({"activation": "softmax"},
         f"lstm_stepper: activation must be one of {', '.join(ops.CELL_ACTIVATIONS)}, got 'softmax'"),
    ],
)  # fmt: skip
def test_refusals_of_weights(change, text):
    kernel, recurrent_kernel, bias = weights_of("lstm", 2, 5)
    with pytest.raises(ValueError) as error:
        ops.lstm_stepper(**{"kernel": kernel, "recurrent_kernel": recurrent_kernel, "bias": bias, **change})
    assert str(error.value) == text


def test_many_threads_share_one_stepper(threads):
    threads(2)
    stepper = ops.lstm_stepper(*weights_of("lstm", 96, 160))
    x = series(1, 96, steps=200)
    expected = run(stepper, x)[0]
    found = in_threads(4, lambda: run(stepper, x)[0])
    assert all(same(one, expected) for one in found)


def test_large_steps_of_many_threads_without_the_gil():
    # 4.2 million multiply-adds a step: above what keeps the GIL
    stepper = ops.simple_rnn_stepper(*weights_of("simple_rnn", 1000, 1600))
    x = series(1, 1000, steps=5)
    expected = run(stepper, x)[0]
    found = in_threads(3, lambda: run(stepper, x)[0])
    assert all(same(one, expected) for one in found)
