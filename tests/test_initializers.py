"""Initializers: the distributions Keras draws from, seeds, names."""

import numpy as np
import pytest
from keras_twin import keras

import fastseq
from fastseq import initializers

RANDOM = ["glorot_uniform", "glorot_normal", "he_uniform", "he_normal", "lecun_uniform", "lecun_normal",
          "random_normal", "random_uniform", "truncated_normal", "orthogonal"]  # fmt: skip


@pytest.mark.parametrize("name", RANDOM)
def test_distributions_are_keras_s(name):
    """Mean, deviation, extremes and quartiles of a large draw against one of Keras's."""
    fastseq.set_seed(0)
    shape = (300, 200)
    ours = initializers.get(name)(shape)
    theirs = np.asarray(
        getattr(keras.initializers, "".join(p.title() for p in name.split("_")))(seed=1)(shape)
    )
    assert ours.dtype == np.float32
    assert ours.shape == shape
    deviation = theirs.std()
    assert abs(ours.mean() - theirs.mean()) < 0.03 * deviation
    assert abs(ours.std() - deviation) < 0.02 * deviation
    for q in (0.05, 0.25, 0.75, 0.95):
        assert abs(np.quantile(ours, q) - np.quantile(theirs, q)) < 0.04 * deviation
    if name not in ("random_normal", "orthogonal"):
        assert abs(ours.max() - theirs.max()) < 0.02 * theirs.max()


@pytest.mark.parametrize("shape", [(5,), (4, 6), (3, 3, 2, 8)])
@pytest.mark.parametrize("mode", ["fan_in", "fan_out", "fan_avg"])
def test_fans(shape, mode):
    """The limit of a uniform draw tells the fan that was used."""
    ours = initializers.VarianceScaling(2.0, mode, "uniform", seed=0)
    size = 20000 // int(np.prod(shape)) + 1
    limit = max(np.abs(ours(shape)).max() for ours.seed in range(size))
    fan_in, fan_out = keras.src.initializers.random_initializers.compute_fans(shape)
    fan = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[mode]
    assert limit == pytest.approx(np.sqrt(6 / fan), rel=0.01)


@pytest.mark.parametrize("shape", [(6, 6), (3, 8), (8, 3), (2, 4, 8)])
def test_orthogonal(shape):
    m = initializers.Orthogonal(gain=2.0, seed=0)(shape, np.float64).reshape(-1, shape[-1])
    product = m @ m.T if m.shape[0] <= m.shape[1] else m.T @ m
    np.testing.assert_allclose(product, 4 * np.eye(len(product)), atol=1e-12)


@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (2, 1), (5, 9), (5, 10), (200, 100), (64, 256), (0, 4)])
def test_orthogonal_is_the_qr_of_a_normal_draw(shape):
    """Whichever way it is computed, with the signs that make it unique."""
    tall = np.random.default_rng(7).standard_normal((max(shape), min(shape)))
    q, r = np.linalg.qr(tall)
    q = q * np.sign(np.diag(r))
    made = initializers.Orthogonal(seed=7)(shape, np.float64)
    np.testing.assert_allclose(made, q if shape[0] >= shape[1] else q.T, rtol=0, atol=1e-14)


def test_constants():
    np.testing.assert_array_equal(initializers.get("zeros")((2, 3)), np.zeros((2, 3)))
    np.testing.assert_array_equal(initializers.get("one")((2,)), np.ones(2))
    np.testing.assert_array_equal(initializers.Constant(3)((2,), np.float64), [3.0, 3.0])
    np.testing.assert_array_equal(initializers.Identity(2)((2, 3)), 2 * np.eye(2, 3))


@pytest.mark.parametrize("name", RANDOM)
def test_seeds(name):
    make = initializers.get(name)
    draws = []
    for _ in range(2):
        fastseq.set_seed(5)
        draws.append((make((4, 4)), make((4, 4))))
    assert (draws[0][0] != draws[0][1]).any()
    np.testing.assert_array_equal(draws[0], draws[1])
    cls = type(make)
    np.testing.assert_array_equal(cls(seed=3)((4, 4)), cls(seed=3)((4, 4)))
    again = cls.from_config(cls(seed=3).get_config())
    np.testing.assert_array_equal(again((4, 4)), cls(seed=3)((4, 4)))


def test_get():
    assert isinstance(initializers.get("GlorotUniform"), initializers.GlorotUniform)
    assert isinstance(initializers.get(initializers.Zeros), initializers.Zeros)
    assert isinstance(initializers.get("normal"), initializers.RandomNormal)
    assert initializers.get({"class_name": "Constant", "config": {"value": 2}}).value == 2
    assert initializers.get(None) is None
    layer = fastseq.layers.Dense(2, kernel_initializer=lambda shape, dtype: np.full(shape, 5, dtype))
    layer(np.ones((1, 3), np.float32))
    assert (layer.get_weights()[0] == 5).all()


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (
            lambda: initializers.get(3),
            TypeError,
            "initializers.get: identifier must be the name of an initializer or one, got 3",
        ),
        (
            lambda: initializers.VarianceScaling(0),
            ValueError,
            "VarianceScaling: scale must be more than 0.0, got 0.0",
        ),
        (
            lambda: initializers.VarianceScaling(mode="fan"),
            ValueError,
            "VarianceScaling: mode must be one of fan_in, fan_out, fan_avg, got 'fan'",
        ),
        (
            lambda: initializers.Orthogonal()((3,)),
            ValueError,
            "Orthogonal: shape must have at least 2 dimensions, got (3,)",
        ),
        (
            lambda: initializers.Identity()((3,)),
            ValueError,
            "Identity: shape must have 2 dimensions, got (3,)",
        ),
        (lambda: fastseq.set_seed(-1), ValueError, "set_seed: seed must be at least 0, got -1"),
        (lambda: fastseq.set_seed(1.5), TypeError, "set_seed: seed must be an integer, got 1.5"),
    ],
)
def test_errors(call, error, text):
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == text
