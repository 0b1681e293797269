"""Pooling against its twin and Keras, with gradients, on every instruction set."""

import numpy as np
import pytest
import reference
from gradcheck import check_gradients

from fastseq import _core, set_num_threads
from fastseq.ops import (
    average_pool2d,
    average_pool2d_backward,
    average_pool2d_forward,
    max_pool2d,
    max_pool2d_backward,
    max_pool2d_forward,
)

POOLS = {
    "max": (max_pool2d_forward, max_pool2d_backward, reference.max_pool2d),
    "average": (average_pool2d_forward, average_pool2d_backward, reference.average_pool2d),
}

OPTIONS = [
    {},
    {"pool_size": 3},
    {"pool_size": (2, 3), "padding": "same"},
    {"pool_size": 3, "strides": 2},
    {"pool_size": 3, "strides": 2, "padding": "same"},
    {"pool_size": 3, "strides": 1, "padding": "same"},
    {"pool_size": 2, "strides": 3, "padding": "same"},
    {"pool_size": (1, 2), "strides": (3, 1)},
    {"pool_size": (9, 11), "padding": "same", "strides": 4},
    {"pool_size": (7, 10)},
]


def edges(dtype):
    lanes = _core.vector_bytes() // np.dtype(dtype).itemsize
    return [1, 3, lanes, lanes + 1, 2 * lanes, 4 * lanes + 3]


@pytest.mark.parametrize("kind", POOLS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_values(isa, kind, dtype, options):
    forward, _, twin = POOLS[kind]
    rng = np.random.default_rng(0)
    for channels in edges(dtype):
        x = rng.standard_normal((2, 7, 10, channels)).astype(dtype)
        y, saved = forward(x, **options, training=False)
        assert saved is None
        assert y.dtype == dtype
        tolerance = 0 if kind == "max" else 1e-6 if dtype == np.float32 else 1e-14
        np.testing.assert_allclose(y, twin(x, **options), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("kind", POOLS)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_gradients(isa, kind, options):
    forward, backward, _ = POOLS[kind]
    rng = np.random.default_rng(1)
    for channels in edges(np.float64):
        # No two are nearly equal, so that all is linear and steps may be large.
        x = rng.permutation(140 * channels).reshape(2, 7, 10, channels) / 7.0
        check_gradients(forward, backward, {"x": x}, step=1e-3, **options)


@pytest.mark.parametrize("kind", POOLS)
@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize(("size", "strides"), [((2, 2), None), ((3, 2), (2, 3)), ((3, 3), 1), ((4, 5), 3)])
def test_against_keras(kind, padding, size, strides):
    keras = pytest.importorskip("keras")
    tensorflow = pytest.importorskip("tensorflow")
    forward, backward, _ = POOLS[kind]
    rng = np.random.default_rng(2)
    x = rng.integers(0, 4, (2, 9, 13, 5)).astype(np.float32)  # many are equal: the first one gets it all
    y, saved = forward(x, pool_size=size, strides=strides, padding=padding)
    dy = rng.standard_normal(y.shape).astype(np.float32)
    variable = tensorflow.Variable(x)
    operation = keras.ops.max_pool if kind == "max" else keras.ops.average_pool
    with tensorflow.GradientTape() as tape:
        theirs = operation(variable, size, strides, padding)
    np.testing.assert_allclose(y, theirs, rtol=1e-6, atol=1e-6)
    expected = tape.gradient(theirs, variable, dy)
    np.testing.assert_allclose(backward(saved, dy).x, expected, rtol=1e-5, atol=1e-5)


def test_the_first_maximum_gets_the_gradient(isa):
    for channels in edges(np.float32):
        x = np.zeros((1, 4, 4, channels), np.float32)
        x[0, 3, 3] = 1
        y, saved = max_pool2d_forward(x)
        dx = max_pool2d_backward(saved, np.ones_like(y)).x
        expected = np.zeros((4, 4))
        expected[0, 0] = expected[0, 2] = expected[2, 0] = expected[3, 3] = 1
        np.testing.assert_array_equal(dx[0], np.broadcast_to(expected[..., None], dx[0].shape))


def test_nan_stays_in_its_windows(isa):
    for channels in edges(np.float32):
        x = np.ones((1, 6, 6, channels), np.float32)
        x[0, 2, 3] = np.nan
        x[0, 0, 0] = -np.inf
        for pool in (max_pool2d, average_pool2d):
            y = pool(x)
            assert np.isnan(y[0, 1, 1]).all()
            assert np.isnan(y).sum() == channels
        assert (max_pool2d(np.full((1, 2, 2, channels), -np.inf)) == -np.inf).all()


@pytest.mark.parametrize("kind", POOLS)
@pytest.mark.parametrize("options", OPTIONS[:6], ids=str)
def test_any_team_gives_the_same_bits(isa, kind, options):
    forward, backward, _ = POOLS[kind]
    rng = np.random.default_rng(3)
    x = rng.standard_normal((3, 65, 130, 17)).astype(np.float32)
    results = []
    for threads in (1, 2, 3):
        try:
            set_num_threads(threads)
            y, saved = forward(x, **options)
            results.append((y, backward(saved, y).x))
        finally:
            set_num_threads(0)
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("kind", POOLS)
@pytest.mark.parametrize("shape", [(0, 4, 6, 3), (2, 4, 6, 0), (0, 4, 6, 0)])
def test_empty(isa, kind, shape):
    forward, backward, _ = POOLS[kind]
    y, saved = forward(np.ones(shape, np.float32))
    assert y.shape == (shape[0], 2, 3, shape[3])
    assert backward(saved, y).x.shape == shape


@pytest.mark.parametrize("kind", POOLS)
def test_conversion(isa, kind):
    forward, backward, twin = POOLS[kind]
    rng = np.random.default_rng(4)
    x = rng.standard_normal((2, 12, 18, 8))[:, ::2, ::3, ::2]
    y, saved = forward(x)
    np.testing.assert_allclose(y, twin(x), rtol=1e-14)
    dy = rng.standard_normal((4, 3, 3, 2)).T
    one = backward(saved, dy, keep=True).x
    np.testing.assert_array_equal(one, backward(saved, np.ascontiguousarray(dy)).x)
    assert forward([[[[1], [2]], [[3], [5]]]])[0].dtype == np.float32


@pytest.mark.parametrize("kind", POOLS)
def test_errors(kind):
    forward, backward, _ = POOLS[kind]
    name = f"{kind}_pool2d"
    x = np.ones((2, 5, 6, 3))

    def text_of(error, call, *arguments, **options):
        with pytest.raises(error) as raised:
            call(*arguments, **options)
        return str(raised.value)

    assert text_of(ValueError, forward, x[0]) == (
        f"{name}_forward: x must have shape (batch, height, width, channels), got (5, 6, 3)"
    )
    assert text_of(ValueError, forward, x, pool_size=(2, 7)) == (
        f"{name}_forward: x must be at least 7 wide, as the window is, got shape (2, 5, 6, 3)"
    )
    assert text_of(ValueError, forward, x, pool_size=0) == (
        f"{name}_forward: pool_size must be at least 1, got 0"
    )
    assert text_of(TypeError, forward, x, strides="2") == (
        f"{name}_forward: strides must be an integer, got '2'"
    )
    assert text_of(ValueError, forward, x, padding="full") == (
        f"{name}_forward: padding must be same or valid, got 'full'"
    )
    _, saved = forward(x)
    assert text_of(ValueError, backward, saved, np.ones((2, 2, 2, 3)), keep=True) == (
        f"{name}_backward: dy must have shape (2, 2, 3, 3), got (2, 2, 2, 3)"
    )
    assert text_of(ValueError, backward, saved, np.ones((2, 2, 3, 3)), wanted=("y",), keep=True) == (
        f"{name}_backward: wanted must name some of x, got 'y'"
    )
    backward(saved, np.ones((2, 2, 3, 3)))
    assert text_of(RuntimeError, backward, saved, np.ones((2, 2, 3, 3))) == (
        f"{name}_backward: saved must be used once unless kept with keep=True, got one that is consumed"
    )
    assert text_of(TypeError, backward, None, x) == (
        f"{name}_backward: saved must be what {name}_forward returned with training=True, got None"
    )


def test_a_window_too_large_for_its_places():
    x = np.ones((1, 257, 256, 1), np.float32)
    assert max_pool2d(x, (257, 256)).item() == 1
    with pytest.raises(ValueError) as error:
        max_pool2d_forward(x, pool_size=(257, 256))
    assert str(error.value) == "max_pool2d_forward: pool_size must hold at most 65536 pixels, got 65792"
