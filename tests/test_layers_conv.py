"""Layers of images against Keras: outputs, a step of training, arguments and what they refuse."""

import numpy as np
import pytest
from keras_twin import OURS, THEIRS, check_outputs, check_step, twins

from fastseq import layers, models


def images(rng, *shape):
    return rng.standard_normal(shape).astype(np.float32)


CONVOLUTIONS = [
    {"kernel_size": 3, "padding": "same", "activation": "relu"},
    {"kernel_size": (3, 5), "strides": (2, 1), "activation": "tanh"},
    {"kernel_size": 5, "strides": 2, "padding": "SAME", "use_bias": False},
    {"kernel_size": 2, "dilation_rate": (2, 3), "padding": "same", "activation": "gelu"},
    {"kernel_size": 1, "data_format": "channels_last", "activation": "softmax"},
]


@pytest.mark.parametrize("options", CONVOLUTIONS, ids=str)
@pytest.mark.parametrize("channels", [1, 3, 17])
def test_conv2d(options, channels):
    def build(library):
        return library.Sequential(
            [
                library.Input((11, 18, channels)),
                library.layers.Conv2D(6, **options),
                library.layers.Conv2D(16, 3, padding="same"),
                library.layers.Flatten(),
                library.layers.Dense(3),
            ]
        )

    rng = np.random.default_rng(0)
    ours, theirs = twins(build)
    small = [weight / 8 for weight in ours.get_weights()]  # sums of hundreds, and both in single precision
    ours.set_weights(small)
    theirs.set_weights(small)
    assert ours.layers[-4].output_shape == tuple(theirs.layers[0].output.shape)
    x = images(rng, 5, 11, 18, channels)
    check_outputs(ours, theirs, x)
    check_step(ours, theirs, x / 8, images(rng, 5, 3), "mse")


POOLINGS = [
    {"pool_size": 2},
    {"pool_size": 3, "strides": 2, "padding": "same"},
    {"pool_size": (2, 3), "strides": (1, 2)},
]


@pytest.mark.parametrize("options", POOLINGS, ids=str)
@pytest.mark.parametrize("name", ["MaxPooling2D", "AveragePooling2D", "MaxPool2D", "AvgPool2D"])
def test_pooling(name, options):
    def build(library):
        return library.Sequential(
            [
                library.Input((9, 13, 2)),
                library.layers.Conv2D(8, 3, activation="relu"),
                getattr(library.layers, name)(**options),
                library.layers.Flatten(),
                library.layers.Dense(3),
            ]
        )

    rng = np.random.default_rng(1)
    ours, theirs = twins(build)
    x = images(rng, 4, 9, 13, 2)
    check_outputs(ours, theirs, x)
    check_step(ours, theirs, x / 4, images(rng, 4, 3), "mse")


@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("name", ["GlobalMaxPooling2D", "GlobalAveragePooling2D"])
def test_global_pooling(name, keepdims):
    def build(library):
        return library.Sequential(
            [
                library.Input((9, 13, 2)),
                library.layers.Conv2D(8, 3),
                getattr(library.layers, name)(keepdims=keepdims),
                library.layers.Flatten(),
                library.layers.Dense(3),
            ]
        )

    rng = np.random.default_rng(2)
    ours, theirs = twins(build)
    x = images(rng, 4, 9, 13, 2)
    check_outputs(ours, theirs, x)
    check_step(ours, theirs, x / 4, images(rng, 4, 3), "mse")


def test_front_of_a_reader():
    """Convolutions and pooling, their columns as steps, recurrent layers both ways: as in the OCR example."""

    def build(library):
        inputs = library.Input((32, 16, 1))
        x = inputs
        for _ in range(2):
            x = library.layers.Conv2D(
                8, (3, 3), padding="same", activation="relu", kernel_initializer="he_normal"
            )(x)
            x = library.layers.MaxPooling2D(pool_size=(2, 2))(x)
        x = library.layers.Reshape((8, 32))(x)
        x = library.layers.Dense(12, activation="relu")(x)
        forward = library.layers.GRU(7, return_sequences=True, reset_after=False)(x)
        backward = library.layers.GRU(7, return_sequences=True, go_backwards=True, reset_after=False)(x)
        x = library.layers.Add()([forward, backward])
        return library.Model(inputs, library.layers.Dense(5, activation="softmax")(x))

    rng = np.random.default_rng(3)
    ours, theirs = twins(build)
    x = images(rng, 6, 32, 16, 1) / 4
    y = np.eye(5, dtype=np.float32)[rng.integers(0, 5, (6, 8))]
    check_outputs(ours, theirs, x)
    check_step(ours, theirs, x, y, "categorical_crossentropy")


def test_what_a_plan_does():
    """Activation and maxima join their convolution, and the image gets no gradient."""
    model = models.Sequential(
        [
            layers.Input((8, 18, 1)),
            layers.Conv2D(4, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(4, 3, activation="relu"),
            layers.MaxPooling2D((1, 2), strides=1),
            layers.Conv2D(4, 1, activation="gelu"),
            layers.MaxPooling2D((1, 2)),
            layers.Flatten(),
            layers.Dense(1),
        ]
    )
    model.compile("sgd", "mse")
    model.train_on_batch(np.ones((2, 8, 18, 1)), np.ones((2, 1)))
    plan = model._objective.plan_training(model.trainable_weights)
    made = [(name, options.get("activation"), options.get("pool_size")) for name, options in plan.operations]
    assert made[:5] == [
        ("conv2d", "relu", (2, 2)),
        ("conv2d", "relu", 1),
        ("max_pool2d", None, (1, 2)),  # blocks that overlap
        ("conv2d", "gelu", 1),
        ("max_pool2d", None, (1, 2)),  # a slope that is not found from the output
    ]
    wanted = [names for name, names, _ in plan.backward_operations if name == "conv2d"]
    assert wanted == [("x", "kernel", "bias"), ("x", "kernel", "bias"), ("kernel", "bias")]


def test_an_output_that_is_asked_for_is_made():
    inputs = layers.Input((8, 18, 1))
    whole = layers.Conv2D(4, 3, activation="relu")(inputs)
    both = models.Model(inputs, [whole, layers.MaxPooling2D()(whole)])
    x = np.random.default_rng(5).standard_normal((2, 8, 18, 1))
    y, maxima = both.predict(x, verbose=0)
    np.testing.assert_array_equal(maxima, y.reshape(2, 3, 2, 8, 2, 4).max(axis=(2, 4)))
    alone = models.Model(inputs, both.outputs[1]).predict(x, verbose=0)
    np.testing.assert_array_equal(maxima, alone)


def test_an_unknown_size():
    model = models.Sequential(
        [layers.Input((None, None, 3)), layers.Conv2D(4, 3, padding="same"), layers.MaxPooling2D()]
    )
    assert model.output_shape == (None, None, None, 4)
    assert model.predict(np.ones((2, 6, 9, 3)), verbose=0).shape == (2, 3, 4, 4)
    assert model.predict(np.ones((2, 8, 33, 3)), verbose=0).shape == (2, 4, 16, 4)


@pytest.mark.parametrize(
    "make",
    [
        lambda library: library.layers.Conv2D(
            5, (3, 2), strides=2, padding="same", activation="relu", use_bias=False, name="conv"
        ),
        lambda library: library.layers.MaxPooling2D(3, 2, "same", name="pool"),
        lambda library: library.layers.GlobalAveragePooling2D(keepdims=True, name="mean"),
    ],
)
def test_config_makes_the_layer_again(make):
    ours = make(OURS)
    again = type(ours).from_config(ours.get_config())
    assert again.get_config() == ours.get_config()
    theirs = make(THEIRS).get_config()
    plain = ("kernel_size", "strides", "padding", "dilation_rate", "filters", "use_bias", "pool_size")
    for name in (name for name in plain if name in theirs):
        assert ours.get_config()[name] == theirs[name]


def test_he_normal_is_kerass():
    """Truncated at two deviations, and its variance 2 / fan_in after that."""
    from fastseq import initializers

    ours = initializers.get("he_normal")((3, 3, 64, 256)).ravel()
    theirs = np.asarray(THEIRS.layers.Conv2D(256, 3, kernel_initializer="he_normal").kernel_initializer(
        (3, 3, 64, 256))).ravel()  # fmt: skip
    fan = 3 * 3 * 64
    assert np.std(ours) == pytest.approx(np.sqrt(2 / fan), rel=0.01)
    end = 2 * np.sqrt(2 / fan) / 0.87962566103423978
    assert 0.999 * end < np.abs(ours).max() <= end
    shares = np.linspace(0.01, 0.99, 33)
    np.testing.assert_allclose(np.quantile(ours, shares), np.quantile(theirs, shares), atol=0.02 * end)


def test_weights_and_names():
    layer = layers.Conv2D(16, (3, 5), name="first")
    layer.ensure_built((None, 8, 9, 2))
    assert [w.name for w in layer.weights] == ["first/kernel", "first/bias"]
    assert [w.shape for w in layer.weights] == [(3, 5, 2, 16), (16,)]
    assert layer.count_params() == 3 * 5 * 2 * 16 + 16


def test_on_arrays():
    layer = layers.Conv2D(4, 3, activation="relu", dtype="float64")
    x = np.random.default_rng(4).standard_normal((2, 6, 7, 3))
    y = layer(x)
    assert y.shape == (2, 4, 5, 4)
    assert y.dtype == np.float64
    assert layers.MaxPooling2D()(y).shape == (2, 2, 2, 4)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: layers.Conv2D(0, 3), ValueError, "Conv2D: filters must be at least 1, got 0"),
        (lambda: layers.Conv2D(4, (3, 3, 3)), ValueError,
         "Conv2D: kernel_size must be an integer or two of them, got '(3, 3, 3)'"),
        (lambda: layers.Conv2D(4, 3, padding="causal"), ValueError,
         "Conv2D: padding must be same or valid, got 'causal'"),
        (lambda: layers.Conv2D(4, 3, data_format="channels_first"), ValueError,
         "Conv2D: data_format must be channels_last, got 'channels_first'"),
        (lambda: layers.Conv2D(4, 3, groups=2), ValueError, "Conv2D: groups must be 1, got 2"),
        (lambda: layers.MaxPooling2D(0), ValueError, "MaxPooling2D: pool_size must be at least 1, got 0"),
        (lambda: layers.Conv2D(4, 3, name="c")(layers.Input((5, 6))), ValueError,
         "c: inputs must have shape (batch, height, width, channels), got shape (None, 5, 6)"),
        (lambda: layers.Conv2D(4, 3, name="c")(layers.Input((5, 6, None))), ValueError,
         "c: inputs must have a known number of channels, got shape (None, 5, 6, None)"),
        (lambda: layers.Conv2D(4, 3)(layers.Input((2, 6, 1))), ValueError,
         "conv2d: x must be at least 3 high, as the window is, got shape (None, 2, 6, 1)"),
        (lambda: layers.GlobalMaxPooling2D(name="g")(layers.Input((5, 6))), ValueError,
         "g: inputs must have shape (batch, height, width, channels), got shape (None, 5, 6)"),
    ],
)  # fmt: skip
def test_errors(call, error, text):
    with pytest.raises(error) as raised:
        call()
    assert str(raised.value) == text


def test_another_number_of_channels():
    layer = layers.Conv2D(4, 3, name="c")
    layer(layers.Input((5, 6, 2)))
    with pytest.raises(ValueError) as raised:
        layer(layers.Input((5, 6, 3)))
    assert str(raised.value) == "c: inputs must have 2 channels, got shape (None, 5, 6, 3)"
