"""Learning rate schedules against Keras's, step by step, and in training."""

import numpy as np
import pytest
from keras_twin import keras

import fastseq
from fastseq.optimizers import SGD, schedules

CASES = [
    ("ExponentialDecay", (0.1, 7, 0.5), {}),
    ("ExponentialDecay", (0.1, 7, 0.5), {"staircase": True}),
    ("InverseTimeDecay", (0.1, 7, 0.5), {}),
    ("InverseTimeDecay", (0.1, 7, 0.5), {"staircase": True}),
    ("PiecewiseConstantDecay", ([3, 10, 11], [1.0, 0.5, 0.3, 0.1]), {}),
    ("PolynomialDecay", (0.1, 20), {}),
    ("PolynomialDecay", (0.1, 20, 0.01, 2.5), {}),
    ("PolynomialDecay", (0.1, 8, 0.01, 0.5), {"cycle": True}),
    ("CosineDecay", (0.1, 20), {}),
    ("CosineDecay", (0.1, 20, 0.2), {"warmup_target": 0.5, "warmup_steps": 6}),
    ("CosineDecay", (0.0, 20), {"warmup_target": 0.5, "warmup_steps": 6}),
    ("CosineDecayRestarts", (0.1, 5), {}),
    ("CosineDecayRestarts", (0.1, 5, 1.0, 0.5, 0.1), {}),
    ("CosineDecayRestarts", (0.1, 5, 1.5, 0.7, 0.1), {}),
]


@pytest.mark.parametrize(("name", "arguments", "options"), CASES)
def test_values(name, arguments, options):
    ours = getattr(schedules, name)(*arguments, **options)
    theirs = getattr(keras.optimizers.schedules, name)(*arguments, **options)
    assert ours.get_config() == theirs.get_config()
    for step in range(46):
        assert ours(step) == pytest.approx(float(theirs(step)), rel=2e-5, abs=2e-7), step
    again = schedules.deserialize(schedules.serialize(ours))
    assert type(again) is type(ours)
    assert [again(step) for step in range(46)] == [ours(step) for step in range(46)]


def test_restarts_are_exact():
    """A restart happens at its step, whatever the logarithms round to."""
    made = schedules.CosineDecayRestarts(0.1, 1, t_mul=10.0)
    for step in (1, 11, 111, 1111, 11111):
        assert made(step) == 0.1


def model():
    return fastseq.Sequential([fastseq.layers.Dense(2, input_shape=(4,))])


def test_training_follows_the_schedule():
    x, y = np.ones((3, 4), np.float32), np.zeros((3, 2), np.float32)
    a, b = model(), model()
    b.set_weights(a.get_weights())
    schedule = schedules.ExponentialDecay(0.1, 2, 0.5)
    a.compile(SGD(schedule), "mse")
    b.compile(SGD(0.0), "mse")
    for step in range(4):
        assert a.optimizer.learning_rate == schedule(step)
        b.optimizer.learning_rate = 0.1 * 0.5 ** (step / 2)
        a.train_on_batch(x, y)
        b.train_on_batch(x, y)
    for p, q in zip(a.get_weights(), b.get_weights(), strict=True):
        np.testing.assert_array_equal(p, q)


def test_a_function_may_take_the_step_or_nothing():
    assert SGD(lambda: 0.3).learning_rate == 0.3
    assert SGD(lambda step: 0.3 + step).learning_rate == 0.3


def test_own_schedule():
    class Half(schedules.LearningRateSchedule):
        def __init__(self, start):
            self.start = start

        def __call__(self, step):
            return self.start / 2**step

    made = SGD(Half(0.4))
    assert made.learning_rate == 0.4
    assert made.get_config()["learning_rate"] == {"class_name": "Half", "config": {"start": 0.4}}
    made.learning_rate = schedules.CosineDecay(0.2, 3)  # another schedule may take its place
    assert made.learning_rate == 0.2


def test_own_schedule_in_a_file(tmp_path):
    """As any object of one's own, by its registered name."""

    @fastseq.utils.register_keras_serializable("schedules of tests")
    class Third(schedules.LearningRateSchedule):
        def __init__(self, start):
            self.start = start

        def __call__(self, step):
            return self.start / 3**step

    made = model()
    made.compile(SGD(Third(0.4)), "mse")
    made.train_on_batch(np.ones((3, 4)), np.ones((3, 2)))
    made.save(tmp_path / "m.fastseq")
    again = fastseq.models.load_model(tmp_path / "m.fastseq")
    assert again.optimizer.learning_rate == made.optimizer.learning_rate == pytest.approx(0.4 / 3)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: schedules.ExponentialDecay(0.1, 0, 0.5), ValueError,
         "ExponentialDecay: decay_steps must be more than 0, got 0.0"),
        (lambda: schedules.ExponentialDecay("x", 1, 0.5), TypeError,
         "ExponentialDecay: initial_learning_rate must be a number, got 'x'"),
        (lambda: schedules.PiecewiseConstantDecay([1, 2], [0.1, 0.2]), ValueError,
         "PiecewiseConstantDecay: values must be 3 numbers, one more than boundaries, got 2"),
        (lambda: schedules.PiecewiseConstantDecay([2, 2], [0.1, 0.2, 0.3]), ValueError,
         "PiecewiseConstantDecay: boundaries must grow, got [2.0, 2.0]"),
        (lambda: schedules.CosineDecayRestarts(0.1, 5, t_mul=0.5), ValueError,
         "CosineDecayRestarts: t_mul must be at least 1, got 0.5"),
        (lambda: schedules.CosineDecay(0.1, 5, warmup_steps=-1), ValueError,
         "CosineDecay: warmup_steps must be at least 0, got -1.0"),
        (lambda: setattr(SGD(schedules.CosineDecay(0.1, 5)), "learning_rate", 0.2), TypeError,
         "SGD: learning_rate must be left to the schedule it was made with, got 0.2"),
        (lambda: schedules.deserialize({"class_name": "CosinDecay"}), ValueError,
         "schedules.deserialize: class_name must be one of cosine_decay, cosine_decay_restarts, "
         "exponential_decay, inverse_time_decay, piecewise_constant_decay, polynomial_decay, "
         "got 'CosinDecay' (did you mean 'cosine_decay'?)"),
        (lambda: schedules.deserialize({}), TypeError,
         'schedules.deserialize: description must hold "class_name" and "config", got dict'),
    ],
)  # fmt: skip
def test_errors(call, error, text):
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == text
