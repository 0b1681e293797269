"""Models a step at a time: beside predict, states kept and moved, layers that cannot."""

import warnings

import numpy as np
import pytest
from step_by_step import in_threads, run, same, series

from fastseq import Input, Model, Sequential, layers, ops
from fastseq.layers.calls import flatten


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


# --- the layer's own step ---------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [layers.LSTM, layers.GRU, layers.SimpleRNN])
def test_layer_steps(make):
    layer = make(6, return_sequences=True, dropout=0.5, recurrent_dropout=0.5)
    x = series(2, 3)
    outputs, state = run(layer, x)  # builds it
    assert same(outputs, layer(x))
    assert len(state) == len(layer.state_names)


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


@pytest.mark.parametrize("make", [lambda: layers.GRU(5), lambda: layers.RNN([layers.GRUCell(2), Leaky(3)])])
def test_layer_step_follows_its_weights(make):
    model = Sequential([Input((4, 3)), make()])
    (layer,) = model.layers
    x = series(8, 3)
    current = lambda: same(run(layer, x)[0][:, -1], layer(x))  # noqa: E731
    assert current()
    model.compile("adam", "mse")
    frozen = layer.stepper()
    before = run(frozen, x)[0]
    model.fit(x, np.ones((8, *model.output_shape[1:])), epochs=1, verbose=0)
    assert current()
    layer.set_weights([w + 0.125 for w in layer.get_weights()])
    assert current()
    layer.weights[-1].assign(layer.weights[-1].numpy() - 0.5)
    assert current()
    assert same(run(frozen, x)[0], before)


def test_layer_step_packs_once(monkeypatch):
    layer = layers.LSTM(4)
    x = series(1, 3)
    made = []
    monkeypatch.setattr(layer, "stepper", lambda own=layer.stepper: made.append(1) or own())
    run(layer, x)
    assert len(made) == 1


def test_layer_refusals():
    layer = layers.LSTM(4, name="ahead")
    with pytest.raises(RuntimeError) as error:
        layer.stepper()
    assert str(error.value) == "ahead.stepper: the layer must be built, got one without weights yet"
    layer = layers.LSTM(4, name="back", go_backwards=True)
    with pytest.raises(ValueError) as error:
        layer.step(np.zeros((1, 2)))
    text = "back.stepper: go_backwards must be False where steps come one at a time, got True"
    assert str(error.value) == text


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


# --- models -----------------------------------------------------------------------------------------------


def model_of_text(return_sequences=True, mask_zero=False, zero=False):
    return Sequential(
        [
            Input((None,)),
            layers.Embedding(20, 6, mask_zero=mask_zero),
            layers.LSTM(9, return_sequences=True, zero_output_for_mask=zero),
            layers.Dropout(0.5),
            layers.GRU(7, return_sequences=return_sequences, zero_output_for_mask=zero),
            layers.Dense(5),
            layers.Activation("softmax"),
        ]
    )


def prefixes(model, x):
    """predict after each number of steps: (batch, steps, ...), its last step where there are sequences."""
    outputs = []
    for t in range(1, x.shape[1] + 1):
        y = model.predict(x[:, :t], verbose=0)
        outputs.append(y[:, -1] if len(model.output_shape) == 3 else y)
    return np.stack(outputs, axis=1)


def stepped(stepper, x):
    return np.stack([stepper.step(x[:, t]) for t in range(x.shape[1])], axis=1)


def ids(batch, steps=8):
    return np.random.default_rng(3).integers(1, 20, (batch, steps))


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("return_sequences", [True, False])
def test_model_steps_as_it_predicts(return_sequences, batch):
    model = model_of_text(return_sequences)
    got = stepped(model.stepper(batch), ids(batch))
    np.testing.assert_allclose(got, prefixes(model, ids(batch)), rtol=0, atol=1e-5)
    if return_sequences:
        np.testing.assert_allclose(got, model.predict(ids(batch), verbose=0), rtol=0, atol=1e-5)


@pytest.mark.parametrize("zero", [False, True])
@pytest.mark.parametrize("return_sequences", [True, False])
def test_masked_steps(return_sequences, zero):
    model = model_of_text(return_sequences, mask_zero=True, zero=zero)
    x = ids(4)
    x[0, 3] = x[1, 0] = x[1, 1] = x[1, 5] = x[2, -1] = 0
    x[3] = 0  # nothing at all
    stepper = model.stepper(4)
    got = stepped(stepper, x)
    np.testing.assert_allclose(got, prefixes(model, x), rtol=0, atol=1e-5)
    outputs_kept = sum(name.endswith("/output") for name in stepper.state_names)
    assert outputs_kept == (0 if zero else 1 + return_sequences)  # a last output is h


def test_masking_layer_and_the_output_before():
    model = Sequential([Input((None, 2)), layers.Masking(-1.0), layers.LSTM(5, return_sequences=True)])
    x = series(1, 2, steps=6)
    x[0, [0, 3, 4]] = -1
    got = stepped(model.stepper(), x)
    np.testing.assert_allclose(got, model.predict(x, verbose=0), rtol=0, atol=1e-6)
    assert not got[0, 0].any()
    assert same(got[0, 3], got[0, 2])
    assert same(got[0, 4], got[0, 2])


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


def test_functional_model_of_several_inputs_outputs_and_shared_layers():
    a, b = Input((None, 3)), Input((None, 4))
    shared = layers.SimpleRNN(6, return_sequences=True)
    same_size = layers.TimeDistributed(layers.Dense(6, activation="tanh"))(layers.Concatenate()([a, b]))
    first = shared(same_size)
    second = shared(layers.Add()([first, same_size]))
    out, h, c = layers.LSTM(3, return_state=True)(second)
    model = Model([a, b], [layers.Dense(2)(second), out, h, c])
    x = [series(2, 3, steps=5), series(2, 4, steps=5)]
    stepper = model.stepper(2)
    for t in range(5):
        got = stepper.step([value[:, t] for value in x])
    sequence, *final = model.predict(x, verbose=0)
    np.testing.assert_allclose(got[0], sequence[:, -1], rtol=0, atol=1e-5)
    for one, expected in zip(got[1:], final, strict=True):
        np.testing.assert_allclose(one, expected, rtol=0, atol=1e-5)
    assert len(set(stepper.state_names)) == len(stepper.state) == 4
    before = stepper.state
    got[2][...] = 9  # what is shown is not what is kept
    assert all(map(same, stepper.state, before))


def test_model_within_a_model_and_float64():
    inner = Sequential([Input((None, 3)), layers.GRU(4, return_sequences=True, dtype="float64")])
    outer = Sequential([Input((None, 3), dtype="float64"), inner, layers.Dense(2, dtype="float64")])
    x = series(1, 3, np.float64)
    got = stepped(outer.stepper(), x)
    assert got.dtype == np.float64
    np.testing.assert_allclose(got, outer.predict(x, verbose=0), rtol=0, atol=1e-12)


def test_states_are_got_set_reset_and_belong_to_one_stepper():
    model = model_of_text()
    x = ids(2)
    one, other = model.stepper(2), model.stepper(2)
    assert one.state_names == [
        f"{model.layers[1].name}/h",
        f"{model.layers[1].name}/c",
        f"{model.layers[3].name}/h",
    ]
    start = stepped(one, x[:, :4])
    state = one.state
    rest = stepped(one, x[:, 4:])
    assert not any(part.any() for part in other.state)
    other.state = state
    for part in state:
        part[...] = 5  # copies
    assert same(stepped(other, x[:, 4:]), rest)
    one.reset()
    assert same(stepped(one, x[:, :4]), start)


def test_states_are_saved_and_loaded(tmp_path):
    model = model_of_text(mask_zero=True)
    x = ids(2)
    stepper = model.stepper(2)
    stepped(stepper, x[:, :5])
    stepper.save(tmp_path / "state.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["state.safetensors"]
    rest = stepped(stepper, x[:, 5:])
    again = model.stepper(2)
    again.load(tmp_path / "state.safetensors")
    assert same(stepped(again, x[:, 5:]), rest)

    before = again.state
    other = Sequential([Input((None, 2)), layers.LSTM(3, name="unlike")]).stepper()
    other.save(tmp_path / "other.safetensors")
    with pytest.raises(ValueError) as error:
        again.load(tmp_path / "other.safetensors")
    names = ", ".join(again.state_names)
    text = f"stepper: path must hold the state of {names}, got unlike/c, unlike/h"
    assert str(error.value) == text
    with pytest.raises(ValueError, match=r"must have shape \(1, 9\), got \(2, 9\)"):
        model.stepper(1).load(tmp_path / "state.safetensors")
    assert all(map(same, again.state, before))


def test_weights_change_when_refreshed():
    model = model_of_text()
    x = ids(1)
    stepper = model.stepper()
    before = stepped(stepper, x)
    for layer in model.layers:  # embeddings, recurrent and dense alike
        layer.set_weights([w + 0.25 for w in layer.get_weights()])
    stepper.reset()
    assert same(stepped(stepper, x), before)
    stepper.reset()
    stepper.step(x[:, 0])
    state = stepper.state
    stepper.refresh()
    assert all(map(same, stepper.state, state))
    stepper.reset()
    np.testing.assert_allclose(stepped(stepper, x), model.predict(x, verbose=0), rtol=0, atol=1e-5)


def test_a_step_that_fails_changes_nothing():
    a, b = Input((None, 3)), Input((None,))
    ahead = layers.LSTM(4, return_sequences=True)(a)
    model = Model([a, b], layers.Concatenate()([ahead, layers.Embedding(5, 2)(b)]))
    stepper = model.stepper()
    stepper.step([np.ones((1, 3)), [1]])
    before = stepper.state
    with pytest.raises(ValueError):
        stepper.step([np.ones((1, 3)), [7]])
    assert all(map(same, stepper.state, before))


def test_steppers_of_several_threads(threads):
    threads(2)
    model = model_of_text()
    x = ids(1, 60)
    expected = stepped(model.stepper(), x)
    shared = model.stepper()

    def work():
        found = stepped(model.stepper(), x)
        stepped(shared, x)  # at once with the others: steps may be lost, no more
        return found

    assert all(same(one, expected) for one in in_threads(4, work))


def on_steps(*more, features=3):
    return Sequential([Input((6, features)), *more])


def refused_models():
    lstm = lambda **options: layers.LSTM(4, return_sequences=True, name="one", **options)  # noqa: E731
    yield on_steps(layers.Bidirectional(layers.LSTM(4), name="both")), "both (Bidirectional)"
    yield on_steps(lstm(go_backwards=True)), "one (LSTM) with go_backwards=True"
    cells = layers.RNN([layers.GRUCell(2)], go_backwards=True, name="cells")
    yield on_steps(cells), "cells (RNN) with go_backwards=True"
    yield on_steps(layers.LSTM(4), layers.RepeatVector(3, name="r")), "r (RepeatVector)"
    yield on_steps(lstm(), layers.Flatten(name="f")), "f (Flatten)"
    yield on_steps(layers.Reshape((3, 6), name="s")), "s (Reshape)"
    yield on_steps(layers.Permute((2, 1), name="p")), "p (Permute)"
    yield (
        on_steps(layers.TimeDistributed(layers.Dense(2)), layers.Bidirectional(layers.GRU(2), name="g")),
        "g (Bidirectional)",
    )
    a = Input((6, 3))
    yield Model(a, layers.Concatenate(axis=1, name="c")([a, a])), "c (Concatenate) with axis=1"
    state = layers.LSTM(4, return_state=True)(a)[1:]
    yield Model(a, lstm()(a, initial_state=state)), "one (LSTM) with an initial_state"
    yield (
        Model(a, layers.RNN(Leaky(4), name="r")(a, initial_state=[state[0], layers.Dense(2)(state[1])])),
        "r (RNN) with an initial_state",
    )
    b = Input((3,))
    yield Model(b, layers.GRUCell(2, name="c")(b)[0]), "c (GRUCell) on inputs without features"
    yield Model(b, layers.Dense(2, name="d")(b)), "d (Dense) on inputs without features"


def test_refused_layers_are_named():
    for model, got in refused_models():
        with pytest.raises(ValueError) as error:
            model.stepper()
        assert str(error.value) == f"stepper: layers must work step by step, got {got}"


def test_other_refusals():
    a = Input((6, 3))
    with pytest.raises(ValueError) as error:
        Model(a, layers.LSTM(2, return_sequences=True)(a)[:, 0]).stepper()
    text = "stepper: the model must be made of layers that work step by step, got getitem"
    assert str(error.value) == text
    with pytest.raises(RuntimeError, match=r"^stepper: .* must be built, got one without weights yet$"):
        Sequential([layers.LSTM(2)]).stepper()
    for batch_size, kind, text in (
        (0, ValueError, "stepper: batch_size must be at least 1, got 0"),
        (1.5, TypeError, "stepper: batch_size must be an integer, got 1.5"),
    ):
        with pytest.raises(kind) as error:
            on_steps(layers.GRU(2)).stepper(batch_size)
        assert str(error.value) == text


def test_refusals_of_a_models_step():
    stepper = on_steps(layers.GRU(2, name="gru")).stepper(2)
    for call, text in (
        (lambda: stepper.step(np.zeros((1, 3))), "stepper: x must have shape (2, 3), got (1, 3)"),
        (lambda: stepper.step(np.zeros((2, 1, 3))), "stepper: x must have shape (2, 3), got (2, 1, 3)"),
        (lambda: setattr(stepper, "state", []), "stepper: state must be 1 arrays, got 0"),
        (
            lambda: setattr(stepper, "state", [np.zeros((1, 2))]),
            "stepper: gru/h must have shape (2, 2), got (1, 2)",
        ),
    ):
        with pytest.raises(ValueError) as error:
            call()
        assert str(error.value) == text
    two = Model([a := Input((None, 3)), b := Input((None, 3))], layers.Add()([a, b])).stepper()
    with pytest.raises(ValueError) as error:
        two.step([np.zeros((1, 3))])
    assert str(error.value) == "stepper: x must be 2 arrays, got 1"


def test_no_warning_of_masks():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model_of_text(mask_zero=True).stepper()
