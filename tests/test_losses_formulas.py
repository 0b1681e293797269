"""The losses written with operations against Keras: values, training steps, masks; gradients in float64."""

import numpy as np
import pytest
from keras_twin import check_step, close, keras, twins

import fastseq
from fastseq import layers, losses, ops

rng = np.random.default_rng(1)
SHAPE = (4, 5, 3)
PREDICTION = rng.normal(size=SHAPE).astype(np.float32)
TARGET = rng.normal(size=SHAPE).astype(np.float32)
PROBABILITIES = rng.dirichlet(np.ones(3), SHAPE[:2]).astype(np.float32)
DISTRIBUTION = rng.dirichlet(np.ones(3), SHAPE[:2]).astype(np.float32)
ONE_HOT = np.eye(3, dtype=np.float32)[rng.integers(0, 3, SHAPE[:2])]
BITS = rng.integers(0, 2, SHAPE).astype(np.float32)
COUNTS = rng.poisson(2.0, SHAPE).astype(np.float32)
LABELS = ONE_HOT.argmax(-1)
SOME = np.where(rng.random(SHAPE[:2]) < 0.4, -1, LABELS)

# name, options, targets, predictions, the activation of a model whose outputs are such predictions
CASES = [
    ("MeanAbsolutePercentageError", {}, TARGET, PREDICTION, "linear"),
    ("MeanSquaredLogarithmicError", {}, TARGET, PREDICTION, "linear"),
    ("Huber", {}, TARGET, PREDICTION, "linear"),
    ("Huber", {"delta": 0.4}, TARGET, PREDICTION, "linear"),
    ("LogCosh", {}, TARGET, PREDICTION, "linear"),
    ("CosineSimilarity", {}, TARGET, PREDICTION, "linear"),
    ("CosineSimilarity", {"axis": 1}, TARGET, PREDICTION, "linear"),
    ("Hinge", {}, BITS, PREDICTION, "linear"),
    ("Hinge", {}, 2 * BITS - 1, PREDICTION, "linear"),
    ("SquaredHinge", {}, BITS, PREDICTION, "linear"),
    ("CategoricalHinge", {}, ONE_HOT, PREDICTION, "linear"),
    ("KLDivergence", {}, DISTRIBUTION, PROBABILITIES, "softmax"),
    ("KLDivergence", {}, ONE_HOT, PROBABILITIES, "softmax"),
    ("Poisson", {}, COUNTS, PROBABILITIES, "sigmoid"),
    ("CategoricalFocalCrossentropy", {}, ONE_HOT, PROBABILITIES, "softmax"),
    ("CategoricalFocalCrossentropy", {"alpha": 0.6, "gamma": 1.5, "from_logits": True}, ONE_HOT, PREDICTION,
     "linear"),
    ("CategoricalFocalCrossentropy", {"label_smoothing": 0.2}, ONE_HOT, PROBABILITIES, "softmax"),
    ("BinaryFocalCrossentropy", {}, BITS, PROBABILITIES, "sigmoid"),
    ("BinaryFocalCrossentropy", {"gamma": 1.0, "from_logits": True}, BITS, PREDICTION, "linear"),
    ("BinaryFocalCrossentropy", {"apply_class_balancing": True, "alpha": 0.7, "label_smoothing": 0.3}, BITS,
     PROBABILITIES, "sigmoid"),
]  # fmt: skip
WEIGHTS = rng.random(SHAPE[:2]).astype(np.float32)


def weights_like(values):
    return WEIGHTS if values == SHAPE[:2] else WEIGHTS[:, :3]


@pytest.mark.parametrize(("name", "options", "target", "prediction", "_"), CASES)
@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "sum", "none", "mean_with_sample_weight"])
@pytest.mark.parametrize("weighted", [False, True])
def test_values(name, options, target, prediction, _, reduction, weighted):
    weights = None
    if weighted:
        weights = weights_like((4, 3) if options.get("axis") == 1 else SHAPE[:2])
    ours = getattr(losses, name)(**options, reduction=reduction)(target, prediction, weights)
    kind = getattr(keras.losses, name)
    theirs = kind(**options, reduction=None if reduction == "none" else reduction)(
        target, prediction, weights
    )
    np.testing.assert_allclose(ours, np.asarray(theirs), rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize(("name", "options", "target", "prediction", "_"), CASES)
def test_functions(name, options, target, prediction, _):
    function = {"KLDivergence": "kl_divergence"}.get(name) or fastseq._names.snake(name)
    ours = getattr(losses, function)(target, prediction, **options)
    theirs = getattr(keras.losses, function)(target, prediction, **options)
    np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=2e-6)
    assert isinstance(losses.get(getattr(losses, function)), getattr(losses, name))


@pytest.mark.parametrize(
    ("name", "options", "target", "_", "activation"), [case for case in CASES if "axis" not in case[1]]
)
@pytest.mark.parametrize("kind", ["rows", "weights", "steps", "mask"])
def test_steps_as_in_keras(name, options, target, _, activation, kind):
    """The loss and its gradient through a model: of samples or steps, with weights or a mask."""
    rows = kind in ("rows", "weights")

    def build(k):
        x = k.Input((2,) if rows else (5, 2))
        return k.Model(x, k.layers.Dense(3, activation=activation)(x if rows else k.layers.Masking()(x)))

    ours, theirs = twins(build)
    x = np.random.default_rng(2).normal(size=(4, 5, 2)).astype(np.float32)
    if kind == "mask":
        x[0, 3:] = x[2, 1:] = 0
    if rows:
        x, target = x[:, 0], target[:, 0]
    sample_weight = {"weights": WEIGHTS[:, 0], "steps": WEIGHTS}.get(kind)
    made = getattr(losses, name)(**options), getattr(keras.losses, name)(**options)
    check_step(ours, theirs, x, target, made[0], their_loss=made[1], sample_weight=sample_weight)


@pytest.mark.parametrize(("name", "options", "target", "prediction", "_"), CASES)
def test_gradients(name, options, target, prediction, _):
    """Against central differences of the values, in float64, through a plan."""
    x = layers.Input((5, 3), dtype="float64")
    scale = layers.Dense(3, use_bias=False, dtype="float64")
    model = fastseq.Model(x, scale(x))
    start = np.eye(3) + 0.1 * rng.normal(size=(3, 3)) * (0 if "Probab" in name else 1)
    data, true = prediction.astype(np.float64), target.astype(np.float64)
    if prediction is PROBABILITIES:
        start = np.abs(start) * 0.8  # positive, and less than 1
    model.set_weights([start])
    loss = getattr(losses, name)(**options)
    model.compile("sgd", loss)
    (slope,) = model.gradients(data, true)
    direction = rng.normal(size=(3, 3))
    values = [loss(true, data @ (start + step * direction)) for step in (1e-6, -1e-6)]
    assert slope.dtype == np.float64
    np.testing.assert_allclose((slope * direction).sum(), (values[0] - values[1]) / 2e-6, rtol=1e-6)


@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "sum", "none"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("from_logits", [False, True])
def test_ignored_classes(reduction, weighted, from_logits):
    prediction = PREDICTION if from_logits else PROBABILITIES
    options = {"ignore_class": -1, "from_logits": from_logits}
    ours = losses.SparseCategoricalCrossentropy(**options, reduction=reduction)
    theirs = keras.losses.SparseCategoricalCrossentropy(
        **options, reduction=None if reduction == "none" else reduction
    )
    weights = WEIGHTS if weighted else None
    expected = theirs(SOME, prediction, weights)
    np.testing.assert_allclose(ours(SOME, prediction, weights), expected, rtol=1e-5, atol=1e-6)


def test_ignored_classes_in_training():
    def build(k):
        x = k.Input((5, 2))
        h = k.layers.Masking()(x)
        return k.Model(x, k.layers.Dense(3, activation="softmax")(h))

    x = np.random.default_rng(2).normal(size=(4, 5, 2)).astype(np.float32)
    x[0, 3:] = 0
    ours, theirs = twins(build)
    made = (losses.SparseCategoricalCrossentropy(ignore_class=-1),
            keras.losses.SparseCategoricalCrossentropy(ignore_class=-1))  # fmt: skip
    check_step(ours, theirs, x, SOME, made[0], their_loss=made[1])
    check_step(ours, theirs, x, SOME, made[0], their_loss=made[1], sample_weight=WEIGHTS)
    again = losses.SparseCategoricalCrossentropy(**made[0].get_config())
    assert again.ignore_class == -1
    with pytest.raises(ValueError) as error:
        made[0](layers.Input((5,)), layers.Input((5, 3)))
    assert str(error.value) == (
        "sparse_categorical_crossentropy: ignore_class must be None in a graph, or the reduction 'none' or "
        "'sum', got -1"
    )


def test_ignored_classes_in_a_graph_and_as_a_metric():
    """Where no mean is taken their losses are 0, and so are their gradients."""
    inner = losses.SparseCategoricalCrossentropy(ignore_class=-1, reduction="none")
    x = layers.Input((5, 2))
    model = fastseq.Model(x, layers.Dense(3, "softmax")(x))
    data = np.random.default_rng(2).normal(size=(4, 5, 2)).astype(np.float32)
    values = inner(SOME, model.predict(data, verbose=0))
    assert not values[SOME == -1].any()
    assert (values[SOME != -1] > 0).all()
    kinds = (lambda t, p: inner(t, p)), losses.SparseCategoricalCrossentropy(ignore_class=-1, reduction="sum")
    slopes = []
    for loss in kinds:
        model.compile("sgd", loss, metrics=[inner])
        result = model.test_on_batch(data, SOME, return_dict=True)
        metric = next(value for name, value in result.items() if name != "loss")
        assert metric == pytest.approx(values.mean(), rel=1e-5)
        slopes.append(model.gradients(data, SOME))
    for a, b in zip(*slopes, strict=True):
        np.testing.assert_allclose(20 * a, b, rtol=1e-4, atol=1e-6)


def test_configurations():
    for name, options, *_ in CASES:
        made = getattr(losses, name)(**options, reduction="sum")
        again = getattr(losses, name)(**made.get_config())
        assert again.get_config() == made.get_config()
        assert set(options) <= set(made.get_config())


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("bce", "BinaryCrossentropy"),
        ("kld", "KLDivergence"),
        ("KLD", "KLDivergence"),
        ("KLDivergence", "KLDivergence"),
        ("mape", "MeanAbsolutePercentageError"),
        ("msle", "MeanSquaredLogarithmicError"),
        ("logcosh", "LogCosh"),
        ("huber", "Huber"),
        ("Poisson", "Poisson"),
    ],
)
def test_names(word, name):
    assert isinstance(losses.get(word), getattr(losses, name))


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: losses.Huber(delta=0), ValueError, "Huber: delta must be more than 0, got 0.0"),
        (lambda: losses.CosineSimilarity(axis=0.5), TypeError,
         "CosineSimilarity: axis must be an integer, got 0.5"),
        (lambda: losses.CategoricalFocalCrossentropy(axis=1), ValueError,
         "CategoricalFocalCrossentropy: axis must be -1, the last one, got 1"),
        (lambda: losses.BinaryFocalCrossentropy(gamma=-1), ValueError,
         "BinaryFocalCrossentropy: gamma must be at least 0, got -1.0"),
        (lambda: losses.BinaryFocalCrossentropy(label_smoothing=2), ValueError,
         "BinaryFocalCrossentropy: label_smoothing must be in [0, 1], got 2.0"),
        (lambda: losses.hinge(np.ones((2, 3)), np.ones((2, 4))), ValueError,
         "hinge: y_true must have shape (2, 4), got (2, 3)"),
        (lambda: losses.Poisson(reduction="all"), ValueError,
         "Poisson: reduction must be one of sum_over_batch_size, mean, sum, mean_with_sample_weight, none, "
         "got 'all'"),
        (lambda: losses.SparseCategoricalCrossentropy(ignore_class="x"), TypeError,
         "SparseCategoricalCrossentropy: ignore_class must be an integer, got 'x'"),
        (lambda: losses.get("hubert"), ValueError,
         f"losses.get: identifier must be one of {', '.join(sorted(losses.KNOWN))}, got 'hubert' "
         "(did you mean 'huber'?)"),
    ],
)  # fmt: skip
def test_errors(call, error, text):
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == text


def test_targets_must_fit_in_training():
    x = layers.Input((3,))
    model = fastseq.Model(x, layers.Dense(2)(x))
    model.compile("sgd", "huber")
    with pytest.raises(ValueError) as error:
        model.train_on_batch(np.ones((4, 3)), np.ones((4, 3)))
    assert str(error.value) == "huber_loss: y_true must have shape (None, 2), got (None, 3)"


def test_as_part_of_a_graph():
    """A built-in loss within a loss of one's own."""

    def build(k):
        x = k.Input((3,))
        return k.Model(x, k.layers.Dense(2)(x))

    def mixed(library):
        return lambda t, p: library.huber(t, p) + 2.0 * library.poisson(abs(t), abs(p) + 0.5)

    ours, theirs = twins(build)
    x, y = rng.normal(size=(4, 3)).astype(np.float32), rng.normal(size=(4, 2)).astype(np.float32)
    check_step(ours, theirs, x, y, mixed(losses), their_loss=mixed(keras.losses))
    close(ops.mean(losses.huber(y, y + 1)), 0.5)
