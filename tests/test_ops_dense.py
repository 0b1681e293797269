"""The dense layer against its twin, with gradients, on every instruction set."""

import numpy as np
import pytest
import reference
from gradcheck import check_gradients

from fastseq import _core, set_num_threads
from fastseq.ops import dense_backward, dense_forward

TOLERANCE = {np.float32: 1e-5, np.float64: 1e-13}


def edges(dtype):
    """Around one register and around one panel of registers."""
    lanes = _core.vector_bytes() // np.dtype(dtype).itemsize
    return [1, max(lanes - 1, 1), lanes, lanes + 1, 4 * lanes + 3]


def case(rng, rows, features, units, dtype):
    return {
        "x": rng.standard_normal((rows, features)).astype(dtype),
        "kernel": rng.standard_normal((features, units)).astype(dtype),
        "bias": rng.standard_normal(units).astype(dtype),
    }


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rows", [1, 7, 17, 130])
def test_values(isa, rows, dtype):
    rng = np.random.default_rng(rows)
    for units in edges(dtype):
        for features in (1, 5, units):
            arrays = case(rng, rows, features, units, dtype)
            y, saved = dense_forward(**arrays, activation="tanh", training=False)
            assert saved is None
            assert y.dtype == dtype
            tolerance = TOLERANCE[dtype]
            expected = reference.dense(**arrays, activation="tanh")
            np.testing.assert_allclose(y, expected, rtol=tolerance, atol=tolerance)
            y, _ = dense_forward(arrays["x"], arrays["kernel"])
            expected = reference.dense(arrays["x"], arrays["kernel"])
            np.testing.assert_allclose(y, expected, rtol=tolerance, atol=tolerance * features)


@pytest.mark.parametrize("activation", ["linear", "tanh", "relu", "softplus", "gelu", "softmax"])
def test_gradients(isa, activation):
    rng = np.random.default_rng(1)
    for units in edges(np.float64):
        arrays = case(rng, 9, units + 1, units, np.float64)
        check_gradients(dense_forward, dense_backward, arrays, activation=activation)
    without_bias = {k: v for k, v in arrays.items() if k != "bias"}
    check_gradients(dense_forward, dense_backward, without_bias, activation=activation)


def test_gradients_of_many_rows(isa):
    """More rows than one chunk of the kernel's gradient, and leading axes."""
    rng = np.random.default_rng(2)
    arrays = case(rng, 0, 6, 5, np.float64)
    arrays["x"] = rng.standard_normal((2, 270, 6))
    check_gradients(dense_forward, dense_backward, arrays, activation="sigmoid")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("features", [1023, 2049, 5000])
def test_products_of_several_passes(isa, features, dtype):
    """So many features go over the kernel in passes, on any instruction set; the gradients likewise."""
    rng = np.random.default_rng(features)
    for rows, units in [(25, 3), (70, 40)]:
        arrays = case(rng, rows, features, units, dtype)
        y, saved = dense_forward(**arrays)
        x, kernel, bias = (arrays[name].astype(np.float64) for name in ("x", "kernel", "bias"))
        dy = rng.standard_normal(y.shape).astype(dtype)
        grads = dense_backward(saved, dy)
        tolerance = TOLERANCE[dtype]
        np.testing.assert_allclose(y, x @ kernel + bias, rtol=tolerance, atol=tolerance * features)
        np.testing.assert_allclose(grads.x, dy @ kernel.T, rtol=tolerance, atol=tolerance * units)
        np.testing.assert_allclose(grads.kernel, x.T @ dy, rtol=tolerance, atol=tolerance * rows)
        y, saved = dense_forward(arrays["kernel"].T.copy(), arrays["x"].T.copy())  # as many rows
        grads = dense_backward(saved, np.ascontiguousarray(dy.T))
        np.testing.assert_allclose(grads.kernel, kernel @ dy.T, rtol=tolerance, atol=tolerance * features)


def test_against_keras():
    keras = pytest.importorskip("keras")
    rng = np.random.default_rng(3)
    arrays = case(rng, 33, 20, 13, np.float32)
    layer = keras.layers.Dense(13, activation="relu")
    layer.build((None, 20))
    layer.set_weights([arrays["kernel"], arrays["bias"]])
    y, _ = dense_forward(**arrays, activation="relu")
    np.testing.assert_allclose(y, np.asarray(layer(arrays["x"])), rtol=1e-5, atol=1e-5)


def test_only_what_is_wanted(isa):
    rng = np.random.default_rng(4)
    arrays = case(rng, 10, 6, 5, np.float64)
    dy = rng.standard_normal((10, 5))
    _, saved = dense_forward(**arrays, activation="tanh")
    everything = dense_backward(saved, dy, keep=True)
    for name in ("x", "kernel", "bias"):
        only = dense_backward(saved, dy, wanted=(name,), keep=True)
        for other in ("x", "kernel", "bias"):
            if other == name:
                np.testing.assert_array_equal(getattr(only, name), getattr(everything, name))
            else:
                assert getattr(only, other) is None
    assert dense_backward(saved, dy, wanted=()) == (None, None, None)


@pytest.mark.parametrize("rows", [10, 600])
def test_gradients_are_added_into(isa, rows):
    rng = np.random.default_rng(5)
    arrays = case(rng, rows, 6, 5, np.float64)
    dy = rng.standard_normal((rows, 5))
    _, saved = dense_forward(**arrays)
    fresh = dense_backward(saved, dy, keep=True)
    into = {"kernel": rng.standard_normal((6, 5)), "bias": rng.standard_normal(5)}
    before = {name: array.copy() for name, array in into.items()}
    added = dense_backward(saved, dy, into=into)
    for name, array in into.items():
        assert getattr(added, name) is array
        np.testing.assert_allclose(array, before[name] + getattr(fresh, name), rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(added.x, fresh.x)


@pytest.mark.parametrize("shape", [(700, 70, 90), (3, 700, 900), (700, 300, 3), (8, 4, 5000)])
def test_any_team_gives_the_same_bits(isa, shape):
    rng = np.random.default_rng(6)
    arrays = case(rng, *shape, np.float32)
    dy = rng.standard_normal((shape[0], shape[2])).astype(np.float32)
    results = []
    for threads in (1, 2, 3):
        try:
            set_num_threads(threads)
            y, saved = dense_forward(**arrays, activation="tanh")
            results.append((y, *dense_backward(saved, dy)))
        finally:
            set_num_threads(0)
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_row_does_not_depend_on_its_place(isa):
    rng = np.random.default_rng(7)
    arrays = case(rng, 100, 30, 21, np.float32)
    whole, _ = dense_forward(**arrays)
    for r in (0, 5, 63, 64, 99):
        alone, _ = dense_forward(arrays["x"][r : r + 1], arrays["kernel"], arrays["bias"])
        np.testing.assert_array_equal(whole[r : r + 1], alone)


@pytest.mark.parametrize("rows", [0, 3])
@pytest.mark.parametrize("features", [0, 4])
@pytest.mark.parametrize("units", [0, 5])
def test_empty(isa, rows, features, units):
    rng = np.random.default_rng(8)
    arrays = case(rng, rows, features, units, np.float32)
    y, saved = dense_forward(**arrays)
    np.testing.assert_allclose(y, reference.dense(**arrays), rtol=1e-5, atol=1e-5)
    grads = dense_backward(saved, np.ones_like(y))
    np.testing.assert_allclose(grads.bias, np.full(units, rows))
    np.testing.assert_allclose(grads.kernel, arrays["x"].T @ np.ones_like(y), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(grads.x, np.ones_like(y) @ arrays["kernel"].T, rtol=1e-5, atol=1e-6)


def test_conversion(isa):
    """Bools, integers, lists, strided and read-only arrays; the kernel's dtype decides."""
    kernel = np.arange(6.0).reshape(3, 2)
    x = np.array([[True, False, True]])
    np.testing.assert_array_equal(dense_forward(x, kernel)[0], [[4, 6]])
    assert dense_forward(x, kernel)[0].dtype == np.float64
    assert dense_forward([[1, 0, 1]], kernel.astype(np.float32))[0].dtype == np.float32
    wide = np.arange(24.0).reshape(4, 6)
    wide.flags.writeable = False
    np.testing.assert_array_equal(dense_forward(wide[::2, ::2], kernel)[0], wide[::2, ::2] @ kernel)
    np.testing.assert_array_equal(dense_forward(wide[:, :2], kernel.T)[0], wide[:, :2] @ kernel.T)


def test_nan_and_inf_stay_in_their_row(isa):
    rng = np.random.default_rng(9)
    arrays = case(rng, 20, 5, 7, np.float32)
    expected, _ = dense_forward(**arrays, activation="relu")
    arrays["x"][3, 1], arrays["x"][4, 2] = np.nan, np.inf
    y, _ = dense_forward(**arrays, activation="relu")
    assert np.isnan(y[3]).all()
    assert not np.isfinite(y[4]).all()
    np.testing.assert_array_equal(np.delete(y, [3, 4], 0), np.delete(expected, [3, 4], 0))


X, KERNEL, BIAS = np.ones((2, 3)), np.ones((3, 4)), np.ones(4)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((X, np.ones((2, 4))), "kernel must have shape (3, units) for these features, got (2, 4)"),
        ((X, np.ones(3)), "kernel must have shape (3, units) for these features, got (3,)"),
        ((X, KERNEL, np.ones(3)), "bias must have shape (4,), got (3,)"),
        ((X, KERNEL, np.ones((1, 4))), "bias must have shape (4,), got (1, 4)"),
        ((1.0, KERNEL), "x must have at least 1 dimension, got shape ()"),
    ],
)
def test_shape_errors(arguments, text):
    with pytest.raises(ValueError) as error:
        dense_forward(*arguments)
    assert str(error.value) == f"dense_forward: {text}"


def test_other_errors():
    with pytest.raises(TypeError) as error:
        dense_forward(X, KERNEL, activation=np.tanh)
    assert str(error.value) == "dense_forward: activation must be the name of one, got ufunc"
    with pytest.raises(ValueError, match=r"activation must be one of linear, .* got 'relo'"):
        dense_forward(X, KERNEL, activation="relo")
    with pytest.raises(TypeError, match="kernel must be an array of real numbers"):
        dense_forward(X, "kernel")
    _, saved = dense_forward(X, KERNEL, BIAS)
    with pytest.raises(ValueError) as error:
        dense_backward(saved, np.ones((4, 2)), keep=True)
    assert str(error.value) == "dense_backward: dy must have the shape of y, (2, 4), got (4, 2)"
    with pytest.raises(ValueError) as error:
        dense_backward(saved, np.ones((2, 4)), into={"kernel": np.ones((3, 3))}, keep=True)
    assert str(error.value) == "dense_backward: into['kernel'] must have shape (3, 4), got (3, 3)"
    with pytest.raises(TypeError) as error:
        dense_backward(saved, np.ones((2, 4)), into={"bias": np.ones(4, np.float32)}, keep=True)
    assert str(error.value) == (
        "dense_backward: into['bias'] must be a C-contiguous array of float64, "
        "got float32 array of shape (4,)"
    )
    frozen = np.ones(4)
    frozen.flags.writeable = False
    with pytest.raises(ValueError) as error:
        dense_backward(saved, np.ones((2, 4)), into={"bias": frozen}, keep=True)
    assert str(error.value) == "dense_backward: into['bias'] must be writable, got a read-only array"
    with pytest.raises(ValueError) as error:
        dense_backward(saved, np.ones((2, 4)), wanted=("weights",), keep=True)
    assert str(error.value) == "dense_backward: wanted must name some of x, kernel, bias, got 'weights'"
    dense_backward(saved, np.ones((2, 4)))
    with pytest.raises(RuntimeError) as error:
        dense_backward(saved, np.ones((2, 4)))
    assert str(error.value) == (
        "dense_backward: saved must be used once unless kept with keep=True, got one that is consumed"
    )
