"""Both directions of a bidirectional layer in one call: when, and that nobody can tell from the numbers."""

import numpy as np
import pytest
from rnn_ops import CELLS, Op, problem

import fastseq
from fastseq import _core, layers, ops
from fastseq.ops import rnn, symbolic


def names_of(model, training=False):
    """The operations of a plan, after one run or one step."""
    x = [np.zeros((2, *symbol.shape[1:]), np.float32) for symbol in model.inputs]
    x = x if len(x) > 1 else x[0]
    if not training:
        plan = fastseq.graph.Plan(model.inputs, model.outputs, training=False)
    else:
        model.compile("sgd", "mse")
        model.train_on_batch(x, np.zeros((2, *model.output_shape[1:]), np.float32))
        plan = model.objective.ready
    return [name for name, _ in plan.operations]


@pytest.mark.parametrize("training", [False, True])
def test_directions_are_one_call(training):
    x = layers.Input((5, 4))
    model = fastseq.Model(x, layers.Bidirectional(layers.LSTM(3))(x))
    assert names_of(model, training) == ["two_lstm", "concatenate"]
    x = layers.Input((5, 4))  # as the image OCR example builds it
    ahead = layers.GRU(3, return_sequences=True)(x)
    back = layers.GRU(3, return_sequences=True, go_backwards=True)(x)
    assert names_of(fastseq.Model(x, layers.add([ahead, back])), training) == ["two_gru", "add"]


def test_what_needs_the_other_direction_waits_for_it():
    x = layers.Input((5, 4))
    ahead, h, c = layers.LSTM(3, return_state=True)(x)
    back = layers.LSTM(3, go_backwards=True)(x, initial_state=[h, c])
    assert names_of(fastseq.Model(x, layers.add([ahead, back]))) == ["lstm", "lstm", "add"]
    same = layers.LSTM(3)(x)  # the same way: nothing says that they belong together
    assert names_of(fastseq.Model(x, layers.add([same, layers.LSTM(3)(x)]))) == ["lstm", "lstm", "add"]


class OneWeight(layers.Layer):
    """Both directions through the same weights: their gradients add to the same array."""

    def build(self, input_shape):
        self.kernel = self.add_weight((4, 3), "glorot_uniform", name="kernel")
        self.recurrent = self.add_weight((3, 3), "orthogonal", name="recurrent")

    def call(self, inputs):
        both = [
            ops.simple_rnn(inputs, self.kernel, self.recurrent, go_backwards=way)[0] for way in (False, True)
        ]
        return ops.add(*both)


def test_shared_weights_are_not_added_to_at_once():
    x = layers.Input((5, 4))
    assert names_of(fastseq.Model(x, OneWeight()(x)), True) == ["simple_rnn", "simple_rnn", "add"]


@pytest.mark.parametrize("units", [(160, 4), (4, 160)])
def test_directions_of_unequal_size_on_any_number_of_threads(units):
    """The larger one could use more threads than its half of the team has."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((64, 9, 12)).astype(np.float32)
    y = rng.standard_normal((64, sum(units))).astype(np.float32)
    before = fastseq.get_num_threads()
    results = []
    try:
        for threads in (1, 4):
            fastseq.set_num_threads(threads)
            fastseq.set_seed(1)
            given = layers.Input((9, 12))
            back = layers.LSTM(units[1], go_backwards=True)
            model = fastseq.Model(
                given, layers.Bidirectional(layers.LSTM(units[0]), backward_layer=back)(given)
            )
            model.compile("sgd", "mse")
            model.train_on_batch(x, y)
            results.append([model.predict(x, verbose=0), *model.get_weights()])
    finally:
        fastseq.set_num_threads(before)
    assert names_of(model) == ["two_lstm", "concatenate"]
    for a, b in zip(*results, strict=True):
        assert np.array_equal(a, b)


@pytest.mark.parametrize("layer", [layers.LSTM, layers.GRU, layers.SimpleRNN])
def test_same_bits_as_apart_on_any_number_of_threads(layer):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((26, 9, 12)).astype(np.float32)
    x[3, 4:], x[5] = 0, 0
    y = rng.standard_normal((26, 9, 80)).astype(np.float32)
    before = fastseq.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 3, 4, 6):
            fastseq.set_num_threads(threads)
            fastseq.set_seed(1)
            given = layers.Input((9, 12))
            masked = layers.Masking()(given)
            both = layers.Bidirectional(layer(40, return_sequences=True, dropout=0.1, recurrent_dropout=0.2))
            model = fastseq.Model(given, both(masked))
            ahead = fastseq.Model(given, both.forward_layer(masked))
            back = fastseq.Model(given, both.backward_layer(masked))
            model.compile("sgd", "mse")
            losses = [model.train_on_batch(x, y) for _ in range(3)]
            found = model.predict(x, verbose=0)
            apart = [ahead.predict(x, verbose=0), back.predict(x, verbose=0)[:, ::-1]]
            assert np.array_equal(found, np.concatenate(apart, axis=-1))
            results.append([np.array(losses), found, *model.get_weights()])
    finally:
        fastseq.set_num_threads(before)
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            assert np.array_equal(a, b)


@pytest.mark.parametrize("cell", CELLS)
def test_gradients_are_those_of_two_calls(cell):
    """Different sizes, options and what is wanted in the two."""
    first, second = problem(cell, 6, 5, 4, 7, seed=1), problem(cell, 3, 8, 4, 20, seed=2)
    op, d = Op(cell), [np.random.default_rng(3).standard_normal(s) for s in ((6, 5, 7), (3, 8, 20))]
    which = {"lstm": symbolic.LSTM, "simple_rnn": symbolic.SIMPLE_RNN}.get(cell, symbolic.GRU)
    extra = {"reset_after": cell == "gru_after"} if which is symbolic.GRU else {}
    two = symbolic.TWO_AT_ONCE[which]
    run = two.bound({"first": {"go_backwards": True, **extra}, "second": extra, "training": True})
    flat: list = []
    for p in (first, second):
        flat += [p[k] for k in ("x", "kernel", "recurrent_kernel", "bias")]
        flat += [None, None, None, *p["initial_state"]]
    *outputs, saved = run(*flat)
    wanted = ("first_x", "first_kernel", "second_recurrent_kernel", "second_bias", "second_h")
    none = [None] * op.states
    grads = two.bound_backward(wanted, {})(saved, d[0], *none, d[1], *none)
    for i, (inputs, options) in enumerate(((first, {"go_backwards": True}), (second, {}))):
        sequence, state, kept = op.forward(**inputs, **options)
        got = outputs[i * (1 + op.states) :][: 1 + op.states]
        assert all(np.array_equal(a, b) for a, b in zip(got, (sequence, *state), strict=True))
        want = op.backward(kept, d[i])
        for name in (n.split("_", 1)[1] for n in wanted if n.startswith(("first_", "second_")[i])):
            expected = want.initial_state[0] if name == "h" else getattr(want, name)
            assert np.array_equal(getattr(grads, ("first_", "second_")[i] + name), expected)
    assert grads.first_bias is None
    assert grads.second_x is None


def test_a_call_that_is_refused_leaves_the_other_one():
    p = problem("lstm", 3, 4, 5, 6)
    _, _, one = rnn.lstm_forward(**p)
    _, _, used = rnn.lstm_forward(**p)
    rnn.lstm_backward(used, np.ones((3, 4, 6)))
    wanted = (np.ones((3, 4, 6)), None, None, True, True, True, True, True, None, None, None)
    with pytest.raises(RuntimeError, match=r"lstm_backward: saved must be used once"):
        _core.rnn_backward_both(one, used, wanted, wanted)
    with pytest.raises(
        ValueError, match=r"lstm_backward: saved must be of two calls of one dtype, got other ones"
    ):
        _core.rnn_backward_both(one, one, wanted, wanted)
    assert rnn.lstm_backward(one, np.ones((3, 4, 6))).x.shape == (3, 4, 5)
