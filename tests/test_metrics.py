"""Metrics against Keras, over several batches, with and without weights."""

import numpy as np
import pytest
from keras_twin import keras

import fastseq
from fastseq import metrics

rng = np.random.default_rng(0)


def batches(kind, count=3):
    for _ in range(count):
        rows = int(rng.integers(2, 6))
        prediction = rng.dirichlet(np.ones(4), (rows, 5)).astype(np.float32)
        target = {
            "one_hot": lambda p: np.eye(4, dtype=np.float32)[rng.integers(0, 4, p.shape[:-1])],
            "labels": lambda p: rng.integers(0, 4, p.shape[:-1]),
            "bits": lambda p: rng.integers(0, 2, p.shape).astype(np.float32),
        }[kind](prediction)
        yield target, prediction, rng.random((rows, 5)).astype(np.float32)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("CategoricalAccuracy", "one_hot"),
        ("SparseCategoricalAccuracy", "labels"),
        ("BinaryAccuracy", "bits"),
        ("MeanSquaredError", "one_hot"),
        ("MeanAbsoluteError", "bits"),
        ("CategoricalCrossentropy", "one_hot"),
        ("SparseCategoricalCrossentropy", "labels"),
        ("BinaryCrossentropy", "bits"),
    ],
)
@pytest.mark.parametrize("weighted", [False, True])
def test_running_means(name, kind, weighted):
    ours, theirs = getattr(metrics, name)(), getattr(keras.metrics, name)()
    assert ours.name == theirs.name
    for target, prediction, weights in batches(kind):
        weights = weights if weighted else None
        ours.update_state(target, prediction, weights)
        theirs.update_state(target, prediction, weights)
        assert ours.result() == pytest.approx(float(theirs.result()), rel=1e-5)
    ours.reset_state()
    assert ours.result() == 0.0


def test_mean_and_functions():
    mean = metrics.Mean("m")
    mean.update_state([1, 3, 5, 7])
    assert mean.result() == 4
    mean.reset_state()
    mean.update_state([1, 3, 5, 7], [1, 1, 0, 0])
    assert mean.result() == 2
    own = metrics.get(lambda y_true, y_pred: np.abs(y_true - y_pred).max(-1))
    assert own(np.zeros((2, 3)), np.ones((2, 3)) * 2) == 2


@pytest.mark.parametrize(
    ("target", "shape", "name"),
    [
        ((8, 1), (None, 1), "binary_accuracy"),
        ((8,), (None, 1), "binary_accuracy"),
        ((8, 4), (None, 4), "categorical_accuracy"),
        ((8,), (None, 4), "sparse_categorical_accuracy"),
        ((8, 1), (None, 4), "sparse_categorical_accuracy"),
        ((8, 5, 4), (None, 5, 4), "categorical_accuracy"),
        ((8, 5), (None, 5, 4), "sparse_categorical_accuracy"),
    ],
)
def test_accuracy_is_chosen_by_the_shapes(target, shape, name):
    assert metrics.by_shapes("accuracy", target, shape) == name


def test_own_metrics_in_a_model():
    model = fastseq.Sequential([fastseq.layers.Dense(2, input_shape=(3,))])

    def worst(y_true, y_pred):
        return np.abs(y_true - y_pred).max(axis=-1)

    model.compile("sgd", "mse", metrics=["mae", worst, metrics.MeanSquaredError(name="again")],
                  weighted_metrics=["mae"])  # fmt: skip
    x, y = rng.normal(size=(20, 3)), rng.normal(size=(20, 2))
    logs = model.evaluate(x, y, verbose=0, return_dict=True)
    error = np.abs(y - model.predict(x, verbose=0))
    assert logs["worst"] == pytest.approx(error.max(-1).mean(), rel=1e-5)
    assert logs["again"] == pytest.approx(logs["loss"], rel=1e-5)
    assert logs["mae"] == logs["weighted_mae"]
    assert list(logs) == ["again", "loss", "mae", "weighted_mae", "worst"]
    assert model.metrics_names == ["loss", "mae", "worst", "again", "weighted_mae"]
    weighted = model.evaluate(x, y, sample_weight=np.eye(20)[3], verbose=0, return_dict=True)
    assert weighted["weighted_mae"] == pytest.approx(error[3].mean(), rel=1e-5)
    assert weighted["mae"] == pytest.approx(logs["mae"], rel=1e-6)


def test_errors():
    with pytest.raises(ValueError) as error:
        metrics.get("precisions")
    assert str(error.value) == (
        f"metrics.get: identifier must be one of {', '.join(sorted(metrics.KNOWN))}, got 'precisions' "
        "(did you mean 'precision'?)"
    )
    with pytest.raises(TypeError) as error:
        metrics.get(3)
    assert str(error.value) == (
        "metrics.get: identifier must be the name of a metric, a Metric or a function, got 3"
    )


def test_a_metric_of_the_whole_batch_cannot_be_weighted():
    def largest(y_true, y_pred):
        return np.abs(y_true - y_pred).max()

    metric = metrics.get(largest)
    y = rng.normal(size=(3, 4, 2))
    assert metric(y, 0 * y) == np.abs(y).max()
    with pytest.raises(ValueError) as error:
        metric(y, 0 * y, np.ones((3, 4)))
    text = "largest: values must have a value for each weight or masked step, (3, 4), got shape ()"
    assert str(error.value) == text
