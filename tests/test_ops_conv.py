"""Convolution against its twin and Keras, with gradients, on every instruction set."""

import numpy as np
import pytest
import reference
from gradcheck import check_gradients

from fastseq import _core, set_num_threads
from fastseq.ops import (
    conv2d,
    conv2d_backward,
    conv2d_forward,
    max_pool2d_backward,
    max_pool2d_forward,
)

TOLERANCE = {np.float32: 1e-5, np.float64: 1e-12}
STEP = 3e-6  # a direction moves a sum of a hundred terms by many steps: small ones keep the curvature out


def edges(dtype):
    """Filters around one register, and more than one panel of them."""
    lanes = _core.vector_bytes() // np.dtype(dtype).itemsize
    return [1, max(lanes - 1, 1), lanes, lanes + 1, 4 * lanes + 3]


def case(rng, image, window, filters, dtype):
    batch, high, wide, channels = image
    scale = (window[0] * window[1] * channels) ** -0.25
    return {
        "x": (scale * rng.standard_normal((batch, high, wide, channels))).astype(dtype),
        "kernel": (scale * rng.standard_normal((*window, channels, filters))).astype(dtype),
        "bias": rng.standard_normal(filters).astype(dtype),
    }


# (batch, height, width, channels), window, options: odd sizes, every way in which windows are read
CASES = [
    ((2, 6, 20, 1), (3, 3), {"padding": "same"}),
    ((2, 7, 19, 1), (3, 3), {}),
    ((1, 9, 70, 3), (3, 3), {"padding": "same"}),
    ((1, 5, 131, 2), (2, 5), {"padding": "same"}),
    ((2, 8, 33, 3), (5, 5), {"padding": "same", "strides": 2}),
    ((2, 9, 36, 15), (3, 3), {"padding": "same", "strides": 2}),
    ((2, 7, 40, 5), (3, 2), {"strides": (2, 1)}),
    ((2, 7, 41, 5), (2, 3), {"strides": (1, 2), "padding": "same"}),
    ((2, 6, 37, 16), (1, 1), {}),
    ((2, 6, 37, 4), (1, 1), {"strides": 2}),
    ((2, 6, 37, 4), (1, 1), {"strides": 3, "padding": "same"}),
    ((2, 11, 24, 17), (3, 3), {"dilation_rate": 2, "padding": "same"}),
    ((2, 9, 25, 3), (2, 3), {"dilation_rate": (2, 1)}),
    ((2, 9, 25, 3), (3, 2), {"dilation_rate": (1, 3), "padding": "same"}),
    ((3, 5, 7, 9), (3, 3), {"padding": "same"}),
    ((2, 4, 5, 3), (4, 5), {}),
    ((2, 3, 3, 3), (5, 5), {"padding": "same"}),
    ((2, 9, 21, 2), (2, 2), {"strides": 3}),
    ((2, 8, 23, 2), (1, 4), {"strides": (5, 1), "padding": "same"}),
    ((1, 6, 9, 2), (3, 3), {"strides": 2, "dilation_rate": 2, "padding": "same"}),
    ((1, 1, 80, 6), (1, 7), {"padding": "same"}),
    ((1, 40, 1, 6), (7, 1), {"padding": "same"}),
]
NAMES = [f"{image}-{window}-{options}" for image, window, options in CASES]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("image", "window", "options"), CASES, ids=NAMES)
def test_values(isa, image, window, options, dtype):
    rng = np.random.default_rng(0)
    for filters in edges(dtype):
        arrays = case(rng, image, window, filters, dtype)
        y, saved = conv2d_forward(**arrays, **options, activation="relu", training=False)
        assert saved is None
        assert y.dtype == dtype
        expected = reference.conv2d(**arrays, **options, activation="relu")
        np.testing.assert_allclose(y, expected, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])
    y = conv2d(arrays["x"], arrays["kernel"], **options)
    expected = reference.conv2d(arrays["x"], arrays["kernel"], **options)
    np.testing.assert_allclose(y, expected, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


@pytest.mark.parametrize(("image", "window", "options"), CASES, ids=NAMES)
def test_gradients(isa, image, window, options):
    rng = np.random.default_rng(1)
    for filters in edges(np.float64):
        arrays = case(rng, image, window, filters, np.float64)
        check_gradients(conv2d_forward, conv2d_backward, arrays, activation="tanh", step=STEP, **options)
    without_bias = {k: v for k, v in arrays.items() if k != "bias"}
    check_gradients(conv2d_forward, conv2d_backward, without_bias, step=STEP, **options)


@pytest.mark.parametrize("activation", ["linear", "relu", "softplus", "gelu", "softmax"])
def test_gradients_of_activations(isa, activation):
    rng = np.random.default_rng(2)
    for channels in (1, 3, 8):
        arrays = case(rng, (3, 6, 22, channels), (3, 3), 5, np.float64)
        options = {"padding": "same", "activation": activation, "step": STEP}
        check_gradients(conv2d_forward, conv2d_backward, arrays, **options)
        # without x's gradient that of the sums is made on the way
        wanted = ("kernel", "bias")
        check_gradients(conv2d_forward, conv2d_backward, arrays, wanted=wanted, **options)


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("channels", [1, 3, 15, 16, 17])
@pytest.mark.parametrize(
    ("size", "window", "options"),
    [
        ((12, 30), (3, 3), {}),
        ((13, 31), (5, 5), {"strides": 2}),
        ((12, 31), (3, 4), {"strides": (3, 2)}),
        ((12, 30), (2, 2), {"strides": 2}),
        ((13, 29), (3, 3), {"dilation_rate": 2}),
        ((9, 17), (3, 2), {"dilation_rate": (2, 3)}),
        ((8, 9), (1, 1), {"strides": 2}),
    ],
)
def test_against_keras(padding, channels, size, window, options):
    keras = pytest.importorskip("keras")
    tensorflow = pytest.importorskip("tensorflow")
    rng = np.random.default_rng(3)
    arrays = case(rng, (2, *size, channels), window, 18, np.float32)
    y, saved = conv2d_forward(**arrays, **options, padding=padding)
    dy = rng.standard_normal(y.shape).astype(np.float32)
    gradients = conv2d_backward(saved, dy)
    given = {name: options.get(name, 1) for name in ("strides", "dilation_rate")}
    x, kernel, bias = (tensorflow.Variable(arrays[name]) for name in ("x", "kernel", "bias"))
    with tensorflow.GradientTape() as tape:
        theirs = keras.ops.conv(x, kernel, **given, padding=padding) + bias
    np.testing.assert_allclose(y, theirs, rtol=2e-5, atol=2e-5)
    for ours, expected in zip(gradients, tape.gradient(theirs, [x, kernel, bias], dy), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-4)


POOLED = [
    ((2, 9, 41, 1), (3, 3), {"padding": "same", "pool_size": 2}),
    ((3, 8, 70, 3), (3, 3), {"padding": "same", "pool_size": (2, 3)}),
    ((2, 9, 20, 5), (2, 3), {"pool_size": (3, 1)}),
    ((2, 7, 9, 4), (3, 3), {"pool_size": (1, 2)}),
    ((2, 9, 133, 2), (1, 1), {"pool_size": (2, 70)}),
    ((2, 13, 29, 3), (5, 5), {"padding": "same", "strides": 2, "pool_size": 2}),
    ((2, 13, 29, 3), (3, 2), {"padding": "same", "dilation_rate": 2, "pool_size": (4, 5)}),
]


@pytest.mark.parametrize("activation", ["linear", "relu", "tanh"])
@pytest.mark.parametrize(("image", "window", "options"), POOLED, ids=str)
def test_pooled_on_the_way_is_pooled_afterwards(isa, image, window, options, activation):
    """The same maxima and gradients as by the two operations one after the other."""
    rng = np.random.default_rng(20)
    size = options["pool_size"]
    plain = {name: value for name, value in options.items() if name != "pool_size"}
    for dtype in (np.float32, np.float64):
        for filters in edges(dtype):
            arrays = case(rng, image, window, filters, dtype)
            given = {"activation": activation, **arrays}
            y, saved = conv2d_forward(**given, **options)
            whole, saved_whole = conv2d_forward(**given, **plain)
            expected, saved_pool = max_pool2d_forward(whole, pool_size=size)
            np.testing.assert_array_equal(y, expected)
            np.testing.assert_array_equal(y, conv2d(**given, **options))
            dy = rng.standard_normal(y.shape).astype(dtype)
            theirs = conv2d_backward(saved_whole, max_pool2d_backward(saved_pool, dy).x)
            ours = conv2d_backward(saved, dy, keep=True)
            without_x = conv2d_backward(saved, dy, wanted=("kernel", "bias"))
            tolerance = {"rtol": 10 * TOLERANCE[dtype], "atol": 10 * TOLERANCE[dtype]}
            for name in ("x", "kernel", "bias"):
                np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), **tolerance)
                if name != "x":
                    np.testing.assert_allclose(getattr(without_x, name), getattr(theirs, name), **tolerance)


@pytest.mark.parametrize(("image", "window", "options"), POOLED, ids=str)
def test_pooled_gradients(isa, image, window, options):
    rng = np.random.default_rng(21)
    arrays = case(rng, image, window, 5, np.float64)
    check_gradients(conv2d_forward, conv2d_backward, arrays, activation="tanh", step=1e-7, tolerance=1e-5,
                    **options)  # fmt: skip


def test_only_what_is_wanted(isa):
    rng = np.random.default_rng(4)
    arrays = case(rng, (2, 5, 18, 3), (3, 3), 5, np.float64)
    y, saved = conv2d_forward(**arrays, activation="tanh")
    dy = rng.standard_normal(y.shape)
    everything = conv2d_backward(saved, dy, keep=True)
    for name in ("x", "kernel", "bias"):
        only = conv2d_backward(saved, dy, wanted=(name,), keep=True)
        for other in ("x", "kernel", "bias"):
            if other == name:
                np.testing.assert_array_equal(getattr(only, name), getattr(everything, name))
            else:
                assert getattr(only, other) is None
    assert conv2d_backward(saved, dy, wanted=()) == (None, None, None)


@pytest.mark.parametrize("image", [(1, 5, 18, 3), (40, 9, 18, 3)])
def test_gradients_are_added_into(isa, image):
    rng = np.random.default_rng(5)
    arrays = case(rng, image, (3, 3), 5, np.float64)
    y, saved = conv2d_forward(**arrays)
    dy = rng.standard_normal(y.shape)
    fresh = conv2d_backward(saved, dy, keep=True)
    into = {name: rng.standard_normal(arrays[name].shape) for name in ("kernel", "bias")}
    before = {name: array.copy() for name, array in into.items()}
    added = conv2d_backward(saved, dy, into=into)
    for name, array in into.items():
        assert getattr(added, name) is array
        np.testing.assert_allclose(array, before[name] + getattr(fresh, name), rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(added.x, fresh.x)


@pytest.mark.parametrize(
    ("image", "window", "filters", "options"),
    [
        ((33, 32, 40, 1), (3, 3), 16, {"padding": "same"}),
        ((5, 32, 33, 16), (3, 3), 16, {"padding": "same"}),
        ((2, 40, 41, 3), (5, 5), 64, {"strides": 2}),
        ((1, 60, 61, 17), (3, 3), 15, {"padding": "same"}),
        ((30, 9, 9, 33), (3, 3), 40, {"padding": "same"}),
        ((2, 6, 7, 300), (3, 3), 700, {}),
        ((33, 32, 40, 1), (3, 3), 16, {"padding": "same", "pool_size": 2}),
        ((5, 33, 45, 9), (3, 3), 17, {"padding": "same", "pool_size": (3, 2)}),
    ],
)
def test_any_team_gives_the_same_bits(isa, image, window, filters, options):
    rng = np.random.default_rng(6)
    arrays = case(rng, image, window, filters, np.float32)
    results = []
    for threads in (1, 2, 3):
        try:
            set_num_threads(threads)
            y, saved = conv2d_forward(**arrays, activation="relu", **options)
            dy = np.random.default_rng(7).standard_normal(y.shape).astype(np.float32)
            first = conv2d_backward(saved, dy, wanted=("kernel", "bias"), keep=True)
            results.append((y, *first[1:], *conv2d_backward(saved, dy)))
        finally:
            set_num_threads(0)
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_an_image_does_not_depend_on_its_place(isa):
    rng = np.random.default_rng(8)
    for wide in (7, 21):
        arrays = case(rng, (9, 6, wide, 3), (3, 3), 13, np.float32)
        whole, _ = conv2d_forward(**arrays, padding="same")
        for n in (0, 4, 8):
            alone = conv2d(arrays["x"][n : n + 1], arrays["kernel"], arrays["bias"], padding="same")
            np.testing.assert_array_equal(whole[n : n + 1], alone)


@pytest.mark.parametrize("batch", [0, 2])
@pytest.mark.parametrize("channels", [0, 4])
@pytest.mark.parametrize("filters", [0, 5])
@pytest.mark.parametrize("wide", [0, 3, 20])
def test_empty(isa, batch, channels, filters, wide):
    rng = np.random.default_rng(9)
    arrays = case(rng, (batch, 4, wide, max(channels, 1)), (3, 3), filters, np.float32)
    arrays["x"], arrays["kernel"] = arrays["x"][..., :channels], arrays["kernel"][:, :, :channels]
    y, saved = conv2d_forward(**arrays, padding="same")
    assert y.shape == (batch, 4, wide, filters)
    np.testing.assert_allclose(y, reference.conv2d(**arrays, padding="same"), rtol=1e-5, atol=1e-5)
    gradients = conv2d_backward(saved, np.ones_like(y))
    np.testing.assert_allclose(gradients.bias, np.full(filters, batch * 4 * wide))
    assert gradients.x.shape == arrays["x"].shape
    assert gradients.kernel.shape == arrays["kernel"].shape
    if gradients.x.size and not filters:
        assert not gradients.x.any()
    if not batch * wide:
        assert not gradients.kernel.any()


def test_conversion(isa):
    """Bools, integers, lists, strided and read-only arrays; the kernel's dtype decides."""
    rng = np.random.default_rng(10)
    kernel = rng.standard_normal((2, 3, 4, 5))
    wide = rng.standard_normal((2, 10, 24, 8))
    wide.flags.writeable = False
    x = wide[:, ::2, ::3, ::2]
    expected = reference.conv2d(x, kernel)
    y, saved = conv2d_forward(x, kernel)
    np.testing.assert_allclose(y, expected, rtol=1e-12, atol=1e-12)
    turned = np.asfortranarray(np.ones_like(y))
    same = conv2d_backward(saved, turned, keep=True)
    for a, b in zip(same, conv2d_backward(saved, np.ones_like(y)), strict=True):
        assert a is b is None or (a == b).all()
    np.testing.assert_allclose(conv2d(x.transpose(0, 2, 1, 3), kernel.transpose(1, 0, 2, 3)),
                               expected.transpose(0, 2, 1, 3), rtol=1e-12, atol=1e-12)  # fmt: skip
    bools = wide[:1] > 0
    assert conv2d(bools, np.ones((1, 1, 8, 1), np.float32)).dtype == np.float32
    np.testing.assert_array_equal(
        conv2d(bools, np.ones((1, 1, 8, 1))), bools.sum(axis=3, keepdims=True).astype(np.float64)
    )
    assert conv2d([[[[1], [2]]]], np.ones((1, 2, 1, 1))).tolist() == [[[[3.0]]]]


def test_nan_and_inf_stay_in_their_windows(isa):
    rng = np.random.default_rng(11)
    arrays = case(rng, (2, 6, 30, 3), (3, 3), 7, np.float32)
    expected, _ = conv2d_forward(**arrays, padding="same", activation="relu")
    arrays["x"][0, 2, 9, 1], arrays["x"][1, 4, 20, 2] = np.nan, np.inf
    y, _ = conv2d_forward(**arrays, padding="same", activation="relu")
    seen = np.zeros(y.shape, bool)
    seen[0, 1:4, 8:11] = seen[1, 3:6, 19:22] = True
    assert np.isnan(y[0, 1:4, 8:11]).all()
    np.testing.assert_array_equal(y[~seen], expected[~seen])


X, KERNEL, BIAS = np.ones((2, 5, 6, 3)), np.ones((3, 3, 3, 4)), np.ones(4)
FITS = "kernel must have shape (height, width, 3, filters) for these channels"


@pytest.mark.parametrize(
    ("arguments", "options", "text"),
    [
        ((X, np.ones((3, 3, 2, 4))), {}, f"{FITS}, got (3, 3, 2, 4)"),
        ((X, np.ones((3, 3, 4))), {}, "kernel must have 4 dimensions, got shape (3, 3, 4)"),
        ((X, KERNEL, np.ones(3)), {}, "bias must have shape (4,), got (3,)"),
        ((X[0], KERNEL), {}, "x must have shape (batch, height, width, channels), got (5, 6, 3)"),
        ((X, np.ones((6, 3, 3, 4))), {},
         "x must be at least 6 high, as the window is, got shape (2, 5, 6, 3)"),
        ((X, KERNEL), {"dilation_rate": (1, 3)},
         "x must be at least 7 wide, as the window is, got shape (2, 5, 6, 3)"),
        ((X, KERNEL), {"padding": "causal"}, "padding must be same or valid, got 'causal'"),
        ((X, KERNEL), {"padding": 1}, "padding must be same or valid, got 1"),
        ((X, KERNEL), {"strides": (1, 2, 3)}, "strides must be an integer or two of them, got '(1, 2, 3)'"),
        ((X, KERNEL), {"pool_size": (1, 5)},
         "pool_size must be at most the output, 4 along this axis, got 5"),
        ((X, KERNEL), {"strides": 0}, "strides must be at least 1, got 0"),
        ((X, KERNEL), {"dilation_rate": (1, 0)}, "dilation_rate must be at least 1, got 0"),
    ],
)  # fmt: skip
def test_value_errors(arguments, options, text):
    with pytest.raises(ValueError) as error:
        conv2d_forward(*arguments, **options)
    assert str(error.value) == f"conv2d_forward: {text}"


def test_other_errors():
    with pytest.raises(TypeError) as error:
        conv2d_forward(X, KERNEL, activation=np.tanh)
    assert str(error.value) == "conv2d_forward: activation must be the name of one, got ufunc"
    with pytest.raises(TypeError) as error:
        conv2d_forward(X, KERNEL, strides=1.5)
    assert str(error.value) == "conv2d_forward: strides must be an integer, got 1.5"
    with pytest.raises(ValueError, match=r"activation must be one of linear, .* got 'relo'"):
        conv2d_forward(X, KERNEL, activation="relo")
    with pytest.raises(TypeError, match="kernel must be an array of real numbers"):
        conv2d_forward(X, "kernel")
    _, saved = conv2d_forward(X, KERNEL, BIAS)
    with pytest.raises(ValueError) as error:
        conv2d_backward(saved, np.ones((2, 3, 4)), keep=True)
    text = "dy must have the shape of y, (2, 3, 4, 4), got (2, 3, 4)"
    assert str(error.value) == f"conv2d_backward: {text}"
    with pytest.raises(ValueError) as error:
        conv2d_backward(saved, np.ones((2, 3, 4, 4)), into={"kernel": np.ones((3, 3))}, keep=True)
    assert str(error.value) == "conv2d_backward: into['kernel'] must have shape (3, 3, 3, 4), got (3, 3)"
    with pytest.raises(ValueError) as error:
        conv2d_backward(saved, np.ones((2, 3, 4, 4)), wanted=("weights",), keep=True)
    assert str(error.value) == "conv2d_backward: wanted must name some of x, kernel, bias, got 'weights'"
    conv2d_backward(saved, np.ones((2, 3, 4, 4)))
    with pytest.raises(RuntimeError) as error:
        conv2d_backward(saved, np.ones((2, 3, 4, 4)))
    assert str(error.value) == (
        "conv2d_backward: saved must be used once unless kept with keep=True, got one that is consumed"
    )
