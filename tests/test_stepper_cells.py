"""RNN of any cell a step at a time: layers and models beside predict, states kept and moved, refusals."""

import numpy as np
import pytest
from step_by_step import Leaky, run, same, series

from fastseq import Input, Model, Sequential, layers
from fastseq.layers.calls import flatten


class Delay(layers.Layer):
    """A cell that gives and keeps the very arrays it is given."""

    def __init__(self, features, **options):
        super().__init__(**options)
        self.state_size = [features, features]

    def call(self, inputs, states):
        return states[0], [states[1], inputs]


# cells that an RNN is made of, and the sizes of its states, from 3 features
CELLS = {
    "lstm": (lambda **o: layers.LSTMCell(5, dropout=0.5, **o), [5, 5]),
    "gru": (lambda **o: layers.GRUCell(5, reset_after=False, **o), [5]),
    "simple": (lambda **o: layers.SimpleRNNCell(5, activation="relu", **o), [5]),
    "stack": (lambda **o: [layers.LSTMCell(4, **o), layers.GRUCell(6, **o), layers.LSTMCell(2, **o)],
              [4, 4, 6, 2, 2]),
    "own": (lambda **o: Leaky(4, **o), [4, 2]),
    "delay": (lambda **o: Delay(3, **o), [3, 3]),
    "mixed": (lambda **o: [Leaky(4, **o), layers.StackedRNNCells([layers.GRUCell(3, **o), Delay(3, **o)])],
              [4, 2, 3, 3, 3]),
}  # fmt: skip


def own_rnn(kind, dtype="float32", **options):
    return layers.RNN(CELLS[kind][0](dtype=dtype), dtype=dtype, **options)


@pytest.mark.parametrize("kind", CELLS)
def test_layer_steps_of_cells(kind):
    layer = own_rnn(kind, return_sequences=True, return_state=True)
    x = series(2, 3)
    outputs, state = run(layer, x)  # builds it
    sequence, *final = layer(x)
    assert same(outputs, sequence)
    assert [part.shape for part in state] == [(2, size) for size in CELLS[kind][1]]
    assert all(map(same, state, flatten(final)))
    once, twice = (layer.step(x[:, 0], given)[0] for given in (state, final))  # nested, as it returned it
    assert same(once, twice)


@pytest.mark.parametrize("cell", [layers.LSTMCell(4), layers.GRUCell(4)])
def test_a_cell_steps(cell):
    x = series(2, 3)
    assert same(run(cell, x)[0][:, -1], layers.RNN(cell)(x))


def refused_steps():
    x, cell = np.zeros((2, 3)), Leaky(4, name="own")
    own, stack = layers.RNN(cell), layers.RNN([layers.GRUCell(2), layers.LSTMCell(2)])
    stack.cell.name = "stack"
    own.step(x)  # builds it
    yield lambda: own.step(x[:, :2]), ValueError, "own.step: x must have shape (batch, 3), got (2, 2)"
    yield lambda: own.step(x[0]), ValueError, "own.step: x must have shape (batch, 3), got (3,)"
    yield lambda: own.step(x, [x]), ValueError, "own.step: state must have 2 parts, got 1"
    yield (
        lambda: own.step(x, [np.zeros((1, 4)), None]),
        ValueError,
        "own.step: state must have shape (2, 4), got (1, 4)",
    )
    yield lambda: own.step("ab"), TypeError, "own.step: x must be an array of real numbers, got 'ab'"
    yield lambda: stack.step(x, [x] * 2), ValueError, "stack.step: state must have 3 parts, got 2"
    cell = Delay(3, name="short")
    cell.call = lambda inputs, states: (inputs, [inputs])
    text = "short.call: result must be (output, states of [3, 3] units), got 2 arrays"
    yield lambda: layers.RNN(cell).step(x), ValueError, text


def test_refusals_of_cells_steps():
    for call, kind, text in refused_steps():
        with pytest.raises(kind) as error:
            call()
        assert str(error.value) == text


@pytest.mark.parametrize("kind", CELLS)
@pytest.mark.parametrize("return_sequences", [True, False])
@pytest.mark.parametrize("masked", [None, False, True], ids=["plain", "repeats", "zero"])
def test_model_of_cells_steps_as_it_predicts(kind, return_sequences, masked):
    rnn = own_rnn(kind, "float64", return_sequences=return_sequences, zero_output_for_mask=bool(masked))
    top = [] if masked is None else [layers.Masking(dtype="float64")]
    x = series(3, 3, np.float64, steps=6)
    x[0, 2] = x[1, 0] = x[1, -1] = x[2] = 0
    model = Sequential([Input((6, 3), dtype="float64"), *top, rnn])
    stepper = model.stepper(3)
    buffer = np.empty((3, 3))
    got = []
    for t in range(6):
        buffer[...] = x[:, t]  # what a cell was given is not what is kept
        got.append(stepper.step(buffer).copy())
    assert got[0].dtype == np.float64
    for t, step in enumerate(got):
        # as long as the model: its steps are fixed with cells of one's own
        short = Sequential([Input((t + 1, 3), dtype="float64"), *top, rnn])
        y = short.predict(x[:, : t + 1], verbose=0)
        np.testing.assert_allclose(step, y[:, -1] if return_sequences else y, rtol=0, atol=1e-14)
    kept = [*([model.output_shape[-1]] if masked is False else []), *CELLS[kind][1]]
    assert [part.shape for part in stepper.state] == [(3, size) for size in kept]
    names = [f"{rnn.name}/state_{k}" for k in range(len(CELLS[kind][1]))]
    assert stepper.state_names == [*([f"{rnn.name}/output"] if masked is False else []), *names]


@pytest.mark.parametrize("masked", [False, True], ids=["plain", "masked"])
@pytest.mark.parametrize("kind", ["stack", "own", "mixed"])
def test_states_of_cells_move(kind, masked, tmp_path):
    a = Input((6, 3))
    b = layers.Masking()(a) if masked else layers.Dropout(0.5)(a)
    out, *states = own_rnn(kind, return_state=True)(b)
    states = flatten(states)
    model = Model(a, [layers.Dense(2)(out), layers.Dense(3)(states[0]), *states])
    x = series(2, 3, steps=6)
    x[0, 4] = x[1, 5] = 0
    stepper = model.stepper(2)
    for t in range(3):
        stepper.step(x[:, t])
    stepper.save(tmp_path / "state.safetensors")
    before = stepper.state
    for t in range(3, 6):
        got = stepper.step(x[:, t])
    for one, expected in zip(got, model.predict(x, verbose=0), strict=True):
        np.testing.assert_allclose(one, expected, rtol=0, atol=1e-6)
    assert all(
        map(same, got[2:], stepper.state[masked:])
    )  # the output before, which comes first, is not shown
    after = stepper.state
    got[-1][...] = 9  # what is shown is not what is kept
    assert all(map(same, stepper.state, after))
    again, other = model.stepper(2), model.stepper(2)
    again.load(tmp_path / "state.safetensors")
    other.state = before
    for layer in model.layers:
        layer.set_weights([w + 0.25 for w in layer.get_weights()])
    for t in range(3, 6):  # with the weights that they had
        assert same(again.step(x[:, t])[0], other.step(x[:, t])[0])
    assert all(map(same, again.state, after))
    again.reset()
    again.refresh()
    for t in range(6):
        got = again.step(x[:, t])
    np.testing.assert_allclose(got[0], model.predict(x, verbose=0)[0], rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match=r"must have shape \(1, \d\), got \(2, \d\)$"):
        model.stepper().load(tmp_path / "state.safetensors")


class Doubled(layers.GRUCell):
    def call(self, inputs, states=None, training=None):
        output, after = super().call(2 * inputs, states, training)
        return output + 1, after


@pytest.mark.parametrize("stacked", [False, True])
def test_a_cell_whose_call_was_changed(stacked):
    cells = [layers.LSTMCell(3), Doubled(4)] if stacked else Doubled(4)
    layer = layers.RNN(cells, return_sequences=True)
    x = series(2, 3)
    got = layer(x)
    below = layers.RNN(cells[0], return_sequences=True)(x) if stacked else x
    plain = layers.GRU(4, return_sequences=True)
    plain(below)
    plain.set_weights((cells[1] if stacked else cells).get_weights())
    np.testing.assert_allclose(got, plain(2 * below) + 1, rtol=0, atol=1e-6)
    np.testing.assert_allclose(run(layer, x)[0], got, rtol=0, atol=1e-6)
