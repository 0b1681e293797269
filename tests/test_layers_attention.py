"""Attention, Dot and LayerNormalization beside Keras: outputs, masks, gradients, configurations, errors."""

import numpy as np
import pytest
from keras_twin import check_outputs, check_step, close, twins

import fastseq
from fastseq import layers

rng = np.random.default_rng(0)
QUERIES = rng.normal(size=(4, 3, 6)).astype(np.float32)
VALUES = rng.normal(size=(4, 5, 6)).astype(np.float32)
QUERIES[1, 2:] = QUERIES[3, 1:] = 0
VALUES[0, 3:] = VALUES[2, 1:] = 0
TARGET = rng.normal(size=(4, 3, 2)).astype(np.float32)

ATTENTION = [
    ("Attention", {}),
    ("Attention", {"use_scale": True}),
    ("Attention", {"score_mode": "concat"}),
    ("Attention", {"score_mode": "concat", "use_scale": True}),
    ("AdditiveAttention", {}),
    ("AdditiveAttention", {"use_scale": False}),
]


@pytest.mark.parametrize(("name", "options"), ATTENTION)
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("keys", [False, True])
@pytest.mark.parametrize("causal", [False, True])
def test_attention_as_in_keras(name, options, masked, keys, causal):
    def build(library):
        query, value = library.Input((None, 6)), library.Input((None, 6))
        made = [query, value]
        if masked:
            made = [library.layers.Masking()(symbol) for symbol in made]
        made = [library.layers.Dense(4)(symbol) for symbol in made]
        inputs = [*made, library.layers.Dense(4)(made[1])] if keys else made
        layer = getattr(library.layers, name)(**options)
        output = layer(inputs, use_causal_mask=True) if causal else layer(inputs)
        return library.Model([query, value], library.layers.Dense(2)(output))

    ours, theirs = twins(build)
    check_outputs(ours, theirs, [QUERIES, VALUES])
    check_step(ours, theirs, [QUERIES, VALUES], TARGET, "mse")  # the queries' mask counts in its mean


def test_attention_scores():
    output, weights = layers.Attention()([QUERIES, VALUES], return_attention_scores=True)
    scores = np.exp(QUERIES @ VALUES.transpose(0, 2, 1))
    close(weights, scores / scores.sum(-1, keepdims=True), 1e-5)
    close(output, weights @ VALUES, 1e-5)
    mask = np.ones((4, 5), bool)
    mask[0, 3:] = False
    symbols = [layers.Input((3, 6)), layers.Input((5, 6)), layers.Input((5,), dtype="bool")]
    model = fastseq.Model(
        symbols,
        layers.Attention()(symbols[:2], mask=[None, symbols[2]], return_attention_scores=True),
    )
    _, weights = model.predict([QUERIES, VALUES, mask], verbose=0)
    assert not weights[0, :, 3:].any()
    close(weights.sum(-1), np.ones((4, 3)), 1e-5)


def test_attention_drops_weights_in_training_only():
    layer = layers.Attention(dropout=0.5, seed=1)
    plain = layers.Attention()([QUERIES, VALUES])
    close(layer([QUERIES, VALUES]), plain, 0)
    first, second = (layer([QUERIES, VALUES], training=True) for _ in range(2))
    assert not np.allclose(first, plain)
    assert not np.allclose(first, second)
    mean = np.mean([layer([QUERIES, VALUES], training=True) for _ in range(4000)], axis=0)
    assert np.abs(mean - plain).max() < 0.15


@pytest.mark.parametrize(
    ("shapes", "axes"),
    [
        (((4,), (4,)), 1),
        (((4,), (4,)), -1),
        (((3, 4), (5, 4)), 2),
        (((3, 4), (5, 4)), -1),
        (((3, 4), (3, 5)), 1),
        (((3, 4), (4, 5)), (2, 1)),
        (((3, 4), (4, 5)), (-1, -2)),
        (((4,), (5, 4)), (1, 2)),
        (((3, 4), (3,)), (1, 1)),
    ],
)
@pytest.mark.parametrize("normalize", [False, True])
def test_dot_as_in_keras(shapes, axes, normalize):
    def build(library):
        inputs = [library.Input(shape) for shape in shapes]
        made = [library.layers.Dense(shape[-1])(symbol) for shape, symbol in zip(shapes, inputs, strict=True)]
        return library.Model(inputs, library.layers.Dot(axes=axes, normalize=normalize)(made))

    ours, theirs = twins(build)
    x = [rng.normal(size=(6, *shape)).astype(np.float32) for shape in shapes]
    check_outputs(ours, theirs, x)
    assert ours.output_shape == theirs.output_shape
    check_step(ours, theirs, x, rng.normal(size=(6, *ours.output_shape[1:])), "mse")


def test_minimum_and_the_functions_as_in_keras():
    def build(library):
        inputs = [library.Input((4,)) for _ in range(3)]
        made = [library.layers.Dense(4)(symbol) for symbol in inputs]
        smallest = library.layers.minimum(made, name="smallest")
        return library.Model(inputs, [smallest, library.layers.dot(made[:2], axes=-1, name="dot")])

    ours, theirs = twins(build)
    x = [rng.normal(size=(6, 4)).astype(np.float32) for _ in range(3)]
    close(ours.predict(x, verbose=0), [np.asarray(v) for v in theirs(x)])
    check_step(ours, theirs, x, [rng.normal(size=(6, 4)), rng.normal(size=(6, 1))], ["mse", "mse"])


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"epsilon": 0.1},
        {"center": False},
        {"scale": False},
        {"axis": 1},
        {"axis": [1, 2]},
        {"axis": [2, 1], "scale": False},
    ],
)
def test_layer_normalization_as_in_keras(options):
    def build(library):
        x = library.Input((3, 6))
        h = library.layers.LayerNormalization(**options)(library.layers.Dense(6)(x))
        return library.Model(x, library.layers.Dense(2)(h))

    ours, theirs = twins(build)
    check_outputs(ours, theirs, QUERIES)
    check_step(ours, theirs, QUERIES, TARGET, "mse")


def test_masks_pass_layer_normalization():
    x = layers.Masking()(layers.Input((3, 6)))
    assert layers.LayerNormalization()(x).mask is x.mask
    attended = layers.Attention()([x, layers.Input((5, 6))])
    assert attended.mask is x.mask
    assert layers.Dot(2)([x, x]).mask is None


@pytest.mark.parametrize(
    "layer",
    [
        layers.Attention(True, "concat", 0.1, 3),
        layers.AdditiveAttention(False, 0.2),
        layers.Dot((1, 2), True),
        layers.LayerNormalization([1, 2], 0.01, center=False, gamma_initializer="zeros"),
        layers.Minimum(),
    ],
)
def test_configurations(layer):
    copy = type(layer).from_config(layer.get_config())
    assert copy.get_config() == layer.get_config()


X3, X2 = layers.Input((3, 6)), layers.Input((6,))


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (
            lambda: layers.Attention(name="a")(X3),
            ValueError,
            "a: inputs must be a list [query, value] or [query, value, key], got Symbol",
        ),
        (
            lambda: layers.AdditiveAttention(name="a")([X3]),
            ValueError,
            "a: inputs must be a list [query, value] or [query, value, key], got a list of 1",
        ),
        (
            lambda: layers.Attention(score_mode="sum"),
            ValueError,
            "Attention: score_mode must be one of dot, concat, got 'sum'",
        ),
        (lambda: layers.Attention(dropout=2), ValueError, "Attention: dropout must be in [0, 1], got 2.0"),
        (lambda: layers.Dot(0), ValueError, "Dot: axes must be 1 or 2 axes but the batch, got 0"),
        (
            lambda: layers.Dot((1, 2, 3)),
            ValueError,
            "Dot: axes must be 1 or 2 axes but the batch, got (1, 2, 3)",
        ),
        (
            lambda: layers.Dot(1, name="d")([X3, X2]),
            ValueError,
            "d: inputs must agree along axes=1, got (None, 3, 6) and (None, 6)",
        ),
        (
            lambda: layers.Dot(2, name="d")([X3, X2]),
            ValueError,
            "d: inputs must have 2 or 3 axes, axes=2 among them, got (None, 3, 6) and (None, 6)",
        ),
        (lambda: layers.Dot(1, name="d")([X3]), ValueError, "d: inputs must be a list of 2, got list"),
        (
            lambda: layers.LayerNormalization(0, name="n")(X3),
            ValueError,
            "n: axis must name axes of the input but the batch, in [-2, 3), got 0",
        ),
        (
            lambda: layers.LayerNormalization(axis="x"),
            TypeError,
            "LayerNormalization: axis must be an integer, got 'x'",
        ),
        (
            lambda: layers.LayerNormalization(gamma_regularizer="l3"),
            ValueError,
            "LayerNormalization: gamma_regularizer must be one of l1, l1_l2, l2, "
            "orthogonal_regularizer, got 'l3'",
        ),
    ],
)
def test_errors(call, error, text):
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == text
