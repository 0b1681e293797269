"""Recurrent layers and their wrappers against Keras: outputs, one step of training, states, masks."""

import numpy as np
import pytest
from keras_twin import check_outputs, check_step, close, twins

CELLS = ["LSTM", "GRU", "SimpleRNN"]


def data(batch=3, steps=5, features=4, seed=1):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(batch, steps, features)).astype(np.float32)


def mask_data():
    x = data(4, 5, 4)
    mask = np.array([[1, 1, 0, 1, 0], [1, 1, 1, 1, 1], [0, 0, 1, 1, 0], [0, 0, 0, 0, 0]], bool)
    return x * mask[..., None], mask


OPTIONS = [
    {},
    {"return_sequences": True},
    {"go_backwards": True, "return_sequences": True},
    {"use_bias": False},
    {"return_sequences": True, "zero_output_for_mask": True},
    {"zero_output_for_mask": True},
    {"activation": "relu"},
]


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("masked", [False, True], ids=["plain", "masked"])
def test_options(cell, options, masked):
    def build(k):
        model = k.Sequential([k.Input((5, 4))])
        if masked:
            model.add(k.layers.Masking())
        model.add(getattr(k.layers, cell)(6, **options))
        return model

    ours, theirs = twins(build)
    x = mask_data()[0] if masked else data()
    check_outputs(ours, theirs, x)
    shape = ours.output_shape[1:]
    y = np.random.default_rng(2).normal(size=(len(x), *shape)).astype(np.float32)
    check_step(ours, theirs, x, y, "mse")


def test_gru_before():
    ours, theirs = twins(lambda k: k.Sequential([k.Input((5, 4)), k.layers.GRU(6, reset_after=False)]))
    check_outputs(ours, theirs, data())
    check_step(ours, theirs, data(), np.ones((3, 6), np.float32), "mse")


def test_other_gates():
    ours, theirs = twins(
        lambda k: k.Sequential(
            [k.Input((5, 4)), k.layers.LSTM(6, activation="softsign", recurrent_activation="hard_sigmoid")]
        )
    )
    check_outputs(ours, theirs, data())
    check_step(ours, theirs, data(), np.ones((3, 6), np.float32), "mse")


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("sequences", [False, True])
def test_states_between_layers(cell, sequences):
    """An encoder's final state is a decoder's initial one; the gradient flows back through it."""

    def build(k):
        first, second = k.Input((5, 4)), k.Input((3, 2))
        layer = getattr(k.layers, cell)
        _, *states = layer(6, return_state=True)(first)
        out = layer(6, return_sequences=sequences)(second, initial_state=states)
        return k.Model([first, second], k.layers.Dense(2)(out))

    ours, theirs = twins(build)
    x = [data(), data(3, 3, 2)]
    check_outputs(ours, theirs, x)
    shape = (3, 3, 2) if sequences else (3, 2)
    check_step(ours, theirs, x, np.ones(shape, np.float32), "mse")


@pytest.mark.parametrize("cell", CELLS)
def test_return_state(cell):
    def build(k):
        x = k.Input((5, 4))
        return k.Model(x, getattr(k.layers, cell)(6, return_state=True, return_sequences=True)(x))

    ours, theirs = twins(build)
    check_outputs(ours, theirs, data())


@pytest.mark.parametrize("mode", ["concat", "sum", "mul", "ave", None])
@pytest.mark.parametrize("sequences", [False, True])
@pytest.mark.parametrize("masked", [False, True], ids=["plain", "masked"])
def test_bidirectional(mode, sequences, masked):
    def build(k):
        x = k.Input((5, 4))
        inner = k.layers.Masking()(x) if masked else x
        y = k.layers.Bidirectional(k.layers.LSTM(3, return_sequences=sequences), merge_mode=mode)(inner)
        return k.Model(x, k.layers.Concatenate()(y) if mode is None else y)

    ours, theirs = twins(build)
    x = mask_data()[0] if masked else data()
    check_outputs(ours, theirs, x)
    if not masked or mode is not None:  # Keras's Concatenate takes no None beside a mask
        y = np.ones((len(x), *ours.output_shape[1:]), np.float32)
        check_step(ours, theirs, x, y, "mse")


def test_bidirectional_states():
    def build(k):
        x, first = k.Input((5, 4)), k.Input((5, 4))
        _, *states = k.layers.Bidirectional(k.layers.GRU(3, return_state=True))(first)
        y = k.layers.Bidirectional(k.layers.GRU(3), backward_layer=k.layers.GRU(3, go_backwards=True))(
            x, initial_state=states
        )
        return k.Model([x, first], y)

    ours, theirs = twins(build)
    check_outputs(ours, theirs, [data(), data(seed=5)])
    check_step(ours, theirs, [data(), data(seed=5)], np.ones((3, 6), np.float32), "mse")


@pytest.mark.parametrize("inner", ["Dense", "Flatten", "LSTM", "Activation"])
def test_time_distributed(inner):
    def build(k):
        layer = {
            "Dense": lambda: k.layers.Dense(3, activation="tanh"),
            "Flatten": lambda: k.layers.Flatten(),
            "LSTM": lambda: k.layers.LSTM(3),
            "Activation": lambda: k.layers.Activation("softmax"),
        }[inner]()
        shape = (5, 4) if inner in ("Dense", "Activation") else (5, 2, 4)
        return k.Sequential([k.Input(shape), k.layers.TimeDistributed(layer)])

    ours, theirs = twins(build)
    x = data() if inner in ("Dense", "Activation") else data(3, 10, 4).reshape(3, 5, 2, 4)
    check_outputs(ours, theirs, x)
    if inner != "Flatten":
        y = np.full((3, *ours.output_shape[1:]), 0.25, np.float32)
        check_step(ours, theirs, x, y, "mse") if ours.weights else None


def test_masks_reach_the_loss():
    """Sum over valid steps, divided by their number; an Embedding's mask goes through everything."""

    def build(k):
        ids = k.Input((6,))
        x = k.layers.Embedding(9, 4, mask_zero=True)(ids)
        x = k.layers.LSTM(5, return_sequences=True)(x)
        return k.Model(ids, k.layers.Dense(3, activation="softmax")(x))

    ours, theirs = twins(build)
    ids = np.array([[3, 1, 0, 4, 0, 0], [1, 2, 3, 4, 5, 6], [8, 0, 0, 0, 0, 0]])
    y = np.array([[0, 1, 2, 0, 1, 2]] * 3)
    check_outputs(ours, theirs, ids)
    check_step(ours, theirs, ids, y, "sparse_categorical_crossentropy", ["accuracy"])


def test_addition_model():
    """The model of the addition program: shapes, parameters, a step of it."""

    def build(k):
        return k.Sequential(
            [
                k.Input((7, 12)),
                k.layers.LSTM(16),
                k.layers.RepeatVector(4),
                k.layers.LSTM(16, return_sequences=True),
                k.layers.TimeDistributed(k.layers.Dense(12)),
                k.layers.Activation("softmax"),
            ]
        )

    ours, theirs = twins(build)
    rng = np.random.default_rng(0)
    x = np.eye(12, dtype=np.float32)[rng.integers(0, 12, (5, 7))]
    y = np.eye(12, dtype=np.float32)[rng.integers(0, 12, (5, 4))]
    check_outputs(ours, theirs, x)
    check_step(ours, theirs, x, y, "categorical_crossentropy", ["accuracy"])
    close(ours.predict(x, verbose=0), np.asarray(theirs(x)))
