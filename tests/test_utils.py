"""Keras's utils beside Keras's own, and the type of floats that is set for all."""

import random

import numpy as np
import pytest
from keras_twin import keras

import fastseq
from fastseq import backend, layers, utils


@pytest.mark.parametrize(
    "labels", [[0, 2, 1], [[0], [3]], [[0, 1], [2, 2]], [[[1], [0]], [[4], [4]]], 3, np.array([1.0, 0.0])]
)
@pytest.mark.parametrize("classes", [None, 6])
def test_to_categorical(labels, classes):
    ours, theirs = utils.to_categorical(labels, classes), keras.utils.to_categorical(labels, classes)
    np.testing.assert_array_equal(ours, theirs)
    assert ours.dtype == theirs.dtype
    assert utils.to_categorical(labels, classes, dtype="bool").dtype == np.bool_


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("order", [1, 2, np.inf])
def test_normalize(axis, order):
    x = np.random.default_rng(0).normal(size=(3, 4))
    x[1] = 0
    if axis:  # Keras takes axis 0 for the last one
        np.testing.assert_allclose(utils.normalize(x, axis, order), keras.utils.normalize(x, axis, order))
    np.testing.assert_allclose(np.linalg.norm(utils.normalize(x + 1, axis, order), order, axis), 1)
    assert not utils.normalize(x, 1, order)[1].any()


@pytest.mark.parametrize("padding", ["pre", "post"])
@pytest.mark.parametrize("truncating", ["pre", "post"])
@pytest.mark.parametrize("maxlen", [None, 2, 5])
@pytest.mark.parametrize(
    ("sequences", "options"),
    [
        ([[1, 2, 3], [], [4]], {}),
        ([[1.5, 2.5], [3.5, 1.0, 2.0, 9.0]], {"dtype": "float32", "value": -1.0}),
        ([[[1, 2], [3, 4], [5, 6]], [[7, 8]]], {"value": 9}),
        ([np.arange(3), np.arange(1)], {"dtype": "int64"}),
        ([["a", "b", "c"], ["d"]], {"dtype": object, "value": "pad"}),
    ],
)
def test_pad_sequences(sequences, options, maxlen, padding, truncating):
    options = {**options, "padding": padding, "truncating": truncating, "maxlen": maxlen}
    ours, theirs = utils.pad_sequences(sequences, **options), keras.utils.pad_sequences(sequences, **options)
    np.testing.assert_array_equal(ours, theirs)
    assert ours.dtype == theirs.dtype


def test_set_random_seed():
    draws = []
    for _ in range(2):
        utils.set_random_seed(5)
        draws.append((random.random(), np.random.rand(), layers.Dense(3)(np.ones((1, 2))).tolist()))  # noqa: NPY002
    assert draws[0] == draws[1]


def functional():
    x = layers.Input((4, 3), name="x")
    y = layers.Input((4, 3), name="y")
    shared = layers.LSTM(5, return_sequences=True, kernel_regularizer="l2", name="shared")
    a, b = shared(x), shared(y)
    h = layers.Bidirectional(layers.GRU(3, return_sequences=True), name="both")(a + 2.0 * b)
    inner = fastseq.Sequential([layers.Dense(2, input_shape=(4, 6))], name="inner")
    return fastseq.Model({"x": x, "y": y}, [inner(h), layers.Dense(1, name="out")(h[:, -1])], name="whole")


def test_clone_model():
    model = functional()
    clone = utils.clone_model(model)
    rng = np.random.default_rng(0)
    data = {name: rng.normal(size=(2, 4, 3)).astype(np.float32) for name in "xy"}
    assert clone.name == model.name
    assert [layer.name for layer in clone.layers] == [layer.name for layer in model.layers]
    assert not set(clone.layers) & set(model.layers)
    assert [w.shape for w in clone.weights] == [w.shape for w in model.weights]
    assert not set(clone.weights) & set(model.weights)
    before = clone.predict(data, verbose=0)
    assert not np.allclose(before[0], model.predict(data, verbose=0)[0])  # weights of its own
    clone.set_weights(model.get_weights())
    for a, b in zip(clone.predict(data, verbose=0), model.predict(data, verbose=0), strict=True):
        np.testing.assert_array_equal(a, b)
    clone.compile("sgd", "mse")
    model.compile("sgd", "mse")
    target = [np.zeros((2, 4, 2), np.float32), np.zeros((2, 1), np.float32)]
    assert clone.train_on_batch(data, target) == model.train_on_batch(data, target)


@pytest.mark.parametrize("built", [False, True])
def test_clone_sequential(built):
    shape = {"input_shape": (4, 3)} if built else {}
    model = fastseq.Sequential(
        [layers.LSTM(3, name="a", **shape), layers.Dense(2, "relu", name="b")], name="s"
    )
    clone = utils.clone_model(model)
    assert (clone.built, clone.name, [layer.name for layer in clone.layers]) == (built, "s", ["a", "b"])
    x = np.ones((2, 4, 3), np.float32)
    expected = model.predict(x, verbose=0)
    clone.predict(x, verbose=0)
    clone.set_weights(model.get_weights())
    np.testing.assert_array_equal(clone.predict(x, verbose=0), expected)


def test_clone_with_a_function_and_other_inputs():
    x = layers.Input((3,))
    model = fastseq.Model(x, layers.Dense(2, name="last")(layers.Dense(4, name="first")(x)))

    def keep_first(layer):
        return layer if layer.name == "first" else type(layer).from_config({**layer.get_config(), "units": 5})

    z = layers.Input((3,))
    clone = utils.clone_model(model, input_tensors=z, clone_function=keep_first)
    assert clone.input is z
    assert clone.get_layer("first") is model.get_layer("first")
    assert clone.output_shape == (None, 5)


def test_the_type_of_floats():
    assert (backend.floatx(), backend.epsilon()) == ("float32", 1e-7)
    try:
        backend.set_floatx("float64")
        x = layers.Input((4, 3))
        model = fastseq.Model(x, layers.Dense(2)(layers.LSTM(3)(x)))
        later = fastseq.Sequential([layers.Dense(2)])
        assert {v.dtype for v in model.weights} == {np.dtype(np.float64)}
        model.compile("adam", "huber", metrics=["mae"])
        data = np.random.default_rng(0).normal(size=(6, 4, 3))
        model.fit(data, data[:, 0, :2], epochs=2, verbose=0)
        assert (
            model.predict(data, verbose=0).dtype == later.predict(data[:, 0], verbose=0).dtype == np.float64
        )
    finally:
        backend.set_floatx("float32")
    assert layers.Input((3,)).dtype == np.float32


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: utils.to_categorical([0, 5], 3), ValueError, "to_categorical: x must lie in [0, 3), got 5"),
        (lambda: utils.to_categorical([0, -1]), ValueError, "to_categorical: x must lie in [0, 1), got -1"),
        (lambda: utils.to_categorical([]), ValueError,
         "to_categorical: num_classes must be given where there are no labels, got None"),
        (lambda: utils.pad_sequences([[1]], padding="left"), ValueError,
         "pad_sequences: padding must be one of pre, post, got 'left'"),
        (lambda: utils.pad_sequences([[1], 2]), TypeError,
         "pad_sequences: sequences[1] must be a sequence, got 2"),
        (lambda: utils.pad_sequences(iter([])), TypeError,
         "pad_sequences: sequences must have a length, got list_iterator"),
        (lambda: utils.pad_sequences([[1]], value="x"), TypeError,
         "pad_sequences: value must fit dtype int32, got 'x'"),
        (lambda: utils.pad_sequences([[[1, 2]], [[1]]]), ValueError,
         "pad_sequences: sequences[1] must have elements of shape (2,), got (1,)"),
        (lambda: utils.set_random_seed(-1), ValueError,
         "set_random_seed: seed must be in [0, 4294967295], got -1"),
        (lambda: utils.clone_model(3), TypeError, "clone_model: model must be a model, got 3"),
        (lambda: utils.clone_model(functional(), input_tensors=layers.Input((4, 3))), ValueError,
         "clone_model: input_tensors must be 2 Symbols, got 1"),
        (lambda: utils.clone_model(functional(), clone_function=lambda layer: 3), TypeError,
         "clone_model: clone_function must return a layer, got 3"),
        (lambda: backend.set_floatx("float16"), ValueError,
         "set_floatx: dtype must be float32 or float64, got 'float16'"),
        (lambda: backend.set_floatx("floaty"), ValueError,
         "set_floatx: dtype must be float32 or float64, got 'floaty'"),
    ],
)  # fmt: skip
def test_errors(call, error, text):
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == text
