"""Regularizers, losses that layers add, and constraints: beside Keras, alone and in training."""

import numpy as np
import pytest
from keras_twin import OURS, check_step, close, keras, twins

import fastseq
from fastseq import constraints, layers, ops, regularizers

rng = np.random.default_rng(0)
MATRIX = rng.normal(size=(4, 5)).astype(np.float32)
X = rng.normal(size=(6, 5, 3)).astype(np.float32)
TARGET = rng.normal(size=(6, 2)).astype(np.float32)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("L1", {}),
        ("L1", {"l1": 0.3}),
        ("L2", {}),
        ("L2", {"l2": 0.3}),
        ("L1L2", {}),
        ("L1L2", {"l1": 0.3, "l2": 0.1}),
        ("OrthogonalRegularizer", {}),
        ("OrthogonalRegularizer", {"factor": 0.5, "mode": "columns"}),
    ],
)
def test_penalties(name, options):
    ours, theirs = getattr(regularizers, name)(**options), getattr(keras.regularizers, name)(**options)
    expected = float(theirs(keras.ops.convert_to_tensor(MATRIX)))
    np.testing.assert_allclose(ours(MATRIX), expected, rtol=1e-5)
    assert {k: pytest.approx(v) for k, v in ours.get_config().items()} == theirs.get_config()
    again = regularizers.get({"class_name": name, "config": ours.get_config()})
    assert again(MATRIX) == ours(MATRIX)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("MaxNorm", {}),
        ("MaxNorm", {"max_value": 1.0, "axis": 1}),
        ("MaxNorm", {"max_value": 1.0, "axis": [0, 1]}),
        ("NonNeg", {}),
        ("UnitNorm", {}),
        ("UnitNorm", {"axis": 1}),
        ("MinMaxNorm", {}),
        ("MinMaxNorm", {"min_value": 1.5, "max_value": 1.8, "rate": 0.3, "axis": 1}),
    ],
)
def test_constraints(name, options):
    ours, theirs = getattr(constraints, name)(**options), getattr(keras.constraints, name)(**options)
    np.testing.assert_allclose(ours(MATRIX), theirs(MATRIX), rtol=1e-6, atol=1e-7)
    assert ours(MATRIX).dtype == np.float32
    assert ours.get_config() == theirs.get_config()
    again = constraints.get({"class_name": name, "config": ours.get_config()})
    np.testing.assert_array_equal(again(MATRIX), ours(MATRIX))


def dense(k, r, c):
    x = k.Input((5, 3))
    h = k.layers.Flatten()(x)
    h = k.layers.Dense(4, "tanh", kernel_regularizer=r.L2(0.1), bias_regularizer="l1",
                       kernel_constraint=c.MaxNorm(0.5), bias_constraint="non_neg")(h)  # fmt: skip
    return k.Model(x, k.layers.Dense(2, kernel_regularizer=r.OrthogonalRegularizer(0.2))(h))


def recurrent(layer):
    def build(k, r, c):
        x = k.Input((5, 3))
        options = {
            "kernel_regularizer": r.L1L2(0.02, 0.03), "recurrent_regularizer": "l2",
            "bias_regularizer": r.L1(0.1), "kernel_constraint": c.UnitNorm(axis=1),
            "recurrent_constraint": c.MinMaxNorm(0.2, 0.6, 0.7),
            "bias_constraint": "non_neg",
        }  # fmt: skip
        return k.Model(x, k.layers.Dense(2)(getattr(k.layers, layer)(4, **options)(x)))

    return build


def both_ways(k, r, c):
    x = k.Input((5, 3))
    inner = k.layers.LSTM(4, kernel_regularizer=r.L2(0.1), recurrent_constraint=c.MaxNorm(0.4))
    return k.Model(x, k.layers.Dense(2)(k.layers.Bidirectional(inner)(x)))


def normalized(k, r, c):
    x = k.Input((5, 3))
    options = {"gamma_regularizer": r.L2(0.1), "beta_regularizer": "l1", "gamma_constraint": c.NonNeg(),
               "beta_constraint": c.MaxNorm(0.2)}  # fmt: skip
    h = k.layers.LayerNormalization(**options)(x)
    return k.Model(x, k.layers.Dense(2)(k.layers.Flatten()(h)))


def embedded(k, r, c):
    x = k.Input((5,), dtype="int32")
    h = k.layers.Embedding(7, 3, embeddings_regularizer=r.L2(0.1), embeddings_constraint=c.UnitNorm(1))(x)
    return k.Model(x, k.layers.Dense(2)(k.layers.Flatten()(h)))


def active(k, r, c):
    x = k.Input((5, 3))
    h = k.layers.LSTM(4, return_sequences=True, activity_regularizer=r.L2(0.3))(x)
    h = k.layers.Dense(3, "relu", activity_regularizer="l1")(h)
    h = k.layers.Activation("tanh", activity_regularizer=r.L1L2(0.1, 0.2))(h)
    return k.Model(x, k.layers.Dense(2)(k.layers.LSTM(4)(h)))


def active_output(k, r, c):
    x = k.Input((5, 3))
    return k.Model(x, k.layers.Dense(2, "softmax", activity_regularizer=r.L2(0.5))(k.layers.Flatten()(x)))


def shared(k, r, c):
    """A layer used twice: its weights are penalised once, its outputs twice; and frozen ones not at all."""
    x = k.Input((5, 3))
    twice = k.layers.Dense(3, kernel_regularizer=r.L2(0.1), activity_regularizer=r.L2(0.2))
    frozen = k.layers.Dense(4, kernel_regularizer=r.L2(0.5), kernel_constraint=c.NonNeg(), trainable=False)
    return k.Model(x, k.layers.Dense(2)(frozen(k.layers.Flatten()(twice(twice(x))))))


def within(k, r, c):
    """A model within a model."""
    y = k.Input((3,))
    inner = k.Model(y, k.layers.Dense(3, kernel_regularizer=r.L2(0.1), activity_regularizer=r.L1(0.2))(y))
    x = k.Input((5, 3))
    return k.Model(x, k.layers.Dense(2)(inner(k.layers.LSTM(3, bias_regularizer="l2")(x))))


@pytest.mark.parametrize(
    "build",
    [dense, recurrent("LSTM"), recurrent("GRU"), recurrent("SimpleRNN"), both_ways, normalized, embedded,
     active, active_output, shared, within],
)  # fmt: skip
def test_training_as_in_keras(build):
    def made(k):
        if k.ours:
            return build(k, regularizers, constraints)
        return build(k, keras.regularizers, keras.constraints)

    ours, theirs = twins(made)
    x = rng.integers(0, 7, (6, 5)) if build is embedded else X
    loss = "categorical_crossentropy" if build is active_output else "mse"
    target = np.eye(2, dtype=np.float32)[[0, 1, 1, 0, 1, 0]] if build is active_output else TARGET
    for _ in range(2):
        check_step(ours, theirs, x, target, loss, ["mae"])
    close(ours.predict(x, verbose=0), theirs.predict(x, verbose=0))


def test_fit_shows_the_penalty_as_keras_does():
    def build(k):
        own = (regularizers, constraints) if k.ours else (keras.regularizers, keras.constraints)
        x = k.Input((5, 3))
        h = k.layers.LSTM(4, kernel_regularizer=own[0].L2(0.1), activity_regularizer=own[0].L2(0.1))(x)
        return k.Model(x, [k.layers.Dense(2, name="a")(h), k.layers.Dense(2, name="b")(h)])

    ours, theirs = twins(build)
    histories = []
    for model in (ours, theirs):
        model.compile(("sgd"), ["mse", "mae"], loss_weights=[0.3, 2.0])
        histories.append(model.fit(
            X, [TARGET, -TARGET], epochs=2, batch_size=3, validation_split=0.5, shuffle=False, verbose=0
        ).history)  # fmt: skip
    assert set(histories[0]) == set(histories[1])
    for name, values in histories[0].items():
        np.testing.assert_allclose(values, histories[1][name], rtol=1e-4, err_msg=name)


def test_functions_serve():
    x = layers.Input((3,))
    layer = layers.Dense(
        2,
        kernel_regularizer=lambda w: 0.5 * ops.sum(ops.square(w - 1.0)),
        kernel_constraint=lambda w: np.round(w, 1),
    )
    model = fastseq.Model(x, layer(x))
    model.compile("sgd", "mse")
    kernel = layer.kernel.numpy()
    loss = model.test_on_batch(X[:, 0], model.predict(X[:, 0], verbose=0))
    assert loss == pytest.approx(0.5 * ((kernel - 1) ** 2).sum(), rel=1e-6)
    assert layer.losses == [pytest.approx(loss)]
    model.train_on_batch(X[:, 0], TARGET)
    np.testing.assert_array_equal(layer.kernel.numpy(), np.round(layer.kernel.numpy(), 1))


def test_gradients_in_float64():
    x = layers.Input((3,), dtype="float64")
    options = {"kernel_regularizer": regularizers.OrthogonalRegularizer(0.7), "activity_regularizer": "l1_l2"}
    layer = layers.Dense(4, bias_regularizer=regularizers.L1L2(0.1, 0.3), dtype="float64", **options)
    model = fastseq.Model(x, layers.Dense(2, dtype="float64")(layer(x)))
    model.set_weights([rng.normal(size=w.shape) for w in model.get_weights()])
    model.compile("sgd", "mse")
    data, target = X[:, 0].astype(float), TARGET.astype(float)
    start = model.get_weights()
    slopes = model.gradients(data, target)
    directions = [rng.normal(size=w.shape) for w in start]
    values = []
    for step in (1e-6, -1e-6):
        model.set_weights([w + step * d for w, d in zip(start, directions, strict=True)])
        values.append(model.test_on_batch(data, target))
    expected = sum((s * d).sum() for s, d in zip(slopes, directions, strict=True))
    np.testing.assert_allclose((values[0] - values[1]) / 2e-6, expected, rtol=1e-7)


def test_a_layer_may_add_a_loss():
    class Penalised(layers.Layer):
        def build(self, input_shape):
            self.scale = self.add_weight((3,), "ones", regularizer="l2", name="scale")

        def call(self, inputs):
            self.add_loss(0.5 * ops.mean(ops.square(inputs)))
            return inputs * self.scale

    x = layers.Input((3,))
    model = fastseq.Model(x, Penalised()(x))
    model.compile("sgd", "mse")
    value = model.test_on_batch(X[:, 0], X[:, 0])
    np.testing.assert_allclose(value, 0.5 * (X[:, 0] ** 2).mean() + 0.03, rtol=1e-5)
    np.testing.assert_array_equal(model.predict(X[:, 0], verbose=0), X[:, 0])
    with pytest.raises(RuntimeError) as error:
        model.layers[1].add_loss(3.0)
    assert str(error.value) == (
        "penalised.add_loss: it must be called within call, got a call from outside".replace(
            "penalised", model.layers[1].name
        )
    )


def test_a_stepper_passes_penalties_by():
    x = layers.Input((5, 3))
    h = layers.LSTM(4, return_sequences=True, activity_regularizer="l2")(x)
    model = fastseq.Model(x, layers.Dense(2, activity_regularizer="l1")(h))
    expected = model.predict(X[:1], verbose=0)
    stepper = model.stepper()
    np.testing.assert_allclose(np.stack([stepper.step(X[:1, t]) for t in range(5)], 1), expected, atol=1e-6)


def test_configurations():
    layer = layers.LSTM(
        3, kernel_regularizer=regularizers.L1L2(0.1, 0.2), recurrent_constraint="unit_norm",
        activity_regularizer="l1",
    )  # fmt: skip
    again = layers.LSTM.from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    assert (again.kernel_regularizer.l2, again.activity_regularizer.l1) == (0.2, 0.01)
    assert isinstance(again.recurrent_constraint, constraints.UnitNorm)
    assert layer.get_config()["kernel_regularizer"] == {
        "class_name": "L1L2", "config": {"l1": 0.1, "l2": 0.2},
    }  # fmt: skip


def test_a_plan_without_penalties_is_as_before():
    x = layers.Input((3,))
    model = fastseq.Model(x, layers.Dense(2)(x))
    model.compile("sgd", "mse")
    model.train_on_batch(X[:, 0], TARGET)
    assert [name for name, _ in model.objective.ready.operations] == ["dense"]
    assert not model.objective._penalised
    assert model.objective._constrained == []


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: regularizers.L2(-1), ValueError, "L2: l2 must be at least 0, got -1.0"),
        (lambda: regularizers.OrthogonalRegularizer(mode="both"), ValueError,
         "OrthogonalRegularizer: mode must be one of rows, columns, got 'both'"),
        (lambda: regularizers.OrthogonalRegularizer()(np.ones(3)), ValueError,
         "OrthogonalRegularizer: x must have 2 dimensions, got shape (3,)"),
        (lambda: layers.Dense(2, kernel_regularizer="orthogonal"), ValueError,
         "Dense: kernel_regularizer must be one of l1, l1_l2, l2, orthogonal_regularizer, got 'orthogonal' "
         "(did you mean 'orthogonal_regularizer'?)"),
        (lambda: layers.Dense(2, activity_regularizer=3), TypeError,
         "Dense: activity_regularizer must be the name of a regularizer or one, got 3"),
        (lambda: layers.LSTM(2, recurrent_constraint="max_nrom"), ValueError,
         "LSTM: recurrent_constraint must be one of max_norm, min_max_norm, non_neg, unit_norm, "
         "got 'max_nrom' (did you mean 'max_norm'?)"),
        (lambda: constraints.MaxNorm(-1), ValueError, "MaxNorm: max_value must be at least 0, got -1.0"),
        (lambda: constraints.MinMaxNorm(rate=2), ValueError, "MinMaxNorm: rate must be in [0, 1], got 2.0"),
        (lambda: constraints.UnitNorm(axis=0.5), TypeError, "UnitNorm: axis must be an integer, got 0.5"),
    ],
)  # fmt: skip
def test_errors(call, error, text):
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == text


@pytest.mark.parametrize(
    ("regularizer", "error", "text"),
    [
        (lambda w: 3.0, TypeError, "compile: the regularizer of d/kernel must be a Symbol, got 3.0"),
        (lambda w: ops.square(w), ValueError,
         "compile: the regularizer of d/kernel must have shape (), got (3, 2)"),
    ],
)  # fmt: skip
def test_errors_of_functions(regularizer, error, text):
    x = OURS.Input((3,))
    model = fastseq.Model(x, layers.Dense(2, kernel_regularizer=regularizer, name="d")(x))
    model.compile("sgd", "mse")
    with pytest.raises(error) as caught:
        model.train_on_batch(X[:, 0], TARGET)
    assert str(caught.value) == text
