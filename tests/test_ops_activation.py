"""Activations and softmax against their twins, with gradients, on every instruction set."""

import numpy as np
import pytest
import reference
from gradcheck import check_gradients

from fastseq import _core, ops, set_num_threads

TOLERANCE = {np.float32: 2e-6, np.float64: 1e-14}
OF_OUTPUT = [
    "linear",
    "tanh",
    "sigmoid",
    "relu",
    "hard_sigmoid",
    "relu6",
    "softsign",
    "softplus",
    "elu",
    "selu",
    "exponential",
    "leaky_relu",
]
OF_INPUT = [
    "gelu",
    "gelu_tanh",
    "silu",
    "swish",
    "hard_silu",
    "hard_swish",
    "mish",
    "log_sigmoid",
    "hard_tanh",
]
ROWS = ["softmax", "log_softmax"]
INF = float("inf")


def edge_sizes(dtype):
    """1, one lane short of a register, one register, one over, and a plain size."""
    lanes = _core.vector_bytes() // np.dtype(dtype).itemsize
    return sorted({0, 1, max(lanes - 1, 1), lanes, lanes + 1, 3 * lanes + 5})


def twin(name, x, **options):
    if name == "gelu_tanh":
        return reference.gelu(x, approximate=True)
    return reference.activation(name)(x, **options)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", OF_OUTPUT + OF_INPUT)
def test_values(isa, name, dtype):
    tolerance = TOLERANCE[dtype]
    for size in edge_sizes(dtype):
        x = np.linspace(-9, 9, size, dtype=dtype) if size > 1 else np.full(size, 0.7, dtype)
        y, saved = ops.activation_forward(x, name, training=False)
        assert saved is None
        assert y.dtype == dtype
        np.testing.assert_allclose(y, twin(name, x), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", OF_OUTPUT + OF_INPUT)
def test_gradient(isa, name):
    rng = np.random.default_rng(0)
    for size in edge_sizes(np.float64)[1:]:
        # no value within 1e-3 of a kink at 0, 1, 3 or 6
        x = rng.uniform(-8, 8, 4 * size)
        x = x[np.abs(np.abs(x)[:, None] - [0, 1, 3, 6]).min(-1) > 1e-3][:size]
        check_gradients(ops.activation_forward, ops.activation_backward, {"x": x}, name=name)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ROWS)
def test_rows(isa, name, dtype):
    tolerance = TOLERANCE[dtype]
    rng = np.random.default_rng(1)
    forward, backward = getattr(ops, f"{name}_forward"), getattr(ops, f"{name}_backward")
    for classes in edge_sizes(dtype)[1:]:
        x = (5 * rng.standard_normal((4, 2, classes))).astype(dtype)
        y, _ = forward(x)
        assert y.dtype == dtype
        np.testing.assert_allclose(y, twin(name, x), rtol=20 * tolerance, atol=tolerance)
        np.testing.assert_array_equal(y, ops.activation_forward(x, name)[0])
        if dtype is np.float64:
            check_gradients(forward, backward, {"x": x})
            check_gradients(ops.activation_forward, ops.activation_backward, {"x": x}, name=name)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_parameters(isa, dtype):
    x = np.linspace(-4, 9, 41, dtype=dtype)
    tolerance = TOLERANCE[dtype]
    y, _ = ops.activation_forward(x, "relu", parameters=(0.1, 5.0, 1.0))
    expected = reference.relu(x, negative_slope=0.1, max_value=5.0, threshold=1.0)
    np.testing.assert_allclose(y, expected, rtol=tolerance, atol=tolerance)
    y, _ = ops.activation_forward(x, "elu", parameters=(0.3, 1.0, 0.0))
    np.testing.assert_allclose(y, reference.elu(x, alpha=0.3), rtol=tolerance, atol=tolerance)
    for name, parameters in (("relu", (0.1, 5.0, 1.0)), ("elu", (0.3, 0.5, 0.0))):
        check_gradients(
            ops.activation_forward,
            ops.activation_backward,
            {"x": np.linspace(-4.05, 9, 40)},
            name=name,
            parameters=parameters,
        )


def test_extremes(isa):
    """What happens at infinity, at NaN and where exp overflows."""
    x = np.array([-INF, -1e4, -0.0, 1e4, INF, np.nan], np.float32)
    values = {
        "tanh": [-1, -1, 0, 1, 1],
        "sigmoid": [0, 0, 0.5, 1, 1],
        "relu": [0, 0, 0, 1e4, INF],
        "relu6": [0, 0, 0, 6, 6],
        "hard_sigmoid": [0, 0, 0.5, 1, 1],
        "softplus": [0, 0, np.log(2), 1e4, INF],
        "exponential": [0, 0, 1, INF, INF],
        "elu": [-1, -1, 0, 1e4, INF],
        "hard_tanh": [-1, -1, 0, 1, 1],
        "log_sigmoid": [-INF, -1e4, -np.log(2), 0, 0],
    }
    for name, expected in values.items():
        y, _ = ops.activation_forward(x, name)
        np.testing.assert_allclose(y[:-1], expected, rtol=1e-6, atol=1e-30, err_msg=name)
        assert np.isnan(y[-1]), name
    y, _ = ops.activation_forward(x, "relu", parameters=(0.0, 6.0, 0.0))
    np.testing.assert_array_equal(y, [0, 0, 0, 6, 6, np.nan])


@pytest.mark.parametrize("name", ["tanh", "sigmoid", "exponential"])
def test_last_bits(isa, name):
    """float32 within a few units of its last place, from 0 to where the results stop being normal numbers."""
    size = np.geomspace(1e-6, 87, 200_000)
    x = np.concatenate([-size, size]).astype(np.float32)
    y, _ = ops.activation_forward(x, name, training=False)
    exact = twin(name, x.astype(np.float64))
    units = np.abs(y - exact) / np.spacing(np.abs(exact).astype(np.float32))
    assert units[np.abs(x) < 10].max() < 2.6
    assert units.max() < 6


def test_softmax_extremes(isa):
    x = np.array([[1e4, 0, -1e4], [-INF, 0, 0], [np.nan, 0, 0], [INF, 0, 0]], np.float32)
    y, _ = ops.softmax_forward(x)
    np.testing.assert_allclose(y[:2], [[1, 0, 0], [0, 0.5, 0.5]])
    assert np.isnan(y[2:]).all()
    y, _ = ops.log_softmax_forward(x)
    np.testing.assert_allclose(y[:2], [[0, -1e4, -2e4], [-INF, -np.log(2), -np.log(2)]], rtol=1e-6)


def test_any_place_and_any_team_gives_the_same_bits(isa):
    rng = np.random.default_rng(2)
    x = rng.standard_normal(200_000).astype(np.float32)
    for name in ("tanh", "gelu"):
        whole, saved = ops.activation_forward(x, name)
        gradient = ops.activation_backward(saved, x).x
        alone = np.concatenate([ops.activation_forward(x[i : i + 1], name)[0] for i in range(40)])
        np.testing.assert_array_equal(whole[:40], alone)
        try:
            set_num_threads(2)
            again, saved = ops.activation_forward(x, name)
            np.testing.assert_array_equal(whole, again)
            np.testing.assert_array_equal(gradient, ops.activation_backward(saved, x).x)
        finally:
            set_num_threads(0)


def test_conversion(isa):
    """Integers and bools become float32; strided, read-only and empty arrays work."""
    for x in ([-1, 2], np.array([True, False]), np.arange(4, dtype=np.int16), np.float16([1.5])):
        y, _ = ops.activation_forward(x, "tanh")
        assert y.dtype == np.float32
        np.testing.assert_allclose(y, np.tanh(np.asarray(x, np.float64)), rtol=1e-6)
    x = np.arange(24.0).reshape(4, 6)
    x.flags.writeable = False
    np.testing.assert_array_equal(ops.activation_forward(x[::2, 1::2], "relu")[0], x[::2, 1::2])
    assert ops.softmax_forward(np.zeros((0, 3)))[0].shape == (0, 3)
    assert ops.softmax_forward(np.zeros((3, 0)))[0].shape == (3, 0)


NAMES = ", ".join(OF_OUTPUT + OF_INPUT)


def test_errors():
    with pytest.raises(ValueError) as error:
        ops.activation_forward([1.0], "tanhh")
    assert str(error.value) == f"activation_forward: activation must be one of {NAMES}, got 'tanhh'"
    with pytest.raises(TypeError) as error:
        ops.activation_forward([1.0], None)
    assert str(error.value) == "activation_forward: activation must be the name of one, got None"
    with pytest.raises(ValueError) as error:
        ops.activation_forward([1.0], "tanh", parameters=(1.0, 2.0, 3.0))
    assert (
        str(error.value)
        == "activation_forward: activation must be relu or elu to have parameters, got 'tanh'"
    )
    with pytest.raises(TypeError) as error:
        ops.activation_forward(["a"], "tanh")
    assert str(error.value).startswith("activation_forward: x must be an array of real numbers, got ")
    with pytest.raises(ValueError) as error:
        ops.softmax_forward(1.0)
    assert str(error.value) == "softmax_forward: x must have at least 1 dimension, got shape ()"


def test_backward_errors():
    _, saved = ops.activation_forward(np.ones((2, 3)), "tanh")
    with pytest.raises(ValueError) as error:
        ops.activation_backward(saved, np.ones((3, 2)), keep=True)
    assert str(error.value) == "activation_backward: dy must have the shape of y, (2, 3), got (3, 2)"
    with pytest.raises(ValueError) as error:
        ops.activation_backward(saved, np.ones((2, 3)), wanted=("y",))
    assert str(error.value) == "activation_backward: wanted must name some of x, got 'y'"
    assert ops.activation_backward(saved, np.ones((2, 3)), wanted=(), keep=True).x is None
    first = ops.activation_backward(saved, np.ones((2, 3)), keep=True).x
    np.testing.assert_array_equal(first, ops.activation_backward(saved, np.ones((2, 3))).x)
    with pytest.raises(RuntimeError) as error:
        ops.activation_backward(saved, np.ones((2, 3)))
    assert str(error.value) == (
        "activation_backward: saved must be used once unless kept with keep=True, got one that is consumed"
    )
    with pytest.raises(TypeError) as error:
        ops.softmax_backward(saved, np.ones((2, 3)))
    assert str(error.value) == (
        "softmax_backward: saved must be what softmax_forward returned with training=True, "
        "got what activation_forward returned"
    )
    with pytest.raises(TypeError) as error:
        ops.activation_backward(None, np.ones((2, 3)))
    assert str(error.value) == (
        "activation_backward: saved must be what activation_forward returned with training=True, got None"
    )
