"""Batch normalization against its twin, with gradients, on every instruction set."""

import numpy as np
import pytest
import reference
from gradcheck import check_gradients

from fastseq import _core, set_num_threads
from fastseq.ops import batch_norm_backward, batch_norm_forward

TOLERANCE = {np.float32: 2e-5, np.float64: 1e-12}
WAYS = ["measured", "masked", "given", "plain"]


def edges(dtype):
    lanes = _core.vector_bytes() // np.dtype(dtype).itemsize
    return [1, 3, lanes, lanes + 1, 4 * lanes + 3]


def case(rng, shape, way, dtype):
    channels = shape[-1]
    arrays = {"x": (rng.standard_normal(shape) + 3).astype(dtype)}
    if way != "plain":
        arrays["gamma"] = rng.standard_normal(channels).astype(dtype)
        arrays["beta"] = rng.standard_normal(channels).astype(dtype)
    if way == "given":
        arrays["mean"] = rng.standard_normal(channels).astype(dtype)
        arrays["variance"] = rng.uniform(0.5, 2, channels).astype(dtype)
    if way == "masked":
        arrays["mask"] = rng.random(shape[:-1]) < 0.6
    return arrays


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("leading", [(1,), (7,), (40, 9), (3, 13, 11)])
def test_values(isa, leading, dtype, way):
    rng = np.random.default_rng(0)
    for channels in edges(dtype):
        arrays = case(rng, (*leading, channels), way, dtype)
        *made, saved = batch_norm_forward(**arrays, epsilon=0.01, training=False)
        assert saved is None
        for ours, expected in zip(made, reference.batch_norm(**arrays, epsilon=0.01), strict=True):
            assert ours.dtype == dtype
            np.testing.assert_allclose(ours, expected, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


def one_output(x, gamma=None, beta=None, *, training=True, **options):
    y, _, _, saved = batch_norm_forward(x, gamma, beta, **options, training=training)
    return y, saved


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("leading", [(5,), (9,), (40, 9)])  # of 2 rows y hardly changes
def test_gradients(isa, leading, way):
    rng = np.random.default_rng(1)
    for channels in edges(np.float64):
        arrays = case(rng, (*leading, channels), way, np.float64)
        if way == "masked":
            arrays["mask"].reshape(-1)[:2] = True
        options = {name: arrays.pop(name) for name in ("mask", "mean", "variance") if name in arrays}
        check_gradients(one_output, batch_norm_backward, arrays, **options)


def test_against_keras():
    keras = pytest.importorskip("keras")
    tensorflow = pytest.importorskip("tensorflow")
    rng = np.random.default_rng(2)
    for way in ("measured", "masked"):
        arrays = case(rng, (5, 12, 7), way, np.float32)
        mask = arrays.pop("mask", None)
        y, mean, variance, saved = batch_norm_forward(**arrays, mask=mask)
        dy = rng.standard_normal(y.shape).astype(np.float32)
        layer = keras.layers.BatchNormalization(momentum=0)
        layer.build(arrays["x"].shape)
        layer.set_weights([arrays["gamma"], arrays["beta"], np.zeros(7), np.ones(7)])
        x = tensorflow.Variable(arrays["x"])
        with tensorflow.GradientTape() as tape:
            theirs = layer(x, training=True, mask=mask)
        np.testing.assert_allclose(y, theirs, rtol=2e-5, atol=2e-5)
        np.testing.assert_allclose(mean, layer.moving_mean, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(variance, layer.moving_variance, rtol=1e-5, atol=1e-6)
        expected = tape.gradient(theirs, [x, layer.gamma, layer.beta], dy)
        for ours, other in zip(batch_norm_backward(saved, dy), expected, strict=True):
            np.testing.assert_allclose(ours, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("shape", [(5000, 16), (9000, 3), (50, 700)])
def test_any_team_gives_the_same_bits(isa, shape, way):
    rng = np.random.default_rng(3)
    arrays = case(rng, shape, way, np.float32)
    dy = rng.standard_normal(shape).astype(np.float32)
    results = []
    for threads in (1, 2, 3):
        try:
            set_num_threads(threads)
            *made, saved = batch_norm_forward(**arrays)
            results.append((*made, *batch_norm_backward(saved, dy)))
        finally:
            set_num_threads(0)
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_only_what_is_wanted_and_added_into(isa):
    rng = np.random.default_rng(4)
    arrays = case(rng, (30, 9), "measured", np.float64)
    dy = rng.standard_normal((30, 9))
    *_, saved = batch_norm_forward(**arrays)
    everything = batch_norm_backward(saved, dy, keep=True)
    for name in everything._fields:
        only = batch_norm_backward(saved, dy, wanted=(name,), keep=True)
        for other in everything._fields:
            if other == name:
                np.testing.assert_array_equal(getattr(only, name), getattr(everything, name))
            else:
                assert getattr(only, other) is None
    into = {"gamma": rng.standard_normal(9), "beta": rng.standard_normal(9)}
    before = {name: array.copy() for name, array in into.items()}
    added = batch_norm_backward(saved, dy, into=into)
    for name, array in into.items():
        assert getattr(added, name) is array
        np.testing.assert_allclose(array, before[name] + getattr(everything, name), rtol=1e-12, atol=1e-12)


def test_masked_rows_may_hold_anything(isa):
    rng = np.random.default_rng(5)
    arrays = case(rng, (4, 20, 5), "masked", np.float64)
    expected = batch_norm_forward(**arrays)[:3]
    mask = arrays["mask"]
    arrays["x"][~mask] = np.nan
    made = batch_norm_forward(**arrays)[:3]
    np.testing.assert_array_equal(made[0][mask], expected[0][mask])
    np.testing.assert_array_equal(made[1], expected[1])
    np.testing.assert_array_equal(made[2], expected[2])


def test_large_means_leave_the_variance_alone(isa):
    rng = np.random.default_rng(6)
    x = (rng.standard_normal((20000, 5)) + 300).astype(np.float32)
    _, mean, variance, _ = batch_norm_forward(x)
    np.testing.assert_allclose(mean, x.astype(np.float64).mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(variance, x.astype(np.float64).var(axis=0), rtol=1e-5)


@pytest.mark.parametrize("shape", [(0, 3), (4, 0), (0, 0)])
def test_empty(isa, shape):
    y, mean, variance, saved = batch_norm_forward(
        np.ones(shape, np.float32), mean=np.zeros(shape[1]), variance=np.ones(shape[1])
    )
    assert y.shape == shape
    assert mean.shape == variance.shape == (shape[1],)
    assert batch_norm_backward(saved, y).x.shape == shape


def test_conversion(isa):
    x = np.random.default_rng(7).standard_normal((6, 40))[::2, ::3]
    y, mean, variance, saved = batch_norm_forward(x)
    for ours, expected in zip((y, mean, variance), reference.batch_norm(x), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-12, atol=1e-12)
    dy = np.asfortranarray(np.arange(42.0).reshape(y.shape))
    same = batch_norm_backward(saved, dy, keep=True).x
    np.testing.assert_array_equal(same, batch_norm_backward(saved, np.ascontiguousarray(dy)).x)
    assert batch_norm_forward([[1, 2], [3, 5]])[0].dtype == np.float32


def text_of(error, call, *arguments, **options):
    with pytest.raises(error) as raised:
        call(*arguments, **options)
    return str(raised.value)


def test_errors():
    x = np.ones((4, 5, 3))
    forward, backward = batch_norm_forward, batch_norm_backward
    name = "batch_norm_forward"
    assert text_of(ValueError, forward, x, np.ones(4)) == f"{name}: gamma must have shape (3,), got (4,)"
    assert text_of(ValueError, forward, x, None, np.ones((1, 3))) == (
        f"{name}: beta must have shape (3,), got (1, 3)"
    )
    assert text_of(ValueError, forward, x, mean=np.ones(3)) == (
        f"{name}: variance must be given with mean, got None"
    )
    assert text_of(ValueError, forward, x, variance=np.ones(3)) == (
        f"{name}: mean must be given with variance, got None"
    )
    assert text_of(ValueError, forward, x, mask=np.ones((4, 4))) == (
        f"{name}: mask must have shape (4, 5), got (4, 4)"
    )
    assert text_of(ValueError, forward, x, epsilon=-1) == f"{name}: epsilon must be at least 0, got -1.0"
    assert text_of(ValueError, forward, 1.0) == f"{name}: x must have at least 1 dimension, got shape ()"
    assert text_of(TypeError, forward, "x") == f"{name}: x must be an array of real numbers, got 'x'"
    *_, saved = forward(x, np.ones(3))
    name = "batch_norm_backward"
    assert text_of(ValueError, backward, saved, x[0], keep=True) == (
        f"{name}: dy must have the shape of y, (4, 5, 3), got (5, 3)"
    )
    assert text_of(ValueError, backward, saved, x, into={"gamma": np.ones(2)}, keep=True) == (
        f"{name}: into['gamma'] must have shape (3,), got (2,)"
    )
    assert text_of(ValueError, backward, saved, x, wanted=("mean",), keep=True) == (
        f"{name}: wanted must name some of x, gamma, beta, got 'mean'"
    )
    backward(saved, x)
    assert text_of(RuntimeError, backward, saved, x) == (
        f"{name}: saved must be used once unless kept with keep=True, got one that is consumed"
    )
