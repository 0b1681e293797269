"""BatchNormalization against Keras: steps of training, moving averages, inference, masks, freezing."""

import numpy as np
import pytest
from keras_twin import OURS, THEIRS, check_outputs, check_step, close, twins

from fastseq import layers, models


def positive(models_):
    """Random weights with variances above 0, the same in both models."""
    rng = np.random.default_rng(9)
    weights = [rng.uniform(0.1, 0.4, w.shape).astype(np.float32) for w in models_[0].get_weights()]
    for model in models_:
        model.set_weights(weights)


OPTIONS = [
    {},
    {"center": False},
    {"scale": False},
    {"momentum": 0.7, "epsilon": 0.01},
    {"axis": 3},
    {"center": False, "scale": False},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_on_images(options):
    def build(library):
        return library.Sequential(
            [
                library.Input((6, 9, 2)),
                library.layers.Conv2D(8, 3, use_bias=False),
                library.layers.BatchNormalization(**options),
                library.layers.Activation("relu"),
                library.layers.MaxPooling2D(),
                library.layers.Flatten(),
                library.layers.Dense(3),
            ]
        )

    rng = np.random.default_rng(0)
    both = twins(build)
    positive(both)
    x = rng.standard_normal((7, 6, 9, 2)).astype(np.float32)
    check_outputs(*both, x)
    check_step(*both, x, rng.standard_normal((7, 3)).astype(np.float32), "mse")


def test_on_features():
    def build(library):
        return library.Sequential(
            [
                library.Input((5,)),
                library.layers.Dense(6),
                library.layers.BatchNormalization(),
                library.layers.Dense(2),
            ]
        )

    rng = np.random.default_rng(1)
    both = twins(build)
    positive(both)
    x = rng.standard_normal((9, 5)).astype(np.float32)
    check_outputs(*both, x)
    check_step(*both, x, rng.standard_normal((9, 2)).astype(np.float32), "mse")


def test_masked_steps_do_not_count():
    def build(library):
        return library.Sequential(
            [
                library.Input((7, 4)),
                library.layers.Masking(0.0),
                library.layers.BatchNormalization(momentum=0.5),
                library.layers.LSTM(5),
                library.layers.Dense(2),
            ]
        )

    rng = np.random.default_rng(2)
    both = twins(build)
    positive(both)
    x = rng.standard_normal((9, 7, 4)).astype(np.float32)
    x[2:5, 3:] = 0
    check_outputs(*both, x)
    check_step(*both, x, rng.standard_normal((9, 2)).astype(np.float32), "mse")


def test_frozen_is_inference():
    def build(library):
        made = library.Sequential(
            [
                library.Input((5,)),
                library.layers.Dense(6),
                library.layers.BatchNormalization(),
                library.layers.Dense(2),
            ]
        )
        made.layers[1].trainable = False
        return made

    rng = np.random.default_rng(3)
    both = twins(build)
    positive(both)
    before = [w.numpy() for w in both[0].layers[-2].weights]
    x = rng.standard_normal((9, 5)).astype(np.float32)
    check_step(*both, x, rng.standard_normal((9, 2)).astype(np.float32), "mse")
    close([w.numpy() for w in both[0].layers[-2].weights], before, 0)
    names = [(name, sorted(wanted)) for name, wanted, _ in
             both[0]._objective.plan_training(both[0].trainable_weights).backward_operations]  # fmt: skip
    assert ("batch_norm", ["x"]) in names


def test_freezing_takes_effect_with_compile():
    model = models.Sequential([layers.Input((3,)), layers.BatchNormalization(), layers.Dense(1)])
    x, y = np.random.default_rng(4).standard_normal((8, 3)), np.ones((8, 1))
    layer = model.layers[-2]
    model.compile("sgd", "mse")
    model.train_on_batch(x, y)
    moved = layer.moving_mean.numpy()
    assert moved.any()
    layer.trainable = False
    model.compile("sgd", "mse")
    model.train_on_batch(x, y)
    np.testing.assert_array_equal(layer.moving_mean.numpy(), moved)


def test_weights():
    layer = layers.BatchNormalization(name="n")
    layer.ensure_built((None, 4, 6))
    assert [w.name for w in layer.weights] == ["n/gamma", "n/beta", "n/moving_mean", "n/moving_variance"]
    assert [w.name for w in layer.trainable_weights] == ["n/gamma", "n/beta"]
    assert [w.name for w in layer.non_trainable_weights] == ["n/moving_mean", "n/moving_variance"]
    assert layer.count_params() == 24
    again = layers.BatchNormalization.from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    theirs = THEIRS.layers.BatchNormalization(name="n").get_config()
    for name in ("axis", "momentum", "epsilon", "center", "scale"):
        assert layer.get_config()[name] == theirs[name]


def test_training_asked_for_on_arrays():
    x = np.random.default_rng(5).standard_normal((50, 3)).astype(np.float32)
    ours, theirs = (library.layers.BatchNormalization(momentum=0.9) for library in (OURS, THEIRS))
    for training in (False, True, True, False):
        close(ours(x, training=training), theirs(x, training=training))
        close(ours.get_weights(), theirs.get_weights())


def test_weights_of_a_fit():
    def build():
        return models.Sequential([layers.Input((3,)), layers.BatchNormalization(), layers.Dense(1)])

    rng = np.random.default_rng(6)
    x = rng.standard_normal((64, 3)) + 2
    model = build()
    model.compile("sgd", "mse")
    model.fit(x, x[:, :1], epochs=3, batch_size=16, verbose=0, validation_data=(x, x[:, :1]))
    assert (model.layers[-2].moving_mean.numpy() > 0.2).all()
    other = build()
    other.set_weights(model.get_weights())
    np.testing.assert_array_equal(other.predict(x, verbose=0), model.predict(x, verbose=0))


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: layers.BatchNormalization(renorm=True),
         "BatchNormalization: renorm must be False, got True"),
        (lambda: layers.BatchNormalization(synchronized=True),
         "BatchNormalization: synchronized must be False, got True"),
        (lambda: layers.BatchNormalization(epsilon=-1),
         "BatchNormalization: epsilon must be at least 0, got -1.0"),
        (lambda: layers.BatchNormalization(axis=1, name="n")(layers.Input((4, 6))),
         "n: axis must be the last one, -1 or 2, got 1"),
        (lambda: layers.BatchNormalization(name="n")(layers.Input((4, None))),
         "n: inputs must have a known number of channels, got shape (None, 4, None)"),
        (lambda: layers.BatchNormalization(name="n")(layers.Input(())),
         "n: inputs must have shape (batch, ..., channels), got shape (None,)"),
    ],
)  # fmt: skip
def test_errors(call, text):
    with pytest.raises(ValueError) as raised:
        call()
    assert str(raised.value) == text


def test_another_number_of_channels():
    layer = layers.BatchNormalization(name="n")
    layer(layers.Input((5, 2)))
    with pytest.raises(ValueError) as raised:
        layer(layers.Input((5, 3)))
    assert str(raised.value) == "n: inputs must have 2 channels, got shape (None, 5, 3)"
