"""Losses with their gradients, and what accuracy counts, on every instruction set."""

import numpy as np
import pytest
import reference
from gradcheck import check_loss_gradient

from fastseq import _core, ops, set_num_threads

TOLERANCE = {np.float32: 5e-6, np.float64: 1e-13}
INF = float("inf")


def edges(dtype):
    lanes = _core.vector_bytes() // np.dtype(dtype).itemsize
    return [1, max(lanes - 1, 1), lanes, lanes + 1, 3 * lanes + 5]


def probabilities(rng, *shape):
    return reference.softmax(rng.standard_normal(shape))


def one_hot(labels, classes):
    return np.eye(classes)[labels]


def case(name, from_logits, rng, rows, columns):
    """(prediction, target, twin's and ours keyword arguments)."""
    options = {}
    if name in ("mean_squared_error", "mean_absolute_error"):
        return rng.standard_normal((rows, columns)), rng.standard_normal((rows, columns)), options
    options = {"from_logits": from_logits}
    prediction = rng.standard_normal((rows, columns))
    if name == "binary_crossentropy":
        target = (rng.random((rows, columns)) > 0.5) * 1.0
        return (prediction if from_logits else reference.sigmoid(prediction)), target, options
    if not from_logits:
        prediction = 2 * reference.softmax(prediction)  # the loss divides by the sum
    labels = rng.integers(0, columns, rows)
    if name == "sparse_categorical_crossentropy":
        return prediction, labels, options
    return prediction, probabilities(rng, rows, columns), options


CASES = [
    ("categorical_crossentropy", True),
    ("categorical_crossentropy", False),
    ("sparse_categorical_crossentropy", True),
    ("sparse_categorical_crossentropy", False),
    ("binary_crossentropy", True),
    ("binary_crossentropy", False),
    ("mean_squared_error", None),
    ("mean_absolute_error", None),
]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("name", "from_logits"), CASES)
def test_values(isa, name, from_logits, dtype):
    rng = np.random.default_rng(0)
    tolerance = TOLERANCE[dtype]
    for columns in edges(dtype):
        prediction, target, options = case(name, from_logits, rng, 6, columns)
        prediction = prediction.astype(dtype)
        losses, gradient = getattr(ops, name)(prediction, target, **options)
        assert losses.dtype == gradient.dtype == dtype
        assert losses.shape == (6,)
        expected = getattr(reference, name)(prediction, target, **options)
        np.testing.assert_allclose(losses, expected, rtol=tolerance, atol=tolerance)
        only, nothing = getattr(ops, name)(prediction, target, gradient=False, **options)
        np.testing.assert_array_equal(losses, only)
        assert nothing is None


@pytest.mark.parametrize(("name", "from_logits"), CASES)
def test_gradients(isa, name, from_logits):
    rng = np.random.default_rng(1)
    for columns in edges(np.float64):
        prediction, target, options = case(name, from_logits, rng, 5, columns)
        weights = rng.random(5)
        check_loss_gradient(
            lambda p: getattr(ops, name)(p, target, weights, **options),  # noqa: B023
            prediction,
            step=1e-5 if from_logits else 1e-7,
            tolerance=1e-7 if from_logits else 3e-7,
        )


def test_against_keras():
    keras = pytest.importorskip("keras")
    rng = np.random.default_rng(2)
    output = rng.standard_normal((9, 5)).astype(np.float32)
    target = probabilities(rng, 9, 5).astype(np.float32)
    labels = rng.integers(0, 5, 9)
    p = probabilities(rng, 9, 5).astype(np.float32)
    pairs = [
        ("categorical_crossentropy", target, output, {"from_logits": True}),
        ("categorical_crossentropy", target, p, {}),
        ("categorical_crossentropy", target, p, {"label_smoothing": 0.1}),
        ("sparse_categorical_crossentropy", labels, output, {"from_logits": True}),
        ("sparse_categorical_crossentropy", labels, p, {}),
        ("binary_crossentropy", target, output, {"from_logits": True}),
        ("binary_crossentropy", target, p, {}),
        ("binary_crossentropy", target, p, {"label_smoothing": 0.1}),
        ("mean_squared_error", target, output, {}),
        ("mean_absolute_error", target, output, {}),
    ]
    tf = pytest.importorskip("tensorflow")
    for name, truth, prediction, options in pairs:
        variable = tf.Variable(prediction)
        with tf.GradientTape() as tape:
            expected = getattr(keras.losses, name)(truth, variable, **options)
            total = tf.reduce_sum(expected)
        losses, gradient = getattr(ops, name)(prediction, truth, **options)
        np.testing.assert_allclose(losses, expected, rtol=5e-6, atol=5e-6, err_msg=name)
        slope = tape.gradient(total, variable)
        np.testing.assert_allclose(gradient, slope, rtol=2e-5, atol=2e-5, err_msg=name)


def test_saturated_probabilities(isa):
    """0 and 1 are clipped: a large finite loss, and no gradient through the clip."""
    prediction = np.array([[1, 0, 0], [1, 0, 0]], np.float32)
    losses, gradient = ops.sparse_categorical_crossentropy(prediction, [0, 1])
    np.testing.assert_allclose(losses, [1.1920929e-07, -np.log(1e-7)], rtol=1e-5)
    assert np.isfinite(gradient).all()
    losses, gradient = ops.binary_crossentropy(prediction[:, :2], prediction[:, 1:])
    assert np.isfinite(losses).all()
    np.testing.assert_array_equal(gradient, 0)


def test_large_logits(isa):
    logits = np.array([[1e4, 0, -1e4]], np.float32)
    losses, gradient = ops.sparse_categorical_crossentropy(logits, [2], from_logits=True)
    np.testing.assert_allclose(losses, [2e4])
    np.testing.assert_allclose(gradient, [[1, 0, -1]])
    losses, gradient = ops.binary_crossentropy(logits, [[0, 1, 1]], from_logits=True)
    np.testing.assert_allclose(losses, [(1e4 + np.log(2) + 1e4) / 3], rtol=1e-6)
    np.testing.assert_allclose(gradient, [[1 / 3, -0.5 / 3, -1 / 3]], rtol=1e-6)


def test_tiny_losses_are_accurate(isa):
    """log(1 + e) keeps its digits where 1 + e has none left."""
    losses, _ = ops.binary_crossentropy(np.float32([[30.0]]), [[1]], from_logits=True)
    np.testing.assert_allclose(losses, [np.log1p(np.exp(-30.0))], rtol=1e-5)


def test_classes_that_cannot_be(isa):
    """A logit of -inf is a class of probability 0, which costs nothing unless it is the target."""
    logits = np.array([[0, -INF, 0]], np.float32)
    losses, gradient = ops.categorical_crossentropy(logits, [[1, 0, 0]], from_logits=True)
    np.testing.assert_allclose(losses, [np.log(2)], rtol=1e-6)
    np.testing.assert_allclose(gradient, [[-0.5, 0, 0.5]])
    losses, _ = ops.categorical_crossentropy(logits, [[0, 1, 0]], from_logits=True)
    assert losses == INF


def test_padding_targets_of_all_zeros(isa):
    logits = np.ones((1, 3), np.float32)
    losses, gradient = ops.categorical_crossentropy(logits, np.zeros((1, 3)), from_logits=True)
    np.testing.assert_array_equal(losses, 0)
    np.testing.assert_array_equal(gradient, 0)


@pytest.mark.parametrize(("name", "from_logits"), CASES)
def test_weights(isa, name, from_logits):
    rng = np.random.default_rng(3)
    prediction, target, options = case(name, from_logits, rng, 6, 5)
    losses, gradient = getattr(ops, name)(prediction, target, **options)
    weights = np.array([1, 0, 0.5, 2, 0, 1])
    prediction[1] = np.nan  # weight 0 leaves a row out altogether
    weighted, slope = getattr(ops, name)(prediction, target, weights, **options)
    np.testing.assert_allclose(weighted, weights * losses, rtol=1e-13)
    np.testing.assert_allclose(slope, weights[:, None] * gradient, rtol=1e-13, atol=1e-300)
    prediction[1] = 0.2
    halved, slope = getattr(ops, name)(prediction[2:], target[2:], 0.5, **options)
    np.testing.assert_allclose(halved, 0.5 * losses[2:], rtol=1e-13)
    np.testing.assert_allclose(slope, 0.5 * gradient[2:], rtol=1e-13)


def test_leading_axes_and_conversion(isa):
    """(batch, steps, classes), bool one-hot targets, integer and strided predictions, int32 labels."""
    rng = np.random.default_rng(4)
    logits = rng.standard_normal((2, 3, 5)).astype(np.float32)
    labels = rng.integers(0, 5, (2, 3))
    losses, gradient = ops.categorical_crossentropy(logits, one_hot(labels, 5) > 0, from_logits=True)
    assert losses.shape == (2, 3)
    assert gradient.shape == (2, 3, 5)
    for kind in (np.int32, np.int64, np.uint8, np.float64):
        sparse = ops.sparse_categorical_crossentropy(logits, labels.astype(kind), from_logits=True)
        np.testing.assert_array_equal(sparse[0], losses)
        np.testing.assert_array_equal(sparse[1], gradient)
    strided = np.repeat(logits, 2, axis=1)[:, ::2]
    strided.flags.writeable = False
    np.testing.assert_array_equal(
        ops.sparse_categorical_crossentropy(strided, labels, from_logits=True)[0], losses
    )
    np.testing.assert_array_equal(ops.mean_squared_error([[1, 2]], [[True, False]])[0], [2])
    assert ops.mean_squared_error([[1, 2]], [[0, 0]])[0].dtype == np.float32


def test_empty_batch(isa):
    for losses, gradient in (
        ops.categorical_crossentropy(np.zeros((0, 3)), np.zeros((0, 3)), from_logits=True),
        ops.sparse_categorical_crossentropy(np.zeros((0, 3)), np.zeros(0, int)),
        ops.mean_squared_error(np.zeros((0, 3)), np.zeros((0, 3))),
    ):
        assert losses.shape == (0,)
        assert gradient.shape == (0, 3)


def test_nan_stays_in_its_row(isa):
    rng = np.random.default_rng(5)
    for name, from_logits in CASES:
        prediction, target, options = case(name, from_logits, rng, 4, 5)
        expected, slope = getattr(ops, name)(prediction, target, **options)
        prediction[2, 1] = np.nan
        losses, gradient = getattr(ops, name)(prediction, target, **options)
        assert np.isnan(losses[2])
        np.testing.assert_array_equal(losses[[0, 1, 3]], expected[[0, 1, 3]])
        np.testing.assert_array_equal(gradient[[0, 1, 3]], slope[[0, 1, 3]])


@pytest.mark.parametrize(("name", "from_logits"), CASES)
def test_any_team_gives_the_same_bits(isa, name, from_logits):
    rng = np.random.default_rng(6)
    prediction, target, options = case(name, from_logits, rng, 5000, 13)
    prediction = prediction.astype(np.float32)
    results = []
    for threads in (1, 2):
        try:
            set_num_threads(threads)
            results.append(getattr(ops, name)(prediction, target, **options))
        finally:
            set_num_threads(0)
    np.testing.assert_array_equal(results[0][0], results[1][0])
    np.testing.assert_array_equal(results[0][1], results[1][1])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_matches(isa, dtype):
    rng = np.random.default_rng(7)
    for columns in edges(dtype):
        output = rng.integers(0, 4, (40, columns)).astype(dtype)  # many ties
        target = rng.integers(0, 4, (40, columns))
        matches = ops.categorical_matches(output, target)
        assert matches.dtype == dtype
        np.testing.assert_array_equal(matches, reference.categorical_matches(output, target))
        labels = rng.integers(0, columns, 40)
        np.testing.assert_array_equal(
            ops.sparse_categorical_matches(output, labels),
            reference.sparse_categorical_matches(output, labels),
        )
        binary = ops.binary_matches(output, target > 1, 1.5)
        np.testing.assert_allclose(binary, reference.binary_matches(output, target > 1, 1.5), rtol=1e-6)


def test_matches_of_nan(isa):
    """NaN is never the largest, so a model that has broken down is right nowhere."""
    output = np.array([[np.nan, 1, 2], [np.nan] * 3, [-INF, -INF, -INF], [0, INF, 0]], np.float32)
    np.testing.assert_array_equal(ops.sparse_categorical_matches(output, [2, 0, 0, 1]), [1, 0, 1, 1])
    np.testing.assert_array_equal(ops.binary_matches(output[:1], [[0, 1, 1]]), [1])


P, LABELS = np.ones((2, 3)), np.array([0, 2])


@pytest.mark.parametrize(
    ("function", "arguments", "text"),
    [
        ("sparse_categorical_crossentropy", (P, [0, 3]), "target must be in [0, 3), got 3 at index 1"),
        ("sparse_categorical_crossentropy", (P, [-1, 2]), "target must be in [0, 3), got -1 at index 0"),
        ("sparse_categorical_matches", (P, np.int32([0, 3])), "target must be in [0, 3), got 3 at index 1"),
        (
            "sparse_categorical_crossentropy",
            (P, [[0, 2]]),
            "target must have shape (2,), the prediction's without its last axis, got (1, 2)",
        ),
        ("sparse_categorical_crossentropy", (P, [0.5, 1]), "target must be whole numbers, got 0.5"),
        (
            "categorical_crossentropy",
            (P, np.ones((2, 4))),
            "target must have the shape of prediction, (2, 3), got (2, 4)",
        ),
        (
            "mean_squared_error",
            (P, np.ones(3)),
            "target must have the shape of prediction, (2, 3), got (3,)",
        ),
        (
            "mean_squared_error",
            (np.ones((2, 0)), np.ones((2, 0))),
            "prediction must have a last axis of at least 1, got shape (2, 0)",
        ),
        ("mean_squared_error", (1.0, 1.0), "prediction must have at least 1 dimension, got shape ()"),
        (
            "mean_squared_error",
            (P, P, np.ones(3)),
            "weights must have one number for each of 2 rows, got shape (3,)",
        ),
        (
            "binary_matches",
            (P, np.ones((2, 1))),
            "target must have the shape of prediction, (2, 3), got (2, 1)",
        ),
    ],
)
def test_errors(function, arguments, text):
    with pytest.raises(ValueError) as error:
        getattr(ops, function)(*arguments)
    assert str(error.value) == f"{function}: {text}"


def test_wrong_kinds():
    with pytest.raises(TypeError, match="mean_squared_error: target must be an array of real numbers, got"):
        ops.mean_squared_error(P, "target")
