"""Losses against Keras: values, reductions, weights, masks, the activation taken in or not."""

import numpy as np
import pytest
from keras_twin import check_step, keras, twins

import fastseq
from fastseq import losses

rng = np.random.default_rng(0)
PROBABILITIES = rng.dirichlet(np.ones(4), (3, 5)).astype(np.float32)
LOGITS = rng.normal(size=(3, 5, 4)).astype(np.float32)
ONE_HOT = np.eye(4, dtype=np.float32)[rng.integers(0, 4, (3, 5))]
LABELS = ONE_HOT.argmax(-1)
BITS = rng.integers(0, 2, (3, 5, 4)).astype(np.float32)

CASES = [
    ("CategoricalCrossentropy", {}, ONE_HOT, PROBABILITIES),
    ("CategoricalCrossentropy", {"from_logits": True}, ONE_HOT, LOGITS),
    ("CategoricalCrossentropy", {"label_smoothing": 0.1}, ONE_HOT, PROBABILITIES),
    ("CategoricalCrossentropy", {"from_logits": True, "label_smoothing": 0.2}, ONE_HOT, LOGITS),
    ("SparseCategoricalCrossentropy", {}, LABELS, PROBABILITIES),
    ("SparseCategoricalCrossentropy", {"from_logits": True}, LABELS[..., None], LOGITS),
    ("BinaryCrossentropy", {}, BITS, PROBABILITIES),
    ("BinaryCrossentropy", {"from_logits": True}, BITS, LOGITS),
    ("BinaryCrossentropy", {"label_smoothing": 0.3}, BITS, PROBABILITIES),
    ("MeanSquaredError", {}, ONE_HOT, LOGITS),
    ("MeanAbsoluteError", {}, ONE_HOT, LOGITS),
]


@pytest.mark.parametrize(("name", "options", "target", "prediction"), CASES)
@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "sum", "none", "mean_with_sample_weight"])
@pytest.mark.parametrize("weighted", [False, True])
def test_values(name, options, target, prediction, reduction, weighted):
    weights = rng.random((3, 5)).astype(np.float32) if weighted else None
    ours = getattr(losses, name)(**options, reduction=reduction)(target, prediction, weights)
    kind = getattr(keras.losses, name)
    theirs = kind(**options, reduction=None if reduction == "none" else reduction)(
        target, prediction, weights
    )
    np.testing.assert_allclose(ours, np.asarray(theirs), rtol=1e-5, atol=1e-6)


def test_functions_give_one_value_per_row():
    for name, target, prediction in [
        ("categorical_crossentropy", ONE_HOT, PROBABILITIES),
        ("sparse_categorical_crossentropy", LABELS, PROBABILITIES),
        ("binary_crossentropy", BITS, PROBABILITIES),
        ("mean_squared_error", ONE_HOT, LOGITS),
        ("mean_absolute_error", ONE_HOT, LOGITS),
    ]:
        ours = getattr(losses, name)(target, prediction)
        assert ours.shape == (3, 5)
        np.testing.assert_allclose(ours, getattr(keras.losses, name)(target, prediction), rtol=1e-5)


@pytest.mark.parametrize(
    ("activation", "loss", "target"),
    [
        ("softmax", "categorical_crossentropy", ONE_HOT),
        ("softmax", "sparse_categorical_crossentropy", LABELS),
        ("sigmoid", "binary_crossentropy", BITS),
        ("softmax", "mse", ONE_HOT),
        ("relu", "categorical_crossentropy", ONE_HOT),  # a probability that is none, as the seeds have it
        ("tanh", "mae", BITS),
        ("softmax", "crossentropy", ONE_HOT),
        ("softmax", "crossentropy", LABELS),
    ],
)
@pytest.mark.parametrize("weights", ["none", "row"])
def test_steps(activation, loss, target, weights):
    ours, theirs = twins(lambda k: k.Sequential([k.Input((5, 3)), k.layers.Dense(4, activation=activation)]))
    x = rng.normal(size=(3, 5, 3)).astype(np.float32)
    options = {} if weights == "none" else {"sample_weight": rng.random((3, 5)).astype(np.float32)}
    check_step(ours, theirs, x, target, loss, ["accuracy"], **options)


def test_a_weight_per_sample_counts_for_all_its_steps():
    model = fastseq.Sequential([fastseq.layers.Dense(4, input_shape=(5, 3))])
    model.compile("sgd", "mse")
    x = rng.normal(size=(3, 5, 3))
    w = np.array([1.0, 0.0, 2.0])
    a = model.test_on_batch(x, ONE_HOT, sample_weight=w)
    b = model.test_on_batch(x, ONE_HOT, sample_weight=np.repeat(w[:, None], 5, 1))
    assert a == b


def test_a_fully_masked_batch_costs_nothing():
    ours, theirs = twins(
        lambda k: k.Sequential(
            [k.Input((4, 3)), k.layers.Masking(), k.layers.LSTM(3, return_sequences=True), k.layers.Dense(2)]
        )
    )
    check_step(ours, theirs, np.zeros((2, 4, 3), np.float32), np.ones((2, 4, 2), np.float32), "mse", ["mae"])
    assert ours.train_on_batch(np.zeros((2, 4, 3)), np.ones((2, 4, 2)))[0] == 0.0


def test_class_weight():
    ours, theirs = twins(lambda k: k.Sequential([k.Input((3,)), k.layers.Dense(4, activation="softmax")]))
    x, y = rng.normal(size=(5, 3)).astype(np.float32), ONE_HOT[0]
    ours.compile(fastseq.optimizers.SGD(1.0), "categorical_crossentropy")
    theirs.compile(keras.optimizers.SGD(1.0), "categorical_crossentropy", run_eagerly=True)
    weight = {0: 0.5, 1: 2.0, 2: 1.0, 3: 3.0}
    a = ours.train_on_batch(x, y, class_weight=weight)
    assert a == pytest.approx(float(theirs.train_on_batch(x, y, class_weight=weight)), rel=1e-5)
    for p, q in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(p, q, rtol=1e-5, atol=1e-6)
    sparse = fastseq.Sequential([fastseq.layers.Dense(4, activation="softmax", input_shape=(3,))])
    sparse.compile("sgd", "sparse_categorical_crossentropy")
    sparse.fit(x, LABELS[0], class_weight=weight, verbose=0)


KNOWN = ", ".join(sorted(losses.KNOWN))


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (
            lambda: losses.get("crossentropies"),
            ValueError,
            f"losses.get: identifier must be one of {KNOWN}, got 'crossentropies' "
            "(did you mean 'binary_crossentropy'?)",
        ),
        (
            lambda: losses.get(3),
            TypeError,
            "losses.get: identifier must be the name of a loss, a Loss or a function, got 3",
        ),
        (
            lambda: losses.MeanSquaredError("max"),
            ValueError,
            "MeanSquaredError: reduction must be one of sum_over_batch_size, mean, sum, "
            "mean_with_sample_weight, none, got 'max'",
        ),
        (
            lambda: losses.CategoricalCrossentropy(axis=1),
            ValueError,
            "CategoricalCrossentropy: axis must be -1, the last one, got 1",
        ),
        (
            lambda: losses.CategoricalCrossentropy(label_smoothing=2),
            ValueError,
            "CategoricalCrossentropy: label_smoothing must be in [0, 1], got 2.0",
        ),
        (
            lambda: losses.MeanSquaredError()(np.zeros((3, 2)), np.zeros((3, 4))),
            ValueError,
            "mean_squared_error: y_true must have shape (3, 4), got (3, 2)",
        ),
        (
            lambda: losses.SparseCategoricalCrossentropy()(np.array([0, 4]), np.full((2, 4), 0.25)),
            ValueError,
            None,
        ),
        (
            lambda: losses.SparseCategoricalCrossentropy()(np.array([0.5, 1]), np.full((2, 4), 0.25)),
            ValueError,
            "sparse_categorical_crossentropy: y_true must be whole numbers, got 0.5",
        ),
    ],
)
def test_errors(call, error, text):
    with pytest.raises(error) as caught:
        call()
    assert text is None or str(caught.value) == text


def test_get():
    assert isinstance(losses.get("MSE".lower()), losses.MeanSquaredError)
    assert isinstance(losses.get(losses.mean_squared_error), losses.MeanSquaredError)
    assert isinstance(losses.get("CategoricalCrossentropy"), losses.CategoricalCrossentropy)
    assert isinstance(losses.get(losses.BinaryCrossentropy), losses.BinaryCrossentropy)
