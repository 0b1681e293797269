"""Losses of one's own: functions traced on Symbols, beside Keras and beside our own losses."""

import numpy as np
import pytest
from gradcheck import check_loss_gradient
from keras_twin import OURS, THEIRS, check_step, close, keras, twins

import fastseq
from fastseq import layers, losses, ops
from fastseq._symbol import Symbol
from fastseq.losses.symbolic import ROWS, same_rank

rng = np.random.default_rng(0)
X = rng.normal(size=(6, 5, 3)).astype(np.float32)
TARGET = rng.normal(size=(6, 2)).astype(np.float32)
STEPS = rng.normal(size=(6, 5, 2)).astype(np.float32)
WEIGHTS = np.array([1, 0, 2, 0.5, 1, 3], np.float32)


def huber(o):
    def loss(y_true, y_pred):
        error = y_true - y_pred
        small = abs(error) <= 0.7
        return o.mean(o.where(small, 0.5 * error**2, 0.7 * abs(error) - 0.245), axis=-1)

    return loss


def focal(o):
    def loss(y_true, y_pred):
        p = o.clip(o.sigmoid(y_pred) if o is keras.ops else ops.activation(y_pred, "sigmoid"), 1e-6, 1 - 1e-6)
        target = o.cast(y_true > 0, "float32")
        return -(target * (1 - p) ** 2 * o.log(p) + (1 - target) * p**2 * o.log(1 - p))  # no mean: (batch, 2)

    return loss


def cosine(o):
    def loss(y_true, y_pred):
        def length(v):
            return o.sqrt(o.sum(o.square(v), axis=-1) + 1e-6)

        return -o.sum(y_true * y_pred, axis=-1) / (length(y_true) * length(y_pred))

    return loss


def log_of_sums(o):
    def loss(y_true, y_pred):
        peak = o.max(y_pred, axis=-1, keepdims=True)
        return o.log(o.sum(o.exp(y_pred - peak), axis=-1)) + peak[..., 0] - o.sum(y_true * y_pred, -1)

    return loss


LOSSES = [huber, focal, cosine, log_of_sums]


def rows_model(library):
    x = library.Input((5, 3))
    h = library.layers.LSTM(4)(x)
    return library.Model(x, library.layers.Dense(2)(h))


def steps_model(library):
    x = library.Input((5, 3))
    h = library.layers.LSTM(4, return_sequences=True)(library.layers.Masking()(x))
    return library.Model(x, library.layers.Dense(2)(h))


@pytest.mark.parametrize("write", LOSSES)
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_steps_as_in_keras(write, weights):
    if weights is not None and write is focal:
        weights = np.repeat(weights[:, None], 2, axis=1)  # Keras multiplies (6, 2) losses with these only
    ours, theirs = twins(rows_model)
    options = {} if weights is None else {"sample_weight": weights}
    check_step(ours, theirs, X, TARGET, write(ops), ["mae"], their_loss=write(keras.ops), **options)


@pytest.mark.parametrize("write", [huber, cosine])
def test_masked_steps_as_in_keras(write):
    x = X.copy()
    x[0, 3:] = x[2, 1:] = x[4, :] = 0
    ours, theirs = twins(steps_model)
    check_step(ours, theirs, x, STEPS, write(ops), their_loss=write(keras.ops))
    weights = np.repeat(WEIGHTS[:, None], 5, axis=1)
    check_step(ours, theirs, x, STEPS, write(ops), their_loss=write(keras.ops), sample_weight=weights)


def test_several_outputs_with_weights_as_in_keras():
    def build(library):
        x = library.Input((5, 3))
        h = library.layers.LSTM(4)(x)
        outputs = [library.layers.Dense(2, name=name)(h) for name in ("a", "b", "c")]
        return library.Model(x, outputs)

    ours, theirs = twins(build)
    targets = [TARGET, TARGET[::-1].copy(), -TARGET]
    our_losses, their_losses = ([huber(o), "mse", cosine(o)] for o in (ops, keras.ops))
    check_step(ours, theirs, X, targets, our_losses, their_loss=their_losses, loss_weights=[0.5, 2.0, 3.0])


def test_fit_and_evaluate_as_in_keras():
    ours, theirs = twins(rows_model)
    ours.compile(OURS.SGD(0.1), huber(ops))
    theirs.compile(THEIRS.SGD(0.1), huber(keras.ops), run_eagerly=True)
    options = {"batch_size": 4, "epochs": 3, "shuffle": False, "verbose": 0, "validation_split": 0.3}
    history, expected = ours.fit(X, TARGET, **options), theirs.fit(X, TARGET, **options)
    for name in ("loss", "val_loss"):
        close(history.history[name], expected.history[name])
    close(ours.evaluate(X, TARGET, verbose=0), theirs.evaluate(X, TARGET, verbose=0))
    close(ours.get_weights(), theirs.get_weights())


# The OCR program's way: the graph computes the loss, and the loss function hands it on.


@pytest.mark.parametrize("target", [np.zeros(6), np.ones((6, 1))])
def test_the_dummy_loss_of_the_ocr_program(target):
    def build(library):
        x, y = library.Input((5, 3)), library.Input((2,))
        out = library.layers.Dense(2)(library.layers.LSTM(4)(x))
        square = library.layers.Lambda(
            lambda pair: (ops if library is OURS else keras.ops).sum(
                (pair[0] - pair[1]) ** 2, axis=-1, keepdims=True
            ),
            output_shape=(1,),
            name="ctc",
        )
        return library.Model([x, y], square([out, y]))

    ours, theirs = twins(build)
    check_step(ours, theirs, [X, TARGET], target, {"ctc": lambda y_true, y_pred: y_pred})


@pytest.mark.parametrize(
    ("name", "written", "activation", "target"),
    [
        ("mse", lambda t, p: ops.mean(ops.square(t - p), axis=-1), "linear", TARGET),
        ("mae", lambda t, p: ops.mean(abs(t - p), axis=-1), "linear", TARGET),
        ("categorical_crossentropy", lambda t, p: -ops.sum(t * ops.log(p), axis=-1), "softmax",
         np.eye(2, dtype=np.float32)[[0, 1, 1, 0, 1, 0]]),
        ("mse", lambda t, p: losses.mean_squared_error(t, p), "linear", TARGET),
        ("mse", lambda t, p: losses.MeanSquaredError(reduction="none")(t, p), "linear", TARGET),
        ("sparse_categorical_crossentropy", losses.SparseCategoricalCrossentropy(reduction="none"), "softmax",
         np.array([0, 1, 1, 0, 1, 0])),
    ],
)  # fmt: skip
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_the_same_as_our_own(name, written, activation, target, weights):
    x = layers.Input((5, 3))
    model = fastseq.Model(x, layers.Dense(2, activation)(layers.LSTM(4)(x)))
    start = model.get_weights()
    results = []
    for loss in (name, lambda t, p: written(t, p)):
        model.set_weights(start)
        model.compile(fastseq.optimizers.SGD(1.0), loss, metrics=["accuracy"])
        values = [model.train_on_batch(X, target, sample_weight=weights) for _ in range(2)]
        results.append((values, model.get_weights()))
    np.testing.assert_allclose(results[1][0], results[0][0], rtol=1e-5)
    for a, b in zip(results[1][1], results[0][1], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_a_subclass_with_call():
    class Scaled(losses.Loss):
        def __init__(self, scale, **options):
            super().__init__(**options)
            self.scale = scale

        def call(self, y_true, y_pred):
            return self.scale * ops.mean(ops.square(y_true - y_pred), axis=-1)

    prediction = rng.normal(size=(6, 2))
    expected = 3 * ((TARGET - prediction) ** 2).mean(axis=-1)
    np.testing.assert_allclose(Scaled(3.0)(TARGET, prediction), expected.mean())
    np.testing.assert_allclose(Scaled(3.0, reduction="none")(TARGET, prediction), expected)
    np.testing.assert_allclose(Scaled(3.0, reduction="sum")(TARGET, prediction, WEIGHTS), expected @ WEIGHTS)
    model = rows_model(OURS)
    model.compile(fastseq.optimizers.SGD(0.0), Scaled(3.0), metrics=[Scaled(1.0, name="metric"), "mse"])
    value, metric, mse = model.train_on_batch(X, TARGET)
    assert Scaled(1.0).name == "scaled"
    np.testing.assert_allclose([value, metric], [3 * mse, mse], rtol=1e-6)


def test_a_loss_may_read_weights_and_inner_symbols():
    """Both have their gradients: they are part of the graph."""
    x = layers.Input((3,), batch_size=6)
    hidden = layers.Dense(4, name="hidden")
    h = hidden(x)
    model = fastseq.Model(x, layers.Dense(2, name="out")(h))

    def loss(y_true, y_pred):
        decay = ops.sum(ops.square(model.get_layer("out").kernel))
        return ops.mean(ops.square(y_true - y_pred), axis=-1) + 0.1 * decay + ops.mean(h * h, axis=-1)

    x_data = X[:, 0].astype(np.float64)
    w1, b1, w2, b2 = [w.astype(np.float64) for w in model.get_weights()]

    def expected(w1, w2):
        h = x_data @ w1 + b1
        return (((TARGET - h @ w2 - b2) ** 2).mean(-1) + 0.1 * (w2**2).sum() + (h * h).mean(-1)).mean()

    model.compile(fastseq.optimizers.SGD(1.0), loss)
    np.testing.assert_allclose(model.train_on_batch(X[:, 0], TARGET), expected(w1, w2), rtol=1e-5)
    for k, at in ((0, (1, 2)), (2, (3, 1))):
        step = np.zeros_like((w1, w2)[k // 2])
        step[at] = 1e-5
        moved = [(w1 + s * step, w2) if k == 0 else (w1, w2 + s * step) for s in (1, -1)]
        slope = (expected(*moved[0]) - expected(*moved[1])) / 2e-5
        changed = (w1, w2)[k // 2] - model.get_weights()[k]
        np.testing.assert_allclose(changed[at], slope, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("loss", [losses.MeanSquaredError(), losses.BinaryCrossentropy(from_logits=True)])
def test_gradients_of_losses_as_operations(loss):
    target, u = rng.random((6, 2)), rng.normal(size=6)

    def function(prediction):
        values, saved = ROWS.forward(prediction, target, loss=loss, training=True)
        return values * u, ROWS.backward(saved, u).y_pred

    check_loss_gradient(function, rng.normal(size=(6, 2)))


def test_ranks_meet_as_in_keras():
    for true, pred, made in [
        ((6,), (6, 1), [(6, 1), (6, 1)]),
        ((6, 1), (6,), [(6, 1), (6, 1)]),
        ((6, 5), (6, 5, 1), [(6, 5), (6, 5)]),
        ((6, 5, 1), (6, 5), [(6, 5), (6, 5)]),
        ((6, 5), (6, 5, 2), [(6, 5), (6, 5, 2)]),
    ]:
        assert [v.shape for v in same_rank(np.zeros(true), np.zeros(pred))] == made


def test_sequences_of_any_length():
    """Traced once, the loss takes whatever lengths come later."""
    x = layers.Input((None, 3))
    model = fastseq.Model(x, layers.Dense(2)(layers.LSTM(4, return_sequences=True)(x)))
    model.compile("sgd", lambda t, p: ops.mean(ops.square(t - p), axis=[1, 2]))
    model.train_on_batch(X, STEPS)
    value = model.test_on_batch(X[:, :2], STEPS[:, :2])
    prediction = model.predict(X[:, :2], verbose=0)
    np.testing.assert_allclose(value, ((STEPS[:, :2] - prediction) ** 2).mean(), rtol=1e-5)


def test_one_value_per_sample_of_a_masked_sequence():
    """The mask of the steps says nothing of whole samples: what the function gives is averaged as it is."""
    x = X.copy()
    x[0, 3:] = x[4, :] = 0
    model = steps_model(OURS)
    model.compile("sgd", lambda t, p: ops.sum(ops.square(t - p), axis=[1, 2]))
    expected = ((STEPS - model.predict(x, verbose=0)) ** 2).sum(axis=(1, 2))
    np.testing.assert_allclose(model.test_on_batch(x, STEPS), expected.mean(), rtol=1e-5)
    value = model.test_on_batch(x, STEPS, sample_weight=WEIGHTS)
    np.testing.assert_allclose(value, (expected * WEIGHTS).mean(), rtol=1e-5)


@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "sum"])
def test_one_number_for_the_batch_as_in_keras(weights, reduction):
    """What sums up the whole batch: its weights multiply it by their mean, or their sum."""

    class Largest(losses.Loss):
        def call(self, y_true, y_pred):
            return ops.max(ops.square(y_true - y_pred))

    class Theirs(keras.losses.Loss):
        def call(self, y_true, y_pred):
            return keras.ops.max(keras.ops.square(y_true - y_pred))

    ours, theirs = twins(rows_model)
    made = Largest(reduction=reduction), Theirs(reduction=reduction)
    options = {} if weights is None else {"sample_weight": weights}
    check_step(ours, theirs, X, TARGET, made[0], ["mae"], their_loss=made[1], **options)
    prediction = rng.normal(size=(6, 2)).astype(np.float32)
    close(made[0](TARGET, prediction, weights), made[1](TARGET, prediction, weights))


def test_losses_of_weight_0_may_be_anything():
    values, weights = np.array([1.0, np.inf, np.nan, 4.0]), np.array([1.0, 0.0, 0.0, 0.5])
    loss = losses.FunctionLoss(lambda t, p: p)
    total, gradient = loss.measure_traced(values, values, weights, None, False, True)
    assert total == 0.75
    np.testing.assert_array_equal(gradient, weights / 4)
    keep = np.array([True, False, False, True])
    total, gradient = loss.measure_traced(values, values, None, keep, False, True)
    assert total == 2.5
    np.testing.assert_array_equal(gradient, keep / 2)


def test_get():
    def mine(y_true, y_pred):
        return y_pred

    loss = losses.get(mine)
    assert isinstance(loss, losses.FunctionLoss)
    assert (loss.name, loss.function) == ("mine", mine)
    assert isinstance(losses.get(losses.mean_squared_error), losses.MeanSquaredError)


@pytest.mark.parametrize(
    ("loss", "error", "text"),
    [
        (
            lambda t, p: ops.sum(t - p, axis=0),
            ValueError,
            "compile: loss must return values of shape (batch, ...), or one number (<lambda>), "
            "got shape (2,)",
        ),
        (
            lambda t, p: 3.0,
            TypeError,
            "compile: loss must return a Symbol computed from its arguments (<lambda>), got 3.0",
        ),
        (
            lambda t, p: None,
            TypeError,
            "compile: loss must return a Symbol computed from its arguments (<lambda>), got None",
        ),
        (
            lambda t, p: losses.MeanSquaredError(reduction="none")(t, p, WEIGHTS),
            ValueError,
            "mean_squared_error: sample_weight must be None in a graph (multiply the losses of reduction "
            "'none'), got float32 array of shape (6,)",
        ),
        (
            lambda t, p: p if p > 0 else t,
            TypeError,
            "a Symbol has no values, so it cannot be used as a condition; run a model on data instead",
        ),
    ],
)
def test_errors(loss, error, text):
    model = rows_model(OURS)
    model.compile("sgd", loss)
    for _ in range(2):  # it stays refused
        with pytest.raises(error) as caught:
            model.train_on_batch(X, TARGET)
        assert str(caught.value) == text


def test_errors_of_data():
    model = rows_model(OURS)
    model.compile("sgd", lambda t, p: ops.mean(ops.square(t - p), axis=-1))
    model.train_on_batch(X, TARGET)
    with pytest.raises(ValueError) as caught:
        model.train_on_batch(X, TARGET[:, :1])
    assert str(caught.value) == "train_on_batch: y must have shape (None, 2), got (6, 1)"
    with pytest.raises(ValueError) as caught:
        model.train_on_batch(X, TARGET, sample_weight=np.ones((6, 2)))
    assert str(caught.value) == "<lambda>: sample_weight must have the shape (6,) of the losses, got (6, 2)"
    with pytest.raises(TypeError) as caught:
        model.compile("sgd", Symbol)
    assert str(caught.value) == "compile: loss must be the name of a loss, a Loss or a function, got type"
