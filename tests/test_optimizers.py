"""Optimizers against Keras over several steps, each option by itself."""

import numpy as np
import pytest
from keras_twin import keras

import fastseq
from fastseq import optimizers


def rows(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("SGD", {}),
        ("SGD", {"learning_rate": 0.3, "momentum": 0.9}),
        ("SGD", {"learning_rate": 0.3, "momentum": 0.9, "nesterov": True}),
        ("SGD", {"learning_rate": 0.3, "weight_decay": 0.1}),
        ("SGD", {"learning_rate": 0.3, "clipnorm": 0.05}),
        ("SGD", {"learning_rate": 0.3, "global_clipnorm": 0.05}),
        ("SGD", {"learning_rate": 0.3, "clipvalue": 0.02}),
        ("RMSprop", {}),
        ("RMSprop", {"learning_rate": 0.01, "rho": 0.5, "epsilon": 1e-3}),
        ("RMSprop", {"learning_rate": 0.01, "momentum": 0.7}),
        ("RMSprop", {"learning_rate": 0.01, "centered": True}),
        ("RMSprop", {"learning_rate": 0.01, "centered": True, "momentum": 0.7, "weight_decay": 0.1}),
        ("RMSprop", {"learning_rate": 0.01, "clipnorm": 0.05}),
        ("Adam", {}),
        ("Adam", {"learning_rate": 0.1, "beta_1": 0.5, "beta_2": 0.7, "epsilon": 1e-3}),
        ("Adam", {"learning_rate": 0.1, "weight_decay": 0.05}),
        ("Adam", {"learning_rate": 0.1, "clipnorm": 0.05}),
    ],
)
def test_steps(name, options):
    """Five steps on two dense layers: clipping by variable sees the variables, not the buffer."""

    def build(k):
        return k.Sequential([k.Input((4,)), k.layers.Dense(5, activation="tanh"), k.layers.Dense(2)])

    import keras_twin

    ours, theirs = keras_twin.twins(build)
    ours.compile(getattr(optimizers, name)(**options), "mse")
    optimizer = getattr(keras.optimizers, name)(**options)
    theirs.compile(optimizer, "mse", run_eagerly=True)
    for step in range(5):
        x, y = rows(6, 4, seed=step), rows(6, 2, seed=9 + step)
        assert ours.train_on_batch(x, y) == pytest.approx(float(theirs.train_on_batch(x, y)), rel=1e-4)
    for a, b in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    assert ours.optimizer.iterations == 5


def model():
    made = fastseq.Sequential([fastseq.layers.Dense(2, input_shape=(4,))])
    return made


def test_old_arguments():
    assert optimizers.SGD(lr=0.5).learning_rate == 0.5
    sgd = optimizers.SGD(lr=1.0, decay=0.5)
    plain = optimizers.SGD(1.0)
    a, b = model(), model()
    a.set_weights(b.get_weights())
    a.compile(sgd, "mse")
    b.compile(plain, "mse")
    for rate in (1.0, 1 / 1.5, 1 / 2.0):  # lr / (1 + decay * steps)
        plain.learning_rate = rate
        a.train_on_batch(rows(3, 4), rows(3, 2))
        b.train_on_batch(rows(3, 4), rows(3, 2))
        for p, q in zip(a.get_weights(), b.get_weights(), strict=True):
            np.testing.assert_array_equal(p, q)


def test_the_learning_rate_may_be_a_function_of_the_step():
    optimizer = optimizers.Adam(lambda step: 0.1 / (1 + step))
    made = model()
    made.compile(optimizer, "mse")
    assert optimizer.learning_rate == 0.1
    made.train_on_batch(rows(3, 4), rows(3, 2))
    assert optimizer.learning_rate == pytest.approx(0.05)
    optimizer.lr = 0.2
    assert optimizer.learning_rate == 0.2


def test_one_optimizer_is_for_one_model():
    optimizer = optimizers.Adam()
    a, b = model(), model()
    a.compile(optimizer, "mse")
    a.train_on_batch(rows(3, 4), rows(3, 2))
    a.compile(optimizer, "mse")  # the same weights again: its state goes on
    a.train_on_batch(rows(3, 4), rows(3, 2))
    assert optimizer.iterations == 2
    b.compile(optimizer, "mse")
    with pytest.raises(ValueError) as error:
        b.train_on_batch(rows(3, 4), rows(3, 2))
    assert str(error.value) == (
        "compile: optimizer must be new, or have been used for the same weights, "
        "got one used for other weights"
    )


def test_configurations():
    made = optimizers.Adam(0.2, beta_1=0.8, clipnorm=1.0, weight_decay=0.1)
    again = optimizers.Adam(**made.get_config())
    assert again.get_config() == made.get_config()
    made = optimizers.RMSprop(0.2, rho=0.8, momentum=0.1, centered=True, clipvalue=1.0)
    assert optimizers.RMSprop(**made.get_config()).get_config() == made.get_config()
    assert isinstance(optimizers.get("RMSprop"), optimizers.RMSprop)
    assert isinstance(optimizers.get("Adam"), optimizers.Adam)
    assert isinstance(optimizers.get(optimizers.SGD), optimizers.SGD)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (
            lambda: optimizers.get("adamax"),
            ValueError,
            "optimizers.get: identifier must be one of adam, rmsprop, sgd, got 'adamax'",
        ),
        (
            lambda: optimizers.get(3),
            TypeError,
            "optimizers.get: identifier must be the name of an optimizer or an Optimizer, got 3",
        ),
        (lambda: optimizers.SGD(-1), ValueError, "SGD: learning_rate must be at least 0, got -1.0"),
        (lambda: optimizers.SGD("fast"), TypeError, "SGD: learning_rate must be a number, got 'fast'"),
        (lambda: optimizers.SGD(momentum=2), ValueError, "SGD: momentum must be in [0, 1], got 2.0"),
        (lambda: optimizers.Adam(beta_1=1.0), ValueError, "Adam: beta_1 must be in [0, 1), got 1.0"),
        (lambda: optimizers.RMSprop(rho=1.5), ValueError, "RMSprop: rho must be in [0, 1], got 1.5"),
        (
            lambda: optimizers.RMSprop(momentum=-1),
            ValueError,
            "RMSprop: momentum must be in [0, 1], got -1.0",
        ),
        (lambda: optimizers.Adam(amsgrad=True), ValueError, "Adam: amsgrad must be False, got True"),
        (lambda: optimizers.Adam(use_ema=True), ValueError, "Adam: use_ema must be False, got True"),
        (lambda: optimizers.Adam(clipnorm=0), ValueError, "Adam: clipnorm must be more than 0, got 0.0"),
        (
            lambda: optimizers.Adam(clipnorm=1, clipvalue=1),
            ValueError,
            "Adam: clipping must be one of clipnorm, clipvalue, global_clipnorm, got clipnorm and clipvalue",
        ),
        (
            lambda: optimizers.SGD(rate=1),
            TypeError,
            "SGD: options must be among clipnorm, clipvalue, decay, ema_momentum, ema_overwrite_frequency, "
            "global_clipnorm, gradient_accumulation_steps, learning_rate, loss_scale_factor, lr, momentum, "
            "name, nesterov, use_ema, weight_decay, got 'rate'",
        ),
    ],
)
def test_errors(call, error, text):
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == text
