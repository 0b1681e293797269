"""Layers other than the recurrent ones against Keras; what every layer can do; errors and their texts."""

import warnings

import numpy as np
import pytest
from keras_twin import check_outputs, check_step, close, twins
from small_models import rows

import fastseq
from fastseq import layers
from fastseq._symbol import Symbol


@pytest.mark.parametrize(
    "activation",
    [
        "linear",
        "relu",
        "tanh",
        "sigmoid",
        "softmax",
        "elu",
        "selu",
        "softplus",
        "softsign",
        "gelu",
        "silu",
        "exponential",
        "hard_sigmoid",
        "relu6",
        "leaky_relu",
        "mish",
        "log_sigmoid",
        "hard_silu",
        "swish",
    ],
)
def test_dense_with_each_activation(activation):
    ours, theirs = twins(lambda k: k.Sequential([k.Input((5,)), k.layers.Dense(4, activation=activation)]))
    check_outputs(ours, theirs, rows(6, 5))
    check_step(ours, theirs, rows(6, 5), rows(6, 4, seed=1), "mse")


@pytest.mark.parametrize(
    "make",
    [
        lambda k: k.layers.Flatten(),
        lambda k: k.layers.Reshape((2, 10)),
        lambda k: k.layers.Reshape((-1, 5)),
        lambda k: k.layers.Permute((2, 1)),
        lambda k: k.layers.Masking(0.5),
        lambda k: k.layers.Activation("softmax"),
        lambda k: k.layers.Dense(3),
        lambda k: k.layers.Dropout(0.4),
    ],
)
def test_shapes(make):
    def build(k):
        return k.Sequential([k.Input((4, 5)), k.layers.Dense(5), make(k)])

    ours, theirs = twins(build)
    x = rows(3, 4, 5)
    check_outputs(ours, theirs, x)
    assert ours.output_shape == theirs.output_shape
    if not isinstance(ours.layers[-1], layers.Dropout):
        check_step(ours, theirs, x, np.ones((3, *ours.output_shape[1:]), np.float32), "mse")


def test_embedding():
    def build(k):
        return k.Sequential([k.Input((4,)), k.layers.Embedding(7, 3), k.layers.Flatten(), k.layers.Dense(2)])

    ours, theirs = twins(build)
    ids = np.random.default_rng(0).integers(0, 7, (5, 4))
    check_outputs(ours, theirs, ids)
    check_step(ours, theirs, ids, rows(5, 2), "mse")
    close(ours.predict(ids.astype(np.float64), verbose=0), ours.predict(ids, verbose=0))
    big = 2**24 + 1  # ids are never turned into float32, which could not tell this one from its neighbour
    with pytest.raises(ValueError, match=str(big)):
        ours.predict(np.full((1, 4), big), verbose=0)


@pytest.mark.parametrize("name", ["Add", "Subtract", "Multiply", "Average", "Maximum", "Concatenate"])
def test_merging(name):
    def build(k):
        a, b = k.Input((3, 4)), k.Input((3, 4))
        dense = [k.layers.Dense(4)(v) for v in (a, b)]
        joined = getattr(k.layers, name.lower())(dense)
        if name != "Concatenate":
            joined = getattr(k.layers, name)()([joined, dense[0]])
        return k.Model([a, b], k.layers.Dense(2)(joined))

    ours, theirs = twins(build)
    x = [rows(2, 3, 4), rows(2, 3, 4, seed=1)]
    check_outputs(ours, theirs, x)
    check_step(ours, theirs, x, rows(2, 3, 2, seed=3), "mse")


def test_masks_meet_in_a_merge():
    a, b = layers.Input((3, 2)), layers.Input((3, 2))
    masked = [layers.Masking()(v) for v in (a, b)]
    out = layers.LSTM(2, return_sequences=True, zero_output_for_mask=True)(layers.Add()(masked))
    x, y = np.ones((1, 3, 2), np.float32), np.ones((1, 3, 2), np.float32)
    x[0, 0] = 0
    y[0, 2] = 0
    result = fastseq.Model([a, b], out).predict([x, y], verbose=0)
    assert result.any(-1).tolist() == [[False, True, False]]


def test_a_mask_that_is_lost_is_said():
    x = layers.Masking()(layers.Input((3, 2)))
    with pytest.warns(UserWarning, match=r"layer flatten\w* \(Flatten\) does not support masks"):
        layers.Flatten()(x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        layers.LSTM(2)(layers.Dropout(0.1)(layers.Dense(2)(x)))


# --- dropout --------------------------------------------------------------------------------------


def test_dropout_scales_and_repeats():
    x = np.ones((50, 40), np.float32)
    outputs = []
    for _ in range(2):
        fastseq.set_seed(3)
        layer = layers.Dropout(0.25)
        outputs.append([layer(x, training=True), layer(x, training=True)])
    first, second = outputs[0]
    assert set(np.unique(first)) == {np.float32(0), np.float32(1 / 0.75)}
    assert abs((first == 0).mean() - 0.25) < 0.05
    assert (first != second).any()  # every step drops others
    for a, b in zip(outputs[0], outputs[1], strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(layer(x), x)


def test_dropping_everything_is_keras_s():
    def build(k):
        x = k.Input((3,))
        h = k.layers.Dense(4)(x)
        return k.Model(x, k.layers.Dense(2)(k.layers.Concatenate()([h, k.layers.Dropout(1.0)(h)])))

    ours, theirs = twins(build)
    check_outputs(ours, theirs, rows(5, 3))  # nothing is dropped in inference
    check_step(ours, theirs, rows(5, 3), rows(5, 2, seed=1), "mse")


def test_two_uses_of_a_dropout_differ():
    x = layers.Input((200,))
    drop = layers.Dropout(0.5)
    model = fastseq.Model(x, [drop(x), drop(x)])
    a, b = model(np.ones((1, 200), np.float32), training=True)
    assert (a != b).any()


@pytest.mark.parametrize("cell", ["LSTM", "GRU", "SimpleRNN"])
def test_recurrent_dropout_acts_in_training_only(cell):
    x = rows(3, 4, 5)
    layer = getattr(layers, cell)(6, dropout=0.5, recurrent_dropout=0.5, seed=1)
    a, b = layer(x, training=True), layer(x, training=True)
    assert (a != b).any()
    np.testing.assert_array_equal(layer(x), layer(x))
    plain = getattr(layers, cell)(6)
    plain(x)
    plain.set_weights(layer.get_weights())
    np.testing.assert_array_equal(layer(x), plain(x))


# --- what every layer can do ----------------------------------------------------------------------


def test_names():
    from fastseq.layers.base import reset_names

    reset_names()
    made = [layers.LSTM(1), layers.LSTM(1), layers.SimpleRNN(1), layers.TimeDistributed(layers.Dense(1)),
            layers.RepeatVector(2), layers.GRU(1, name="mine")]  # fmt: skip
    expected = ["lstm", "lstm_1", "simple_rnn", "time_distributed", "repeat_vector", "mine"]
    assert [layer.name for layer in made] == expected


def test_layers_run_on_arrays():
    x = rows(3, 4, 5)
    lstm = layers.LSTM(6, return_sequences=True, return_state=True)
    out, h, c = lstm(x)
    assert (out.shape, h.shape, c.shape) == ((3, 4, 6), (3, 6), (3, 6))
    np.testing.assert_array_equal(out[:, -1], h)
    again = lstm(x, initial_state=[h, c])[0]
    whole = lstm(np.concatenate([x, x], 1))[0]
    np.testing.assert_allclose(again, whole[:, 4:], atol=1e-6)
    mask = np.array([[True, True, False, False]] * 3)
    np.testing.assert_array_equal(lstm(x, mask=mask)[0][:, 3], out[:, 1])
    assert layers.Add()([x, x]).tolist() == (x + x).tolist()
    assert layers.Dense(2)(x.tolist()).shape == (3, 4, 2)
    assert layers.Dense(2, dtype="float64")(x).dtype == np.float64
    assert layers.Dense(2)(x > 0).dtype == np.float32


def test_get_and_set_weights():
    layer = layers.Dense(2)
    layer(rows(1, 3))
    kernel, bias = layer.get_weights()
    assert (kernel.shape, bias.shape) == ((3, 2), (2,))
    kernel[...] = 7  # a copy
    assert (layer.get_weights()[0] != 7).all()
    layer.set_weights([kernel, bias])
    assert (layer.get_weights()[0] == 7).all()
    assert layer.count_params() == 8
    with pytest.raises(ValueError) as error:
        layer.set_weights([kernel])
    assert str(error.value) == f"{layer.name}.set_weights: weights must be 2 arrays, got 1"
    with pytest.raises(ValueError) as error:
        layer.set_weights([kernel, np.zeros(3)])
    assert str(error.value) == f"{layer.name}.set_weights: weights[1] must have shape (2,), got (3,)"
    assert (layer.get_weights()[0] == 7).all()


def test_forget_gate_starts_open():
    layer = layers.LSTM(3)
    layer(rows(1, 2, 2))
    np.testing.assert_array_equal(layer.get_weights()[2], [0] * 3 + [1] * 3 + [0] * 6)
    layer = layers.LSTM(3, unit_forget_bias=False)
    layer(rows(1, 2, 2))
    assert not layer.get_weights()[2].any()


@pytest.mark.parametrize(
    "layer",
    [
        lambda: layers.LSTM(3, return_sequences=True, dropout=0.2, kernel_initializer="he_normal"),
        lambda: layers.GRU(3, reset_after=False, go_backwards=True),
        lambda: layers.Bidirectional(layers.GRU(3), merge_mode="sum"),
        lambda: layers.TimeDistributed(layers.Dense(3, activation="tanh")),
        lambda: layers.Embedding(5, 3, mask_zero=True),
        lambda: layers.Dense(3, use_bias=False),
        lambda: layers.Reshape((3, -1)),
    ],
)
def test_configurations_make_the_layer_again(layer):
    from fastseq.layers.description import from_config

    made = layer()
    config = made.get_config()
    again = from_config({"class_name": type(made).__name__, "config": config})
    assert again.get_config() == config


def test_layer_output_is_a_symbol():
    x = layers.Input((4, 3))
    layer = layers.LSTM(2)
    with pytest.raises(AttributeError) as error:
        _ = layer.output
    assert (
        str(error.value) == f"{layer.name}.output: the layer must have been called on a Symbol, got no call"
    )
    y = layer(x)
    assert layer.output is y
    assert layer.input is x
    assert layer.output_shape == (None, 2)
    assert layer.compute_output_shape((None, 9, 3)) == (None, 2)
    assert layers.Bidirectional(layers.LSTM(2, return_state=True))(x)[0].shape == (None, 4)


# --- errors ---------------------------------------------------------------------------------------

X3 = Symbol((None, 4, 3))
CELL_NAMES = (
    "elu, exponential, hard_sigmoid, leaky_relu, linear, relu, relu6, selu, sigmoid, softplus, softsign, tanh"
)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: layers.LSTM(0), ValueError, "LSTM: units must be at least 1, got 0"),
        (lambda: layers.LSTM(-3), ValueError, "LSTM: units must be at least 1, got -3"),
        (lambda: layers.GRU(2.5), TypeError, "GRU: units must be an integer, got 2.5"),
        (lambda: layers.Dense("4"), TypeError, "Dense: units must be an integer, got '4'"),
        (
            lambda: layers.LSTM(2, activation="gelu"),
            ValueError,
            f"LSTM: activation must be one of {CELL_NAMES}, got 'gelu'",
        ),
        (
            lambda: layers.GRU(2, recurrent_activation=np.tanh),
            ValueError,
            f"GRU: recurrent_activation must be one of {CELL_NAMES}, got tanh",
        ),
        (lambda: layers.LSTM(2, dropout=1.0), ValueError, "LSTM: dropout must be in [0, 1), got 1.0"),
        (
            lambda: layers.LSTM(2, recurrent_dropout=-0.1),
            ValueError,
            "LSTM: recurrent_dropout must be in [0, 1), got -0.1",
        ),
        (
            lambda: layers.LSTM(2, kernel_initializer="xavier"),
            ValueError,
            "LSTM: kernel_initializer must be one of constant, glorot_normal, glorot_uniform, he_normal, "
            "he_uniform, identity, lecun_normal, lecun_uniform, ones, orthogonal, "
            "random_normal, random_uniform, truncated_normal, variance_scaling, zeros, got 'xavier'",
        ),
        (
            lambda: layers.LSTM(2, kernel_regularizer="l3"),
            ValueError,
            "LSTM: kernel_regularizer must be one of l1, l1_l2, l2, orthogonal_regularizer, got 'l3'",
        ),
        (
            lambda: layers.Flatten(unit=3),
            TypeError,
            "Flatten: options must be among activity_regularizer, batch_input_shape, batch_shape, "
            "batch_size, data_format, dtype, input_dim, input_length, input_shape, name, "
            "trainable, got 'unit'",
        ),
        (
            lambda: layers.Dense(2, dtype="int32"),
            ValueError,
            "Dense: dtype must be float32 or float64, got 'int32'",
        ),
        (lambda: layers.Dense(2, name=3), TypeError, "Dense: name must be a str, got 3"),
        (lambda: layers.Dropout(1.5), ValueError, "Dropout: rate must be in [0, 1], got 1.5"),
        (lambda: layers.Embedding(0, 2), ValueError, "Embedding: input_dim must be at least 1, got 0"),
        (lambda: layers.RepeatVector(0), ValueError, "RepeatVector: n must be at least 1, got 0"),
        (
            lambda: layers.RepeatVector(2, name="r")(X3),
            ValueError,
            "r: inputs must have shape (batch, features), got (None, 4, 3)",
        ),
        (
            lambda: layers.Permute((1, 3)),
            ValueError,
            "Permute: dims must be an order of the axes 1, 2, ..., got (1, 3)",
        ),
        (
            lambda: layers.Permute((1,), name="p")(X3),
            ValueError,
            "p: inputs must have 2 axes, got shape (None, 4, 3)",
        ),
        (
            lambda: layers.Reshape((-1, -1)),
            ValueError,
            "Reshape: target_shape must hold -1 at most once, got (-1, -1)",
        ),
        (
            lambda: layers.Reshape((5, 5))(X3),
            ValueError,
            "reshape: x must have as many elements per row as shape (5, 5), got shape (None, 4, 3)",
        ),
        (
            lambda: layers.LSTM(2, name="l")(Symbol((None, 3))),
            ValueError,
            "l: inputs must have shape (batch, steps, features), got shape (None, 3)",
        ),
        (
            lambda: layers.LSTM(2, name="l")(Symbol((None, 3, None))),
            ValueError,
            "l: inputs must have a known number of features, got shape (None, 3, None)",
        ),
        (
            lambda: layers.LSTM(2, name="l")(X3, mask=Symbol((None, 5), bool)),
            ValueError,
            "l: mask must have shape (None, 4), got (None, 5)",
        ),
        (
            lambda: layers.LSTM(2, name="l")(X3, initial_state=[Symbol((None, 2))]),
            ValueError,
            "l: initial_state must be 2 arrays (h, c), got 1",
        ),
        (
            lambda: layers.GRU(2, name="g")(X3, initial_state=Symbol((None, 5))),
            ValueError,
            "g: initial_state must have shape (batch, 2), got (None, 5)",
        ),
        (
            lambda: layers.LSTM(2, stateful=True, name="l")(X3),
            ValueError,
            "l: inputs must have a known batch size (batch_input_shape, or Input's batch_size) in a stateful "
            "layer, got None",
        ),
        (lambda: layers.LSTM(2).reset_states(), RuntimeError, None),
        (lambda: layers.TimeDistributed(3), TypeError, "TimeDistributed: layer must be a layer, got 3"),
        (
            lambda: layers.Bidirectional(layers.Dense(2)),
            TypeError,
            "Bidirectional: layer must be a recurrent layer, got Dense",
        ),
        (
            lambda: layers.Bidirectional(layers.LSTM(2), merge_mode="max"),
            ValueError,
            "Bidirectional: merge_mode must be one of concat, sum, mul, ave, None, got 'max'",
        ),
        (
            lambda: layers.Bidirectional(layers.LSTM(2), backward_layer=layers.LSTM(2)),
            ValueError,
            "Bidirectional: backward_layer must run the other way than layer, got go_backwards=False in both",
        ),
        (
            lambda: layers.Dense(2, name="d")(Symbol((None, None))),
            ValueError,
            "d: inputs must have a known last axis after the batch, got shape (None, None)",
        ),
        (lambda: layers.Add(name="a")(X3), ValueError, "a: inputs must be a list of at least 2, got tuple"),
        (
            lambda: layers.Input(),
            ValueError,
            "Input: shape must be given, or batch_shape instead, got neither",
        ),
        (
            lambda: layers.Input((3, -1)),
            ValueError,
            "Input: shape must be integers of at least 0, or None, got (3, -1)",
        ),
        (
            lambda: layers.Dense(2, name="d")([X3, 3]),
            TypeError,
            "d: inputs must be Symbols or all arrays, got 3",
        ),
        (
            lambda: layers.Dense(2, name="d")(X3, speed=1),
            TypeError,
            "d: options must be among mask, training, got 'speed'",
        ),
    ],
)
def test_errors(call, error, text):
    with pytest.raises(error) as caught:
        call()
    assert text is None or str(caught.value) == text


def test_a_built_layer_keeps_its_features():
    layer = layers.Dense(2, name="d")
    layer(X3)
    with pytest.raises(ValueError) as error:
        layer(Symbol((None, 5)))
    assert str(error.value) == "d: inputs must have 3 features, got shape (None, 5)"
    lstm = layers.LSTM(2, name="l")
    lstm(X3)
    with pytest.raises(ValueError) as error:
        lstm(Symbol((None, 4, 5)))
    assert str(error.value) == "l: inputs must have 3 features, got shape (None, 4, 5)"
