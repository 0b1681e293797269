"""Every metric that Keras has against Keras's: over several batches, with weights, and within models."""

import re

import numpy as np
import pytest
from keras_twin import keras, twins

import fastseq
from fastseq import metrics

rng = np.random.default_rng(3)
SHAPE = (3, 8, 4)  # batches, rows, classes
REAL = rng.normal(size=SHAPE).astype(np.float32)
TARGET = REAL + rng.normal(size=SHAPE).astype(np.float32)
PROBABILITIES = rng.dirichlet(np.ones(4), SHAPE[:2]).astype(np.float32)
ONE_HOT = np.eye(4, dtype=np.float32)[rng.integers(0, 4, SHAPE[:2])]
LABELS = ONE_HOT.argmax(-1)
BITS = rng.integers(0, 2, SHAPE).astype(np.float32)
SOFT = rng.random(SHAPE).astype(np.float32)
UNIFORM = rng.random(SHAPE).astype(np.float32)
TIES = rng.integers(0, 3, SHAPE).astype(np.float32) / 2
COUNTS = rng.poisson(2.0, SHAPE).astype(np.float32)
ORDERED = np.argsort(-PROBABILITIES, axis=-1)

CASES = [
    ("Accuracy", {}, LABELS[..., None], PROBABILITIES.argmax(-1)[..., None]),
    ("BinaryAccuracy", {}, BITS, UNIFORM),
    ("BinaryAccuracy", {"threshold": 0.3}, BITS, UNIFORM),
    ("CategoricalAccuracy", {}, ONE_HOT, PROBABILITIES),
    ("SparseCategoricalAccuracy", {}, LABELS, PROBABILITIES),
    ("TopKCategoricalAccuracy", {"k": 2}, ONE_HOT, PROBABILITIES),
    ("TopKCategoricalAccuracy", {"k": 2}, ONE_HOT, TIES),
    ("TopKCategoricalAccuracy", {}, ONE_HOT, PROBABILITIES),
    ("SparseTopKCategoricalAccuracy", {"k": 3}, LABELS, PROBABILITIES),
    ("SparseTopKCategoricalAccuracy", {"k": 2, "from_sorted_ids": True}, LABELS, ORDERED),
    ("BinaryCrossentropy", {"label_smoothing": 0.1}, BITS, UNIFORM),
    ("CategoricalCrossentropy", {"from_logits": True}, ONE_HOT, REAL),
    ("SparseCategoricalCrossentropy", {}, LABELS, PROBABILITIES),
    ("KLDivergence", {}, ONE_HOT, PROBABILITIES),
    ("Poisson", {}, COUNTS, UNIFORM),
    ("MeanSquaredError", {}, TARGET, REAL),
    ("RootMeanSquaredError", {}, TARGET, REAL),
    ("RootMeanSquaredError", {}, TARGET[..., 0], REAL[..., 0]),
    ("MeanAbsoluteError", {}, TARGET, REAL),
    ("MeanAbsolutePercentageError", {}, TARGET, REAL),
    ("MeanSquaredLogarithmicError", {}, TARGET, REAL),
    ("CosineSimilarity", {}, TARGET, REAL),
    ("LogCoshError", {}, TARGET, REAL),
    ("R2Score", {}, TARGET, REAL),
    ("R2Score", {"class_aggregation": None}, TARGET, REAL),
    ("R2Score", {"class_aggregation": "variance_weighted_average", "num_regressors": 2}, TARGET, REAL),
    ("Hinge", {}, BITS, REAL),
    ("SquaredHinge", {}, BITS, REAL),
    ("CategoricalHinge", {}, ONE_HOT, REAL),
    ("Precision", {}, BITS, UNIFORM),
    ("Precision", {"thresholds": [0.9, 0.2, 0.5]}, BITS, UNIFORM),
    ("Precision", {"top_k": 2}, ONE_HOT, PROBABILITIES),
    ("Precision", {"top_k": 2, "class_id": 1}, ONE_HOT, PROBABILITIES),
    ("Precision", {"thresholds": [0.0, 0.5, 1.0]}, SOFT, UNIFORM),
    ("Precision", {"thresholds": 0.5}, SOFT, TIES),
    ("Recall", {}, BITS, UNIFORM),
    ("Recall", {"thresholds": 0.2, "class_id": 3}, BITS, UNIFORM),
    ("Recall", {"top_k": 1}, ONE_HOT, PROBABILITIES),
    ("TruePositives", {}, BITS, UNIFORM),
    ("FalsePositives", {"thresholds": [0.3, 0.7]}, BITS, UNIFORM),
    ("TrueNegatives", {}, BITS, UNIFORM),
    ("FalseNegatives", {"thresholds": 0.9}, BITS, UNIFORM),
    *[
        ("AUC", {"num_thresholds": 50, "curve": curve, "summation_method": method}, BITS, UNIFORM)
        for curve in ("ROC", "PR", "PRGAIN")
        for method in ("interpolation", "minoring", "majoring")
    ],
    ("AUC", {}, BITS[..., :1], UNIFORM[..., :1]),
    ("AUC", {}, SOFT, UNIFORM),
    ("AUC", {"thresholds": [0.1, 0.7, 0.3]}, BITS, UNIFORM),
    ("AUC", {"from_logits": True}, BITS, REAL),
    ("AUC", {"multi_label": True}, BITS, UNIFORM),
    ("AUC", {"multi_label": True, "num_labels": 4, "curve": "PR", "label_weights": [1.0, 2.0, 0.5, 3.0]},
     BITS, UNIFORM),
    ("AUC", {"label_weights": [1.0, 2.0, 0.5, 3.0]}, BITS, UNIFORM),
    *[("F1Score", {"average": average}, ONE_HOT, PROBABILITIES)
      for average in (None, "micro", "macro", "weighted")],
    ("F1Score", {"threshold": 0.3, "average": "macro"}, BITS, UNIFORM),
    ("FBetaScore", {"beta": 2.0, "threshold": 0.4}, BITS, UNIFORM),
    ("FBetaScore", {"beta": 0.5, "average": "weighted"}, ONE_HOT, TIES),
]  # fmt: skip
WEIGHTS = rng.random(SHAPE[:2]).astype(np.float32)


@pytest.mark.parametrize(("name", "options", "target", "prediction"), CASES)
@pytest.mark.parametrize("weighted", [False, True])
def test_values(name, options, target, prediction, weighted):
    if name == "AUC" and weighted and options.get("label_weights"):
        pytest.skip("Keras cannot")
    ours, theirs = getattr(metrics, name)(**options), getattr(keras.metrics, name)(**options)
    assert ours.name == re.sub(r"_\d+$", "", theirs.name)  # Keras numbers those it has made
    for _ in range(2):
        for k in range(3):
            weights = WEIGHTS[k] if weighted else None
            ours.update_state(target[k], prediction[k], weights)
            theirs.update_state(target[k], prediction[k], weights)
            np.testing.assert_allclose(ours.result(), np.asarray(theirs.result()), rtol=3e-5, atol=1e-6)
        again = metrics.get({"class_name": name, "config": ours.get_config()})
        assert again.get_config() == ours.get_config()
        np.testing.assert_allclose(again(target[k], prediction[k]), getattr(metrics, name)(**options)(
            target[k], prediction[k]))  # fmt: skip
        ours.reset_state()
        theirs.reset_state()
    if not options.get("num_regressors"):  # Keras warns of it
        np.testing.assert_allclose(np.sum(ours.result()), np.sum(theirs.result()), atol=1e-7)


def test_cases_hold_all():
    """Each metric of Keras's that there is here is above."""
    shared = {c.__name__ for c in metrics._CLASSES} & set(dir(keras.metrics))
    assert shared - {case[0] for case in CASES} == {"Mean", "Sum"}


@pytest.mark.parametrize("name", ["Mean", "Sum"])
def test_reductions(name):
    ours, theirs = getattr(metrics, name)(), getattr(keras.metrics, name)()
    for values, weights in [([1.0, 3.0, 5.0], None), ([1.0, 3.0], [0.5, 2.0]), (7.0, None)]:
        np.testing.assert_allclose(ours(values, weights), float(theirs(values, weights)), rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "function"),
    [("top_k_categorical_accuracy", ONE_HOT), ("sparse_top_k_categorical_accuracy", LABELS)],
)
def test_functions(name, function):
    for k in (1, 2, 4):
        ours = getattr(metrics, name)(function, PROBABILITIES, k=k)
        np.testing.assert_array_equal(ours, getattr(keras.metrics, name)(function, PROBABILITIES, k=k))


def test_not_a_number_is_no_positive():
    metric = metrics.Recall()
    metric.update_state([1, 1, 1, 0], [0.9, np.nan, 0.4, 0.8])
    assert metric.result() == pytest.approx(1 / 3)


@pytest.mark.parametrize("kind", ["plain", "mask"])
def test_in_models(kind):
    """By name and as objects, with the mask of the outputs."""

    def build(k):
        x = k.Input((8, 2))
        return k.Model(x, k.layers.Dense(4, activation="softmax")(k.layers.Masking()(x)))

    keras.backend.clear_session()

    def asked(library):
        return [
            "mse", "mape", "cosine_similarity", "kl_divergence", "poisson", "accuracy",
            library.TopKCategoricalAccuracy(2), library.RootMeanSquaredError(), library.Hinge(name="margin"),
            library.Precision(), library.Recall(0.2), library.AUC(num_thresholds=20),
            library.TruePositives([0.2, 0.6], name="tp"), library.CategoricalHinge(), library.LogCoshError(),
        ]  # fmt: skip

    ours, theirs = twins(build)
    x = np.random.default_rng(2).normal(size=(3, 8, 2)).astype(np.float32)
    if kind == "mask":
        x[0, 3:] = x[2, 1:] = 0
    ours.compile("sgd", "categorical_crossentropy", metrics=asked(metrics))
    theirs.compile("sgd", "categorical_crossentropy", metrics=asked(keras.metrics))
    a = ours.test_on_batch(x, ONE_HOT, return_dict=True)
    b = theirs.test_on_batch(x, ONE_HOT, return_dict=True)
    assert set(a) == set(b)
    if kind == "mask":
        # Keras's own classes but the running means forget the mask; ours do not. As weights they count it.
        prediction, mask = ours.predict(x, verbose=0), (x != 0).any(-1).astype(np.float32)
        for metric in asked(keras.metrics)[7:]:
            if not hasattr(metric, "_fn"):
                b[re.sub(r"_\d+$", "", metric.name)] = metric(ONE_HOT, prediction, mask)
    for name in b:
        np.testing.assert_allclose(a[name], b[name], rtol=2e-4, atol=1e-6, err_msg=name)


def test_scores_of_classes_in_fit(capsys):
    """A metric of several values is an array in the history, its mean on the screen."""
    model = fastseq.Sequential([fastseq.layers.Dense(4, "softmax", input_shape=(2,))])
    model.compile("sgd", "categorical_crossentropy", metrics=[metrics.F1Score()])
    history = model.fit(REAL[0, :, :2], ONE_HOT[0], epochs=2, verbose=2)
    scores = history.history["f1_score"]
    assert [score.shape for score in scores] == [(4,), (4,)]
    assert f"f1_score: {scores[0].mean():.4f}" in capsys.readouterr().out


def test_weighted_metrics_as_in_keras():
    def build(k):
        x = k.Input((2,))
        return k.Model(x, k.layers.Dense(4, activation="sigmoid")(x))

    keras.backend.clear_session()  # names without numbers
    ours, theirs = twins(build)
    results = []
    for model, library in ((ours, metrics), (theirs, keras.metrics)):
        model.compile(
            "sgd", "mse", metrics=[library.Precision(), "mae"],
            weighted_metrics=[library.Precision(name="counted"), library.AUC(num_thresholds=20), "mae"],
        )  # fmt: skip
        results.append(
            model.test_on_batch(REAL[0, :, :2], BITS[0], sample_weight=WEIGHTS[0], return_dict=True)
        )
    assert set(results[0]) == set(results[1])
    for name, value in results[0].items():
        assert value == pytest.approx(float(results[1][name]), rel=1e-4), name


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: metrics.Precision(thresholds=1.5), ValueError,
         "Precision: thresholds must be in [0, 1], got 1.5"),
        (lambda: metrics.Recall(top_k=0), ValueError, "Recall: top_k must be at least 1, got 0"),
        (lambda: metrics.Recall(class_id=4)(BITS[0], UNIFORM[0]), ValueError,
         "Recall: class_id must be a class of predictions of shape (8, 4), got 4"),
        (lambda: metrics.Recall()(BITS[0, :7], UNIFORM[0]), ValueError,
         "Recall: y_true must have shape (8, 4), got (7, 4)"),
        (lambda: metrics.AUC(num_thresholds=1), ValueError, "AUC: num_thresholds must be at least 2, got 1"),
        (lambda: metrics.AUC(curve="roc"), ValueError,
         "AUC: curve must be one of ROC, PR, PRGAIN, got 'roc'"),
        (lambda: metrics.AUC(num_labels=4), ValueError,
         "AUC: num_labels must be None without multi_label, got 4"),
        (lambda: metrics.AUC(multi_label=True)(BITS[0, :, 0], UNIFORM[0, :, 0]), ValueError,
         "AUC: y_pred must have shape (batch, labels), got (8,)"),
        (lambda: metrics.F1Score("mean"), ValueError,
         "F1Score: average must be one of None, micro, macro, weighted, got 'mean'"),
        (lambda: metrics.FBetaScore(beta=0), ValueError, "FBetaScore: beta must be more than 0, got 0.0"),
        (lambda: metrics.F1Score()(BITS, UNIFORM), ValueError,
         "F1Score: y_pred must have shape (batch, classes), as y_true, got (3, 8, 4) and (3, 8, 4)"),
        (lambda: metrics.R2Score("mean"), ValueError,
         "R2Score: class_aggregation must be one of None, uniform_average, variance_weighted_average, "
         "got 'mean'"),
        (lambda: metrics.TopKCategoricalAccuracy(0), ValueError,
         "TopKCategoricalAccuracy: k must be at least 1, got 0"),
        (lambda: metrics.BinaryCrossentropy(logits=True), TypeError,
         "BinaryCrossentropy: options must be among name, dtype, from_logits, label_smoothing, axis, "
         "got 'logits' (did you mean 'from_logits'?)"),
        (lambda: metrics.get("preccision"), ValueError,
         f"metrics.get: identifier must be one of {', '.join(sorted(metrics.KNOWN))}, got 'preccision' "
         "(did you mean 'precision'?)"),
    ],
)  # fmt: skip
def test_errors(call, error, text):
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == text
