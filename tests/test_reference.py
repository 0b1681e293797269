"""The numpy twins against Keras on TensorFlow: whatever the kernels agree with is Keras."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import numpy as np
import pytest
import reference

keras = pytest.importorskip("keras")
pytest.importorskip("tensorflow")

B, T, F, H = 3, 5, 4, 6
MASK = np.array([[1, 1, 0, 1, 0], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1]], bool)


def f32(rng, *shape):
    return rng.standard_normal(shape).astype(np.float32)


def close(actual, expected, tolerance=3e-6):
    np.testing.assert_allclose(np.asarray(actual), expected, rtol=tolerance, atol=tolerance)


CELLS = {
    "lstm": ("LSTM", reference.lstm, 4, 2, {}),
    "gru": ("GRU", reference.gru, 3, 1, {"reset_after": True}),
    "gru_reset_before": ("GRU", reference.gru, 3, 1, {"reset_after": False}),
    "simple_rnn": ("SimpleRNN", reference.simple_rnn, 1, 1, {}),
}


def recurrent_case(cell, rng, use_bias=True, **options):
    """A Keras layer with random weights, and the twin's arguments for the same weights."""
    layer_name, twin, gates, states, extra = CELLS[cell]
    x = f32(rng, B, T, F)
    kernel, recurrent_kernel = f32(rng, F, gates * H), f32(rng, H, gates * H)
    bias = f32(rng, *((2, gates * H) if extra.get("reset_after") else (gates * H,)))
    state = tuple(f32(rng, B, H) for _ in range(states))
    layer = getattr(keras.layers, layer_name)(
        H, return_sequences=True, return_state=True, use_bias=use_bias, **extra, **options
    )
    layer.build(x.shape)
    layer.set_weights([kernel, recurrent_kernel] + [bias] * use_bias)
    return layer, twin, (x, kernel, recurrent_kernel, bias if use_bias else None), state, extra


@pytest.mark.parametrize("zero_output", [False, True])
@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_recurrent(cell, masked, backwards, zero_output):
    rng = np.random.default_rng(1)
    layer, twin, arguments, state, extra = recurrent_case(
        cell, rng, go_backwards=backwards, zero_output_for_mask=zero_output
    )
    mask = MASK if masked else None
    expected = layer(arguments[0], mask=mask, initial_state=list(state))
    sequence, final = twin(
        *arguments,
        initial_state=state,
        mask=mask,
        go_backwards=backwards,
        zero_output_for_mask=zero_output,
        **extra,
    )
    close(expected[0], sequence)
    for keras_state, ours in zip(expected[1:], final, strict=True):
        close(keras_state, ours)


@pytest.mark.parametrize("cell", CELLS)
def test_recurrent_without_bias_and_state(cell):
    rng = np.random.default_rng(2)
    layer, twin, arguments, _, extra = recurrent_case(cell, rng, use_bias=False)
    expected = layer(arguments[0])
    sequence, final = twin(*arguments, **extra)
    close(expected[0], sequence)
    close(expected[1], final[0])


@pytest.mark.parametrize("cell", CELLS)
def test_recurrent_activations(cell):
    rng = np.random.default_rng(3)
    options = {"activation": "relu"}
    if cell != "simple_rnn":
        options["recurrent_activation"] = "hard_sigmoid"
    layer, twin, arguments, _, extra = recurrent_case(cell, rng, **options)
    close(layer(arguments[0])[0], twin(*arguments, **extra, **options)[0], 1e-4)


@pytest.mark.parametrize("cell", CELLS)
def test_input_dropout_is_one_mask_for_all_steps(cell):
    rng = np.random.default_rng(4)
    layer, twin, arguments, _, extra = recurrent_case(cell, rng, dropout=0.5)
    factors = np.asarray(rng.random((B, F)) > 0.5, np.float32) * 2
    layer.cell.get_dropout_mask = lambda step_input: factors
    layer.cell.implementation = 2
    expected = layer(arguments[0], training=True)
    close(expected[0], twin(*arguments, dropout_mask=factors, **extra)[0])


@pytest.mark.parametrize("cell", ["lstm", "gru_reset_before", "gru"])
def test_recurrent_dropout_touches_only_the_product(cell):
    rng = np.random.default_rng(5)
    layer, twin, arguments, _, extra = recurrent_case(cell, rng, recurrent_dropout=0.5)
    factors = np.asarray(rng.random((B, H)) > 0.5, np.float32) * 2
    gates = CELLS[cell][2]
    layer.cell.get_recurrent_dropout_mask = lambda step_input: [factors] * gates
    expected = layer(arguments[0], training=True)
    close(expected[0], twin(*arguments, recurrent_dropout_mask=factors, **extra)[0])


def test_recurrent_masks_measured():
    """Mask 1 1 0 1 0 as measured on Keras: repeats, zeros, and the reversed sequence."""
    rng = np.random.default_rng(6)
    x, kernel, recurrent_kernel = f32(rng, 1, T, F), f32(rng, F, 4 * H), f32(rng, H, 4 * H)
    mask = MASK[:1]
    out, (h, _) = reference.lstm(x, kernel, recurrent_kernel, mask=mask)
    assert (out[0, 2] == out[0, 1]).all()
    assert (out[0, 4] == out[0, 3]).all()
    assert (h[0] == out[0, 3]).all()
    zero, _ = reference.lstm(x, kernel, recurrent_kernel, mask=mask, zero_output_for_mask=True)
    assert (zero[0, 2] == 0).all()
    assert (zero[0, 4] == 0).all()
    assert (zero[0, 3] == out[0, 3]).all()
    back, _ = reference.lstm(x, kernel, recurrent_kernel, mask=mask, go_backwards=True)
    assert (back[0, 0] == 0).all()
    assert (back[0, 2] == back[0, 1]).all()


def test_recurrent_lengths_and_repeat():
    rng = np.random.default_rng(7)
    x, kernel, recurrent_kernel = f32(rng, 2, T, F), f32(rng, F, 3 * H), f32(rng, H, 3 * H)
    by_length = reference.gru(x, kernel, recurrent_kernel, lengths=[2, 0])
    mask = np.array([[1, 1, 0, 0, 0], [0, 0, 0, 0, 0]], bool)
    by_mask = reference.gru(x, kernel, recurrent_kernel, mask=mask, zero_output_for_mask=True)
    np.testing.assert_array_equal(by_length[0], by_mask[0])
    repeated = reference.gru(x[:, 0], kernel, recurrent_kernel, repeat=T)
    tiled = reference.gru(np.repeat(x[:, :1], T, 1), kernel, recurrent_kernel)
    np.testing.assert_array_equal(repeated[0], tiled[0])


ACTIVATIONS = [
    "linear",
    "tanh",
    "sigmoid",
    "relu",
    "relu6",
    "leaky_relu",
    "hard_sigmoid",
    "hard_tanh",
    "softplus",
    "softsign",
    "elu",
    "selu",
    "exponential",
    "gelu",
    "silu",
    "swish",
    "hard_silu",
    "hard_swish",
    "log_sigmoid",
    "mish",
    "softmax",
    "log_softmax",
]


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation(name):
    x = np.linspace(-8, 8, 66, dtype=np.float32).reshape(6, 11)
    close(keras.activations.get(name)(x), reference.activation(name)(x))


def test_activation_options():
    x = np.linspace(-4, 9, 40, dtype=np.float32)
    options = {"negative_slope": 0.1, "max_value": 5.0, "threshold": 1.0}
    close(keras.activations.relu(x, **options), reference.relu(x, **options))
    close(keras.activations.gelu(x, approximate=True), reference.gelu(x, approximate=True))
    close(keras.activations.elu(x, alpha=0.3), reference.elu(x, alpha=0.3))
    close(keras.activations.leaky_relu(x, 0.3), reference.leaky_relu(x, 0.3))


def probabilities(rng, *shape):
    return reference.softmax(rng.standard_normal(shape)).astype(np.float32)


@pytest.mark.parametrize("from_logits", [False, True])
def test_crossentropies(from_logits):
    rng = np.random.default_rng(8)
    output = f32(rng, 7, 5) if from_logits else 2 * probabilities(rng, 7, 5)
    target = probabilities(rng, 7, 5)
    labels = rng.integers(0, 5, 7)
    logits = {"from_logits": from_logits}
    close(
        keras.losses.categorical_crossentropy(target, output, **logits),
        reference.categorical_crossentropy(output, target, **logits),
    )
    close(
        keras.losses.sparse_categorical_crossentropy(labels, output / (1 if from_logits else 2), **logits),
        reference.sparse_categorical_crossentropy(output, labels, **logits),
    )
    output = output if from_logits else probabilities(rng, 7, 5)
    target = (target > 0.2).astype(np.float32)
    close(
        keras.losses.binary_crossentropy(target, output, **logits),
        reference.binary_crossentropy(output, target, **logits),
    )


def test_crossentropy_clips():
    output = np.array([[1, 0, 0], [0, 1, 0], [0.5, 0.5, 0]], np.float32)
    target = np.array([[1, 0, 0], [1, 0, 0], [0, 0, 1]], np.float32)
    close(
        keras.losses.categorical_crossentropy(target, output),
        reference.categorical_crossentropy(output, target),
        1e-5,
    )


def test_mean_errors():
    rng = np.random.default_rng(9)
    output, target = f32(rng, 4, 5), f32(rng, 4, 5)
    for name in ("mean_squared_error", "mean_absolute_error"):
        close(getattr(keras.losses, name)(target, output), getattr(reference, name)(output, target))


def test_matches():
    rng = np.random.default_rng(10)
    output, target = probabilities(rng, 30, 3), probabilities(rng, 30, 3)
    metrics = keras.metrics
    close(metrics.categorical_accuracy(target, output), reference.categorical_matches(output, target))
    labels = rng.integers(0, 3, 30)
    close(
        metrics.sparse_categorical_accuracy(labels, output),
        reference.sparse_categorical_matches(output, labels),
    )
    binary = (target > 0.4).astype(np.float32)
    each = np.asarray(metrics.binary_accuracy(binary, output))
    close(each.mean(-1), reference.binary_matches(output, binary))


def test_dense_and_embedding():
    rng = np.random.default_rng(11)
    x, kernel, bias = f32(rng, 2, 3, F), f32(rng, F, H), f32(rng, H)
    layer = keras.layers.Dense(H, activation="tanh")
    layer.build(x.shape)
    layer.set_weights([kernel, bias])
    close(layer(x), reference.dense(x, kernel, bias, activation="tanh"))
    ids, table = rng.integers(0, 5, (2, 3)), f32(rng, 5, F)
    layer = keras.layers.Embedding(5, F)
    layer.build()
    layer.set_weights([table])
    close(layer(ids), reference.embedding(ids, table))
    dtable = reference.embedding_gradient([[1, 1], [3, 1]], np.ones((2, 2, 2)), 5)
    np.testing.assert_array_equal(dtable[:, 0], [0, 3, 0, 1, 0])


CLIPS = [{}, {"clipnorm": 0.5}, {"clipvalue": 0.3}, {"global_clipnorm": 0.5}]


def run_optimizer(optimizer, values, gradients):
    variables = [keras.Variable(value) for value in values]
    optimizer.build(variables)
    for step in gradients:
        optimizer.apply([keras.ops.convert_to_tensor(g) for g in step], variables)
    return [np.asarray(variable) for variable in variables]


@pytest.mark.parametrize("clip", CLIPS, ids=lambda c: next(iter(c), "none"))
@pytest.mark.parametrize("name", ["sgd", "momentum", "nesterov", "adam", "adam_decay"])
def test_optimizers(name, clip):
    rng = np.random.default_rng(12)
    values = [f32(rng, 3, 4), f32(rng, 5)]
    gradients = [[f32(rng, 3, 4), f32(rng, 5)] for _ in range(4)]
    if name.startswith("adam"):
        options = {"learning_rate": 0.01, "weight_decay": 0.1 if name == "adam_decay" else 0.0}
        optimizer = keras.optimizers.Adam(
            **{**options, "weight_decay": options["weight_decay"] or None}, **clip
        )
    else:
        options = {"learning_rate": 0.1, "momentum": 0.0 if name == "sgd" else 0.9}
        options["nesterov"] = name == "nesterov"
        optimizer = keras.optimizers.SGD(**options, **clip)
    expected = run_optimizer(optimizer, values, gradients)

    slots = [[np.zeros_like(v) for v in values] for _ in range(2)]
    for step, raw in enumerate(gradients, start=1):
        for k, gradient in enumerate(reference.clip_gradients(raw, **clip)):
            if name.startswith("adam"):
                values[k], slots[0][k], slots[1][k] = reference.adam(
                    values[k], gradient, slots[0][k], slots[1][k], step=step, **options
                )
            else:
                values[k], slots[0][k] = reference.sgd(values[k], gradient, slots[0][k], **options)
    for ours, theirs in zip(values, expected, strict=True):
        close(theirs, ours, 1e-5)
