"""Models a step at a time: beside predict, states kept and moved, layers that cannot."""

import warnings

import numpy as np
import pytest
from step_by_step import Leaky, in_threads, run, same, series

from fastseq import Input, Model, Sequential, layers

# --- the layer's own step ---------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [layers.LSTM, layers.GRU, layers.SimpleRNN])
def test_layer_steps(make):
    layer = make(6, return_sequences=True, dropout=0.5, recurrent_dropout=0.5)
    x = series(2, 3)
    outputs, state = run(layer, x)  # builds it
    assert same(outputs, layer(x))
    assert len(state) == len(layer.state_names)


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
    for layer in (Doubled(4, name="own"), DoubledCell(4, name="own")):
        with pytest.raises(ValueError) as error:
            layer.step(np.zeros((2, 3)))
        text = "own.stepper: call must be the library's where steps come one at a time, got one of {}'s own"
        assert str(error.value) == text.format(type(layer).__name__)


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


@pytest.mark.parametrize("merge", ["Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum"])
def test_merges_of_every_step_with_the_last(merge):
    x = Input((None, 3))
    steps, last = layers.GRU(4, return_sequences=True)(x), layers.LSTM(4)(x)
    model = Model(x, [steps, last, getattr(layers, merge)()([steps, last])])
    data = series(3, 3)
    first, second, got = model.predict(data, verbose=0)
    both = np.broadcast_arrays(first, second[:, None])
    functions = {"Average": lambda a, b: (a + b) / 2}
    expected = functions.get(merge) or getattr(np, merge.lower(), None)
    np.testing.assert_allclose(got, expected(*both), rtol=1e-6)
    stepper = model.stepper(3)
    for t in range(4):
        now = stepper.step(data[:, t])
    np.testing.assert_allclose(now[2], got[:, -1], rtol=0, atol=1e-6)


def test_normalized_steps():
    norms = [layers.LayerNormalization(), layers.BatchNormalization(), layers.LayerNormalization([-1])]
    between = [layers.GRU(4, return_sequences=True), norms[1], layers.LSTM(3, return_sequences=True)]
    model = Sequential([Input((None, 3)), layers.Masking(), norms[0], *between, norms[2]])
    rng = np.random.default_rng(4)
    model.set_weights([rng.uniform(0.5, 1.5, w.shape) for w in model.get_weights()])
    x = series(2, 3)
    x[0, 2] = 0
    stepper = model.stepper(2)
    got = stepped(stepper, x)
    np.testing.assert_allclose(got, model.predict(x, verbose=0), rtol=0, atol=1e-5)
    stepper.reset()
    norms[1].set_weights([w + 1 for w in norms[1].get_weights()])
    assert same(stepped(stepper, x), got)


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


class Doubled(layers.LSTM):
    def call(self, inputs, **options):
        return super().call(2 * inputs, **options)


class DoubledCell(layers.GRUCell):
    def call(self, inputs, states=None, training=None):
        return super().call(2 * inputs, states, training)


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
    b = lstm()(a)
    yield Model(a, layers.Dot(axes=1, name="d")([b, b])), "d (Dot)"  # which sums over the steps
    yield on_steps(layers.LayerNormalization([-1, -2], name="n")), "n (LayerNormalization) with axis=[-1, -2]"
    yield on_steps(layers.LayerNormalization(-2, name="n")), "n (LayerNormalization) with axis=-2"
    yield on_steps(layers.BatchNormalization(2, name="n")), "n (BatchNormalization) with axis=2"
    yield on_steps(Doubled(4, name="own")), "own (Doubled) with a call of its own"
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
