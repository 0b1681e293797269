"""Plans: what they fuse, what they leave out, where variables lie, what a failed step leaves behind."""

import weakref

import numpy as np
import pytest
from small_models import rows

import fastseq
from fastseq import layers, ops
from fastseq._symbol import Variable
from fastseq.graph import Plan, activation_before, pack, segments


def model_of(inputs, outputs, loss="mse", metrics=(), **options):
    model = fastseq.Model(inputs, outputs)
    model.compile("sgd", loss, metrics=list(metrics), **options)
    return model


def train_plan(model, target):
    """The plan of a training step, after one step on zeros."""
    x = [np.zeros((2, *symbol.shape[1:]), np.float32) for symbol in model.inputs]
    model.train_on_batch(x if len(x) > 1 else x[0], target)
    return model.objective.ready


def forward_names(plan):
    return [name for name, _ in plan.operations]


def options_of(plan, name):
    return [options for n, options in plan.operations if n == name]


def addition(softmax_layer=True):
    x = layers.Input((7, 12))
    h = layers.RepeatVector(4)(layers.LSTM(8)(x))
    h = layers.LSTM(8, return_sequences=True)(h)
    if softmax_layer:
        return x, layers.Activation("softmax")(layers.TimeDistributed(layers.Dense(12))(h))
    return x, layers.TimeDistributed(layers.Dense(12, activation="softmax"))(h)


ONE_HOT = np.eye(12, dtype=np.float32)[np.zeros((2, 4), int)]


@pytest.mark.parametrize("softmax_layer", [True, False])
def test_addition_plan_is_as_short_as_it_can_be(softmax_layer):
    plan = train_plan(model_of(*addition(softmax_layer), "categorical_crossentropy", ["accuracy"]), ONE_HOT)
    assert forward_names(plan) == ["lstm", "lstm", "dense"]  # no repeat, no softmax
    first, second = options_of(plan, "lstm")
    assert first["return_sequence"] is False
    assert second["repeat"] == 4
    assert "return_sequence" not in second
    wanted = [wanted for _, wanted, _ in plan.backward_operations]
    assert wanted == [("x", "kernel", "bias"), ("x", "kernel", "recurrent_kernel", "bias"),
                      ("kernel", "recurrent_kernel", "bias")]  # no gradient of the data  # fmt: skip
    assert all(  # all added in place
        set(into) == set(wanted) - {"x"} for _, wanted, into in plan.backward_operations
    )


def test_probabilities_are_kept_where_a_metric_reads_them():
    x, y = addition()
    plan = train_plan(model_of(x, y, "categorical_crossentropy", ["accuracy", "mse"]), ONE_HOT)
    assert forward_names(plan) == ["lstm", "lstm", "dense", "softmax"]
    assert len(plan.backward_operations) == 3  # the loss still takes the logits


def test_intermediates_that_are_used_are_not_fused_away():
    x = layers.Input((5,))
    repeated = layers.RepeatVector(3)(layers.Dense(4)(x))
    plan = Plan([x], [layers.LSTM(2)(repeated), repeated])
    assert sorted(forward_names(plan)) == ["dense", "lstm", "repeat"]
    assert options_of(plan, "lstm")[0]["repeat"] == 3
    hidden = layers.Dense(4)(x)
    plan = Plan([x], [layers.Activation("relu")(hidden), hidden])
    assert forward_names(plan) == ["dense", "activation"]
    plan = Plan([x], [layers.Activation("relu")(hidden)])
    assert forward_names(plan) == ["dense"]
    assert options_of(plan, "dense")[0]["activation"] == "relu"


def test_sigmoid_is_taken_in_by_binary_crossentropy():
    x = layers.Input((5,))
    model = model_of(x, layers.Dense(1, activation="sigmoid")(x), "binary_crossentropy")
    plan = train_plan(model, np.ones((2, 1)))
    assert forward_names(plan) == ["dense"]
    assert options_of(plan, "dense")[0]["activation"] == "linear"
    # with the metric, probabilities are made too, and the loss does not take its gradient from them
    model = model_of(x, layers.Dense(1, activation="sigmoid")(x), "binary_crossentropy", ["accuracy"])
    plan = train_plan(model, np.ones((2, 1)))
    assert forward_names(plan) == ["dense", "activation"]


def test_dropout_is_left_out_of_inference():
    x = layers.Input((5,))
    y = layers.Dense(2)(layers.Dropout(0.5)(x))
    assert forward_names(Plan([x], [y])) == ["dense"]
    assert forward_names(Plan([x], [y], training=True)) == ["dropout", "dense"]
    always = layers.Dense(2)(layers.Dropout(0.5)(x, training=True))
    assert forward_names(Plan([x], [always])) == ["dropout", "dense"]


def test_what_nobody_asks_for_is_not_computed():
    x = layers.Input((5, 3))
    shared = layers.LSTM(4, return_sequences=True)(x)
    layers.GRU(4)(shared)  # a branch that leads nowhere
    assert forward_names(Plan([x], [shared])) == ["lstm"]


def test_frozen_layers_have_no_backward():
    x = layers.Input((5,))
    first, second = layers.Dense(4), layers.Dense(2)
    first.trainable = False
    model = model_of(x, second(first(x)))
    plan = train_plan(model, np.zeros((2, 2)))
    assert [wanted for _, wanted, _ in plan.backward_operations] == [("kernel", "bias")]
    before = first.get_weights()
    model.train_on_batch(np.ones((2, 5)), np.ones((2, 2)))
    assert all((a == b).all() for a, b in zip(before, first.get_weights(), strict=True))


def test_outputs_must_follow_from_inputs():
    x, other = layers.Input((5,)), layers.Input((5,))
    with pytest.raises(ValueError) as error:
        fastseq.Model(x, layers.Dense(2)(other))
    assert str(error.value) == (
        "Model: outputs must be computed from the inputs, "
        "got one that needs <Symbol shape=(None, 5), dtype=float32>"
    )


# --- variables ------------------------------------------------------------------------------------


def test_parameters_lie_in_one_buffer():
    x, y = addition()
    model = model_of(x, y, "categorical_crossentropy")
    train_plan(model, ONE_HOT)
    variables = model.trainable_weights
    places = [(v.value.ctypes.data, v.gradient.ctypes.data) for v in variables]
    for variable, place, after in zip(variables, places, places[1:], strict=False):
        padded = -(-variable.value.nbytes // 64) * 64
        assert after == (place[0] + padded, place[1] + padded)
    for variable, (value, gradient) in zip(variables, segments(variables), strict=True):
        assert value.ctypes.data == variable.value.ctypes.data
        assert gradient.ctypes.data == variable.gradient.ctypes.data
        assert value.ctypes.data % 64 == gradient.ctypes.data % 64 == 0
        assert len(value) == len(gradient) == variable.value.size
        assert not gradient.any()  # the optimizer leaves them cleared


def test_packed_variables_stay_where_they_are():
    a, b = (Variable(np.full((3,), k, np.float32), "v") for k in (1, 2))
    wide = Variable(np.zeros((5,)), "wide")
    pack([a, wide])
    place = a.value
    pack([a, b, wide])
    assert a.value is place
    assert [len(v) for v, _ in segments([a, b, wide])] == [3, 3, 5]
    np.testing.assert_array_equal(b.value, [2, 2, 2])


def test_a_failed_step_leaves_no_gradient():
    x = layers.Input((4, 3))
    model = model_of(x, layers.Dense(2)(layers.LSTM(3)(x)))
    plan = train_plan(model, np.zeros((2, 2)))
    before = model.get_weights()
    broken = list(plan._backward)
    plan._backward[-1] = (lambda *a, **k: 1 / 0, *plan._backward[-1][1:])
    with pytest.raises(ZeroDivisionError):
        model.train_on_batch(rows(2, 4, 3), rows(2, 2))
    assert not any(variable.gradient.any() for variable in model.weights)
    assert all((p == q).all() for p, q in zip(before, model.get_weights(), strict=True))
    plan._backward[:] = broken
    model.train_on_batch(rows(2, 4, 3), rows(2, 2))


@pytest.mark.parametrize("kept", ["sequence", "logits", "probabilities"])
def test_what_a_variable_keeps_is_computed(kept):
    """Though nobody else reads it, and a fusion would leave it out."""
    x = layers.Input((4, 3), batch_size=2)
    sequence, h = layers.GRU(3, return_sequences=True, return_state=True)(x)
    logits = layers.Dense(3)(h)
    hidden = layers.Activation("relu")(logits)
    probabilities = layers.Activation("softmax")(hidden)
    symbol = {"sequence": sequence, "logits": logits, "probabilities": probabilities}[kept]
    variable = Variable(np.zeros(symbol.shape, np.float32), "kept", trainable=False)
    symbol.node.updates = [(variable, 0)]
    expected = fastseq.Model(x, symbol).predict(rows(2, 4, 3), verbose=0)
    model = model_of(x, probabilities, "categorical_crossentropy", ["accuracy"])
    variable.value = np.zeros_like(expected)
    model.train_on_batch(rows(2, 4, 3), np.eye(3)[:2])
    np.testing.assert_allclose(variable.value, expected, rtol=1e-6)


def test_a_failed_step_commits_nothing():
    x = layers.Input((4, 3), batch_size=2)
    lstm, drop = layers.LSTM(3, stateful=True), layers.Dropout(0.5)
    model = model_of(x, layers.Dense(2)(drop(lstm(x))))
    plan = train_plan(model, np.zeros((2, 2)))
    plan._backward[-1] = (lambda *a, **k: 1 / 0, *plan._backward[-1][1:])
    steps, states = drop.random.steps, [state.numpy() for state in lstm.states]
    with pytest.raises(ZeroDivisionError):
        model.train_on_batch(rows(2, 4, 3), rows(2, 2))
    assert drop.random.steps == steps
    for state, before in zip(lstm.states, states, strict=True):
        np.testing.assert_array_equal(state.value, before)


@pytest.mark.parametrize("method", ["train_on_batch", "test_on_batch"])
def test_a_step_holds_nothing_of_its_batch(method):
    """Neither the plan nor the objective: activations are freed when the step is over."""
    x = layers.Input((4,))
    model = model_of(x, layers.Dense(2)(x))
    batch = rows(3, 4)
    gone = weakref.ref(batch)
    getattr(model, method)(batch, rows(3, 2))
    del batch
    assert gone() is None


def test_a_model_compiled_after_predicting_uses_the_same_weights():
    x = layers.Input((4,))
    model = fastseq.Model(x, layers.Dense(2)(x))
    before = model.predict(rows(3, 4), verbose=0)
    model.compile("sgd", "mse")
    model.train_on_batch(rows(3, 4), rows(3, 2))
    after = model.predict(rows(3, 4), verbose=0)
    assert (before != after).all()
    np.testing.assert_allclose(after, rows(3, 4) @ model.get_weights()[0] + model.get_weights()[1], rtol=1e-5)


def test_one_plan_runs_on_any_batch():
    x, y = addition()
    model = model_of(x, y, "categorical_crossentropy", ["accuracy"])
    plan = model.predict_plan()
    for batch in (1, 5, 2, 0):
        (out,) = plan.run([rows(batch, 7, 12)])
        assert out.shape == (batch, 4, 12)


MOVES = {
    "slice": lambda p: p[:, 1:],
    "slice with the classes named": lambda p: p[:, 1:, :],
    "ellipsis": lambda p: p[..., 1:, :],
    "reshape": lambda p: ops.reshape(p, (2, 2, 6)),
    "transpose": lambda p: ops.transpose(p, (1, 0, 2)),
    "reverse": ops.reverse,
    "fold and unfold": lambda p: ops.unfold_steps(ops.fold_steps(p), p),
    "several": lambda p: ops.reverse(ops.identity(p[:, ::2]))[:, 0],
}
OTHERS = {
    "some classes": lambda p: p[:, :, 1:],
    "one class": lambda p: p[:, :, 0],
    "classes in rows": lambda p: ops.reshape(p, (8, 3)),
    "classes moved": lambda p: ops.transpose(p, (0, 2, 1)),
    "sum": lambda p: p + p,
}


@pytest.mark.parametrize("name", [*MOVES, *OTHERS])
def test_a_loss_takes_in_the_softmax_through_what_moves_whole_rows(name):
    """What is read, moved like the softmax's output, becomes that output by softmax; nothing else may."""
    x = layers.Input((4, 6))
    logits = ops.dense(x, np.eye(6, dtype=np.float32))
    output = {**MOVES, **OTHERS}[name](ops.softmax(logits))
    kind, source = activation_before(output)
    if name in OTHERS:
        assert kind != "softmax"
        assert source is output
        return
    assert kind == "softmax"
    data = np.random.default_rng(0).normal(size=(3, 4, 6)).astype(np.float32)
    want, moved = Plan([x], [output, source]).run([data])
    np.testing.assert_allclose(ops.softmax(moved), want, rtol=1e-6)


def test_what_is_before_other_outputs():
    x = layers.Input((4, 6))
    kernel = np.eye(6, dtype=np.float32)
    assert activation_before(ops.dense(x, kernel)[:, 1:])[0] == "linear"
    assert activation_before(ops.activation(ops.dense(x, kernel), "relu"))[0] == "relu"
    assert activation_before(layers.LSTM(3)(x))[0] == "lstm"
    assert activation_before(x[:, 1:])[0] == "input"


def test_a_cut_softmax_is_not_computed_to_train():
    x = layers.Input((4, 6))
    y = layers.Dense(6, activation="softmax", name="cut")(x)[:, 1:]
    target = np.eye(6, dtype=np.float32)[np.zeros((2, 3), int)]
    plan = train_plan(model_of(x, y, "categorical_crossentropy", ["accuracy"]), target)
    assert forward_names(plan) == ["dense", "getitem"]


def test_inputs_stay_integers_only_where_nothing_else_reads_them():
    x = layers.Input((4,))
    table = np.zeros((5, 3), np.float32)
    assert Plan([x], [ops.embedding(x, table), ops.not_equal(x, 0)]).integer_inputs == [True]
    assert Plan([x], [ops.embedding(x, table), x * 0.5]).integer_inputs == [False]
    assert Plan([x], [x * 0.5]).integer_inputs == [False]
