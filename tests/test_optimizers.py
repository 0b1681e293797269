"""Optimizers against Keras over several steps, each option by itself."""

import keras_twin
import numpy as np
import pytest
from keras_twin import keras
from small_models import rows

import fastseq
from fastseq import optimizers


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
        ("Adam", {"learning_rate": 0.1, "beta_2": 0.3, "amsgrad": True}),
        ("AdamW", {}),
        ("AdamW", {"learning_rate": 0.1, "weight_decay": 0.3, "amsgrad": True}),
        ("Adagrad", {}),
        ("Adagrad", {"learning_rate": 0.1, "initial_accumulator_value": 0.01, "epsilon": 1e-3}),
        ("Adagrad", {"learning_rate": 0.1, "weight_decay": 0.1, "global_clipnorm": 0.05}),
        ("Nadam", {}),
        ("Nadam", {"learning_rate": 0.1, "beta_1": 0.5, "beta_2": 0.7, "epsilon": 1e-3}),
        ("Nadam", {"learning_rate": 0.1, "clipvalue": 0.02, "gradient_accumulation_steps": 2}),
        ("Adamax", {}),
        ("Adamax", {"learning_rate": 0.1, "beta_1": 0.5, "beta_2": 0.7, "epsilon": 1e-3}),
        ("Lion", {}),
        ("Lion", {"learning_rate": 0.1, "beta_1": 0.5, "beta_2": 0.7, "weight_decay": 0.1}),
        ("SGD", {"learning_rate": 0.3, "gradient_accumulation_steps": 2}),
        ("Adam", {"learning_rate": 0.1, "gradient_accumulation_steps": 3, "weight_decay": 0.1}),
        ("Adam", {"learning_rate": 0.1, "gradient_accumulation_steps": 2, "clipnorm": 0.05}),
        ("SGD", {"learning_rate": 0.3, "use_ema": True, "ema_momentum": 0.7}),
        ("SGD", {"learning_rate": 0.3, "use_ema": True, "ema_momentum": 0.7, "ema_overwrite_frequency": 2}),
        (
            "Lion",
            {
                "learning_rate": 0.1, "use_ema": True, "ema_momentum": 0.5, "ema_overwrite_frequency": 3,
                "gradient_accumulation_steps": 2,
            },
        ),
    ],
)  # fmt: skip
def test_steps(name, options):
    """Five steps on two dense layers: clipping by variable sees the variables, not the buffer."""

    def build(k):
        return k.Sequential([k.Input((4,)), k.layers.Dense(5, activation="tanh"), k.layers.Dense(2)])

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


@pytest.mark.parametrize("frequency", [None, 4])
def test_running_means_take_the_weights_place_after_fit(frequency):
    options = {"learning_rate": 0.3, "use_ema": True, "ema_momentum": 0.6}
    options["ema_overwrite_frequency"] = frequency

    def build(k):
        return k.Sequential([k.Input((4,)), k.layers.Dense(5, activation="tanh"), k.layers.Dense(2)])

    ours, theirs = keras_twin.twins(build)
    ours.compile(optimizers.SGD(**options), "mse")
    theirs.compile(keras.optimizers.SGD(**options), "mse")
    for made in (ours, theirs):
        made.fit(rows(14, 4), rows(14, 2, seed=1), batch_size=2, epochs=1, shuffle=False, verbose=0)
    keras_twin.close(ours.get_weights(), theirs.get_weights())


def test_some_variables_do_not_decay():
    def build(k):
        return k.Sequential([k.Input((4,)), k.layers.Dense(5, activation="tanh"), k.layers.Dense(2)])

    for names in (["bias"], ["kernel", "nothing"], []):
        ours, theirs = keras_twin.twins(build)
        a = optimizers.AdamW(0.1, weight_decay=0.5)
        b = keras.optimizers.AdamW(0.1, weight_decay=0.5)
        a.exclude_from_weight_decay([ours.layers[0].kernel], names)
        b.exclude_from_weight_decay([theirs.layers[0].kernel], names)
        ours.compile(a, "mse")
        theirs.compile(b, "mse", run_eagerly=True)
        for step in range(3):
            batch = rows(6, 4, seed=step), rows(6, 2, seed=9 + step)
            ours.train_on_batch(*batch)
            theirs.train_on_batch(*batch)
        keras_twin.close(ours.get_weights(), theirs.get_weights())
    with pytest.raises(RuntimeError) as error:
        a.exclude_from_weight_decay(var_names=["bias"])
    assert str(error.value) == (
        "AdamW.exclude_from_weight_decay: it must be called before training, got an optimizer in use"
    )


FLOAT64 = {"beta_1": 0.5, "beta_2": 0.75, "epsilon": 2.0**-10}


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("SGD", {"momentum": 0.5}),
        ("Adam", FLOAT64),
        ("Adam", {**FLOAT64, "amsgrad": True}),
        ("Nadam", FLOAT64),
        ("Adamax", FLOAT64),
        ("Adagrad", {"initial_accumulator_value": 0.25, "epsilon": 2.0**-10}),
        ("Lion", {"beta_1": 0.5, "beta_2": 0.75}),
        ("RMSprop", {"rho": 0.75, "momentum": 0.5, "centered": True, "epsilon": 2.0**-10}),
    ],
)
def test_float64(name, options):
    """Keras's steps in float64; with settings that float32 holds exactly, which it makes of them first."""
    start = np.random.default_rng(0).normal(size=(2, 5))
    variable = keras.Variable(start, dtype="float64")
    theirs = getattr(keras.optimizers, name)(0.125, **options)
    ours = getattr(optimizers, name)(0.125, **options)
    value, gradient = start.copy().reshape(-1), np.zeros(10)
    ours.build([(value, gradient)])
    for step in range(5):
        slope = np.random.default_rng(step).normal(size=(2, 5))
        theirs.apply([keras.ops.convert_to_tensor(slope, "float64")], [variable])
        gradient[...] = slope.reshape(-1)
        ours.step()
    tolerance = 1e-7 if name == "Nadam" else 1e-13  # its 0.96 is no float32
    np.testing.assert_allclose(value.reshape(2, 5), variable.numpy(), rtol=tolerance, atol=tolerance)


def test_nadam_goes_on_after_a_resume():
    """What it needs besides its slots follows from the number of steps."""
    results = []
    for stop in (None, 3):
        value, gradient = np.ones(4), np.zeros(4)
        made = optimizers.Nadam(0.1)
        made.build([(value, gradient)])
        for step in range(6):
            if step == stop:
                again = optimizers.Nadam(**made.get_config())
                again.build([(value, gradient)])
                for new, old in zip(again.state, made.state, strict=True):
                    new[0][...] = old[0]
                again.iterations, made = made.iterations, again
            gradient[...] = np.arange(4) - step
            made.step()
        results.append(value)
    np.testing.assert_array_equal(*results)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("Adam", {"amsgrad": True}),
        ("AdamW", {}),
        ("Nadam", {"gradient_accumulation_steps": 2}),
        ("Adamax", {"use_ema": True, "ema_momentum": 0.5, "ema_overwrite_frequency": 3}),
        ("Adagrad", {"clipnorm": 0.1}),
        ("Lion", {"use_ema": True, "gradient_accumulation_steps": 3}),
    ],
)
def test_goes_on_from_a_file(name, options, tmp_path):
    """Saved between two batches of one step, all that it keeps comes back: the next have the same bits."""
    made = model()
    made.compile(getattr(optimizers, name)(0.1, **options), "mse")
    for step in range(4):
        made.train_on_batch(rows(3, 4, seed=step), rows(3, 2, seed=step))
    made.save(tmp_path / "m.fastseq")
    again = fastseq.models.load_model(tmp_path / "m.fastseq")
    for step in range(4, 9):
        for one in (made, again):
            one.train_on_batch(rows(3, 4, seed=step), rows(3, 2, seed=step))
    for a, b in zip(made.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


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
    for made in (
        optimizers.AdamW(0.1, 0.2, amsgrad=True),
        optimizers.Adagrad(0.1, 0.3),
        optimizers.Nadam(use_ema=True, ema_overwrite_frequency=5),
        optimizers.Adamax(gradient_accumulation_steps=4),
        optimizers.Lion(optimizers.schedules.CosineDecay(0.1, 10), beta_2=0.9),
    ):
        described = {"class_name": type(made).__name__, "config": made.get_config()}
        again = optimizers.get(described)
        assert type(again) is type(made)
        assert again.get_config() == made.get_config()
    assert isinstance(optimizers.get("AdamW"), optimizers.AdamW)
    assert isinstance(optimizers.get("RMSprop"), optimizers.RMSprop)
    assert isinstance(optimizers.get("Adam"), optimizers.Adam)
    assert isinstance(optimizers.get(optimizers.SGD), optimizers.SGD)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (
            lambda: optimizers.get("adamix"),
            ValueError,
            "optimizers.get: identifier must be one of adagrad, adam, adamax, adamw, lion, nadam, rmsprop, "
            "sgd, got 'adamix' (did you mean 'adamax'?)",
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
        (
            lambda: optimizers.Adam(loss_scale_factor=2.0),
            ValueError,
            "Adam: loss_scale_factor must be None, got 2.0",
        ),
        (
            lambda: optimizers.Adam(ema_momentum=1.5),
            ValueError,
            "Adam: ema_momentum must be in [0, 1], got 1.5",
        ),
        (
            lambda: optimizers.Adam(ema_overwrite_frequency=0),
            ValueError,
            "Adam: ema_overwrite_frequency must be at least 1, got 0",
        ),
        (
            lambda: optimizers.Adam(gradient_accumulation_steps=1),
            ValueError,
            "Adam: gradient_accumulation_steps must be at least 2, got 1",
        ),
        (
            lambda: optimizers.AdamW(weight_decay=None),
            TypeError,
            "AdamW: weight_decay must be a number, got None",
        ),
        (lambda: optimizers.Lion(beta_1=0), ValueError, "Lion: beta_1 must be in (0, 1], got 0.0"),
        (
            lambda: optimizers.Adagrad(initial_accumulator_value=-1),
            ValueError,
            "Adagrad: initial_accumulator_value must be at least 0, got -1.0",
        ),
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
