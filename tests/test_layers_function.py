"""Lambda: traced functions as layers, beside Keras; and backend.function, which reads inner Symbols."""

import json

import numpy as np
import pytest
from keras_twin import OURS, THEIRS, check_outputs, check_step, close, keras, twins

import fastseq
from fastseq import backend, layers, losses, ops
from fastseq import backend as K
from fastseq._symbol import Variable

rng = np.random.default_rng(0)
X = rng.normal(size=(4, 5, 3)).astype(np.float32)
Y = rng.normal(size=(4, 2)).astype(np.float32)


def operations(library):
    return ops if library is OURS else keras.ops


@pytest.mark.parametrize(
    "write",
    [
        lambda o: lambda x: x[:, 1:, :] * 2.0 - 1.0,
        lambda o: lambda x: o.exp(-o.square(x)) / (1.0 + abs(x)),
        lambda o: lambda x: o.where(x > 0, x, 0.2 * x),
        lambda o: lambda x: x - o.mean(x, axis=-1, keepdims=True),
        lambda o: lambda x: o.matmul(o.softmax(o.matmul(x, o.transpose(x, (0, 2, 1)))), x),
        lambda o: lambda x: o.maximum(x, 0.1) ** 2 + o.minimum(x, o.max(x, axis=1, keepdims=True)) ** 3,
        lambda o: lambda x: o.log(o.sum(o.exp(x), axis=-1, keepdims=True)) + x,
    ],
)
def test_steps_as_in_keras(write):
    def build(library):
        x = library.Input((5, 3))
        h = library.layers.Dense(3)(x)
        h = library.layers.Lambda(write(operations(library)))(h)
        return library.Model(x, library.layers.Dense(2)(library.layers.Flatten()(h)))

    ours, theirs = twins(build)
    check_outputs(ours, theirs, X)
    check_step(ours, theirs, X, Y, "mse")


def test_several_inputs_outputs_and_arguments():
    def both(args, scale, training=None):
        a, b = args
        assert training is None
        return [a + scale * b, a * b]

    def build(library):
        a, b = library.Input((3,)), library.Input((3,))
        layer = library.layers.Lambda(both, arguments={"scale": 2.0}, output_shape=[(3,), (3,)])
        return library.Model([a, b], layer([library.layers.Dense(3)(a), b]))

    ours, theirs = twins(build)
    a, b = X[:, 0], X[:, 1]
    close(ours.predict([a, b], verbose=0), [np.asarray(v) for v in theirs([a, b])])
    assert ours.layers[-1].output_shape == [(None, 3), (None, 3)]


def test_runs_on_arrays_and_in_sequential():
    layer = layers.Lambda(lambda x: x[:, -1] / 2)
    np.testing.assert_array_equal(layer(X), X[:, -1] / 2)
    model = fastseq.Sequential([layers.Lambda(lambda x: x + 1, input_shape=(5, 3)), layer])
    np.testing.assert_array_equal(model.predict(X, verbose=0), (X + 1)[:, -1] / 2)


def test_masks():
    seen = []

    def keep(x, mask=None):
        seen.append(mask)
        return x * 2.0

    x = layers.Input((5, 3))
    masked = layers.Masking()(x)
    assert layers.Lambda(keep, mask=lambda inputs, mask: mask)(masked).mask is masked.mask
    assert seen == [masked.mask]
    with pytest.warns(UserWarning, match="does not support masks"):
        assert layers.Lambda(lambda x: x * 2.0)(masked).mask is None


# The loss layer of the OCR program, its function as it stands there.


def ctc_lambda_func(args):
    y_pred, labels, input_length, label_length = args
    y_pred = y_pred[:, 2:, :]
    return K.ctc_batch_cost(labels, y_pred, input_length, label_length)


def ocr(lambda_function, library):
    data = library.Input(name="the_input", shape=(8, 6), dtype="float32")
    y_pred = library.layers.Dense(5, activation="softmax", name="softmax")(data)
    labels = library.Input(name="the_labels", shape=[3], dtype="float32")
    input_length = library.Input(name="input_length", shape=[1], dtype="int64")
    label_length = library.Input(name="label_length", shape=[1], dtype="int64")
    loss_out = library.layers.Lambda(lambda_function, output_shape=(1,), name="ctc")(
        [y_pred, labels, input_length, label_length]
    )
    return library.Model(inputs=[data, labels, input_length, label_length], outputs=loss_out)


OCR_DATA = {
    "the_input": rng.normal(size=(4, 8, 6)).astype(np.float32),
    "the_labels": np.array([[0, 1, 2], [3, 3, 0], [1, 0, 0], [2, 1, 0]], np.float32),
    "input_length": np.array([[6], [6], [5], [4]]),
    "label_length": np.array([[3], [2], [1], [2]]),
}


def test_the_loss_layer_of_the_ocr_program():
    keras_backend = pytest.importorskip("tensorflow").keras.backend

    def theirs_function(args):
        y_pred, labels, input_length, label_length = args
        return keras_backend.ctc_batch_cost(labels, y_pred[:, 2:, :], input_length, label_length)

    ours, theirs = ocr(ctc_lambda_func, OURS), ocr(theirs_function, THEIRS)
    weights = [rng.normal(0, 0.4, w.shape).astype(np.float32) for w in ours.get_weights()]
    ours.set_weights(weights)
    theirs.set_weights(weights)
    expected = theirs.predict(OCR_DATA, verbose=0)
    close(ours.predict(OCR_DATA, verbose=0), expected, 1e-4)
    assert ours.output_shape == (None, 1)


@pytest.mark.parametrize(
    ("function", "options", "error", "text"),
    [
        (3, {}, TypeError, "Lambda: function must be a function, got 3"),
        (
            np.exp,
            {},
            TypeError,
            "mine: function must be written with fastseq.ops, operators and slices, got an error: "
            "operand 'Symbol' does not support ufuncs (__array_ufunc__=None)",
        ),
        (
            lambda x: np.asarray(x),
            {},
            TypeError,
            "mine: function must be written with fastseq.ops, operators and slices, got an error: a Symbol "
            "has no values, so it cannot be turned into an array; run a model on data instead",
        ),
        (
            lambda x: None,
            {},
            TypeError,
            "mine: function must return Symbols computed from its inputs, got None",
        ),
        (
            lambda x: [x, np.ones(3)],
            {},
            TypeError,
            "mine: function must return Symbols computed from its inputs, got float64 array of shape (3,)",
        ),
        (
            lambda x: x[:, 1:],
            {"output_shape": (5, 3)},
            ValueError,
            "mine: function must return the output_shape (None, 5, 3), got (None, 4, 3)",
        ),
        (
            lambda x: x[:, 0],
            {"output_shape": lambda shape: shape},
            ValueError,
            "mine: function must return the output_shape (None, 5, 3), got (None, 3)",
        ),
        (lambda x: x.steps, {}, AttributeError, "'Symbol' object has no attribute 'steps'"),
    ],
)
def test_errors(function, options, error, text):
    with pytest.raises(error) as caught:
        layers.Lambda(function, name="mine", **options)(layers.Input((5, 3)))
    assert str(caught.value) == text


# --- saved as the operations it traced ------------------------------------------------------------


def saved_and_back(layer):
    """The layer that its configuration makes, by way of JSON."""
    return type(layer).from_config(json.loads(json.dumps(layer.get_config())))


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x[:, 1:, ..., -1] * 2.0 - X[0, 0, 0],
        lambda x: ops.where(x > 0, x**2, ops.exp(x) / 3),
        lambda x: ops.concatenate([x, ops.reverse(x), x + X[:1]], axis=1),
        lambda x: [ops.softmax(ops.reshape(x, (-1,))), ops.mean(x, axis=(1, 2), keepdims=True)],
        lambda x: ops.cast(ops.activation(x, "tanh") @ np.ones((3, 2)), "float64"),
        lambda x: ops.maximum(ops.sum(x, axis=-1), ops.absolute(x[..., 0])),
        lambda x: x,
    ],
)
def test_configurations(function):
    layer = layers.Lambda(function, name="mine", output_shape=None)
    expected = layer(layers.Input((5, 3)))
    model = fastseq.Model(layer.input, expected)
    copy = saved_and_back(layer)
    assert copy.name == "mine"
    close(copy(X), model.predict(X, verbose=0), 0)
    close(saved_and_back(copy)(X), copy(X), 0)  # not called on Symbols yet


def test_the_ocr_loss_layer_is_saved():
    model = ocr(ctc_lambda_func, OURS)
    layer = model.get_layer("ctc")
    y_pred = rng.random((4, 8, 5)).astype(np.float32)
    rest = [OCR_DATA["the_labels"], OCR_DATA["input_length"], OCR_DATA["label_length"]]
    close(saved_and_back(layer)([y_pred, *rest]), layer([y_pred, *rest]), 0)


def test_in_a_sequential():
    model = fastseq.Sequential([layers.Lambda(lambda x: x / 2, input_shape=(5, 3)), layers.LSTM(4)])
    copy = fastseq.Sequential.from_config(json.loads(json.dumps(model.get_config())))
    copy.set_weights(model.get_weights())
    close(copy.predict(X, verbose=0), model.predict(X, verbose=0), 0)


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (
            lambda x: x * Variable(np.ones(3, np.float32), "w"),
            "mine: function must read its inputs alone to be described, got Variable",
        ),
        (
            lambda x: x * OTHER,
            "mine: function must read its inputs alone to be described, got "
            "<Symbol shape=(None, 5, 3), dtype=float32>",
        ),
        (
            lambda x: losses.MeanSquaredError(reduction="none")(x, x),
            "mine: function must be made of operations with plain options to be described, got loss",
        ),
    ],
)
def test_what_cannot_be_saved(function, text):
    layer = layers.Lambda(function, name="mine")
    layer(layers.Input((5, 3)))
    with pytest.raises(ValueError) as caught:
        layer.get_config()
    assert str(caught.value) == text


OTHER = layers.Input((5, 3))


def test_what_cannot_be_saved_yet():
    with pytest.raises(ValueError) as caught:
        layers.Lambda(abs, name="mine").get_config()
    assert str(caught.value) == "mine: layer must have been called on Symbols to be described, got no call"
    with pytest.raises(ValueError) as caught:
        layers.Lambda(abs, name="mine", mask=lambda inputs, mask: mask).get_config()
    assert str(caught.value) == "mine: mask must be None to be described, got function"
    with pytest.raises(ValueError) as caught:
        layers.Lambda.from_config({"function": {"steps": [{"op": "fly"}], "outputs": []}})
    assert str(caught.value) == "Lambda: function must name known operations, got 'fly'"


# --- backend.function -----------------------------------------------------------------------------


def test_function_reads_inner_layers():
    model = fastseq.Sequential()
    model.add(layers.LSTM(4, input_shape=(5, 3)))
    model.add(layers.RepeatVector(2))
    model.add(layers.LSTM(4, return_sequences=True))
    model.add(layers.TimeDistributed(layers.Dense(3)))
    model.add(layers.Activation("softmax"))
    read = backend.function(
        [model.layers[0].input],
        [model.layers[0].output, model.layers[1].output[0, :, :], model.layers[3].output, model.output],
    )
    first, repeated, dense, last = read([X])
    np.testing.assert_array_equal(first, model.layers[0](X))
    np.testing.assert_array_equal(repeated, np.repeat(first[:1], 2, axis=0))
    np.testing.assert_allclose(last, model.predict(X, verbose=0), rtol=1e-6)
    np.testing.assert_allclose(ops.softmax(dense), last, rtol=1e-6)
    model.set_weights([0 * w for w in model.get_weights()])
    np.testing.assert_array_equal(read([X])[0], np.zeros((4, 4)))
    (alone,) = backend.function(model.input, model.output)(X)
    np.testing.assert_allclose(alone, np.full((4, 2, 3), 1 / 3), rtol=1e-6)


def test_function_begins_at_a_models_first_layer():
    x = layers.Input((5, 3))
    model = fastseq.Model(x, layers.GRU(4)(x))
    first = model.layers[0]
    assert first.input is first.output is x
    assert first.input_shape == (None, 5, 3)
    (got,) = backend.function([first.input], [model.layers[1].output])([X])
    np.testing.assert_array_equal(got, model.predict(X, verbose=0))


def test_function_errors():
    x, other = layers.Input((5, 3)), layers.Input((5, 3))
    with pytest.raises(TypeError) as caught:
        backend.function([x], [X])
    assert str(caught.value) == "Model: outputs must be Symbols, got float32 array of shape (4, 5, 3)"
    with pytest.raises(ValueError, match="outputs must be computed from the inputs"):
        backend.function([other], [x * 2])
    read = backend.function([x, other], [x * 2 + other])
    for arrays, text in (
        ([X, X[:, 0]], "predict_on_batch: x must have shape (None, 5, 3), got (4, 3)"),
        ([X], "predict_on_batch: x must be a list of 2 arrays, got 1 entries"),
    ):
        with pytest.raises(ValueError) as refused:
            read(arrays)
        assert str(refused.value) == text
