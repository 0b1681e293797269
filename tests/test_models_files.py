"""Models in files: all of them comes back, written whole or not at all."""

import copy
import os
import pickle
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from small_models import X, Y
from test_models_config import KINDS, same

import fastseq
from fastseq import layers, losses, metrics, models, ops, optimizers
from fastseq.utils import register_keras_serializable
from fastseq.weights import read_weights, write_weights


def random_model():
    """Dropout in two layers: two steps of it are equal only where the seeds are."""
    made = fastseq.Sequential(
        [
            layers.Input((4, 3)),
            layers.LSTM(5, dropout=0.3, recurrent_dropout=0.2),
            layers.Dropout(0.4),
            layers.Dense(3, activation="softmax"),
        ]
    )
    made.compile("adam", "categorical_crossentropy", metrics=["accuracy"])
    return made


def trained(made, epochs=2):
    return made.fit(X, Y, epochs=epochs, shuffle=False, verbose=0).history, made.get_weights()


def equal(a, b):
    assert a[0] == b[0]
    for p, q in zip(a[1], b[1], strict=True):
        np.testing.assert_array_equal(p, q)


@KINDS
def test_every_kind_of_model(build, tmp_path):
    made, x = build()
    made.predict(x, verbose=0)
    made.save(tmp_path / "m")
    other = models.load_model(tmp_path / "m")
    same(other.predict(x, verbose=0), made.predict(x, verbose=0))
    assert not other.compiled
    assert os.listdir(tmp_path) == ["m"]
    fresh = type(made).from_config(made.get_config())
    fresh.load_weights(str(tmp_path / "m"))
    same(fresh.predict(x, verbose=0), made.predict(x, verbose=0))


@pytest.mark.parametrize(
    "optimizer",
    [
        "adam", "sgd", fastseq.optimizers.SGD(0.1, momentum=0.9, nesterov=True, clipnorm=0.5),
        fastseq.optimizers.RMSprop(0.01, centered=True, momentum=0.5), fastseq.optimizers.Adam(decay=0.1),
    ],
    ids=["adam", "sgd", "momentum", "rmsprop", "decay"],
)  # fmt: skip
def test_training_goes_on_as_if_it_had_not_been_saved(optimizer, tmp_path):
    made = random_model()
    made.compile(copy.deepcopy(optimizer), "categorical_crossentropy", metrics=["accuracy"])
    made.save(tmp_path / "new")  # before the first step
    trained(made)
    made.save(tmp_path / "m")
    fresh, other = models.load_model(tmp_path / "new"), models.load_model(tmp_path / "m")
    assert other.optimizer.iterations == made.optimizer.iterations == 4
    equal(trained(fresh), (fresh.history.history, made.get_weights()))
    made_on = trained(made)
    equal(trained(other), made_on)
    again = models.load_model(tmp_path / "m")
    again.save(tmp_path / "m2")  # between loading and the first step
    equal(trained(models.load_model(tmp_path / "m2")), made_on)


def test_a_file_does_not_draw_random_numbers(tmp_path):
    made = random_model()
    made.save(tmp_path / "m")
    fastseq.set_seed(3)
    models.load_model(tmp_path / "m")
    drawn = fastseq._random.draw_seed()
    fastseq.set_seed(3)
    assert fastseq._random.draw_seed() == drawn


def test_kept_states_come_back(tmp_path):
    made = fastseq.Sequential([layers.LSTM(3, stateful=True, batch_input_shape=(2, 4, 3))])
    made.predict(X[:2], verbose=0)
    made.save(tmp_path / "m")
    same(models.load_model(tmp_path / "m").predict(X[2:4], verbose=0), made.predict(X[2:4], verbose=0))


def test_what_compile_was_given(tmp_path):
    def build():
        a = layers.Input((3,), name="a")
        made = fastseq.Model(
            a, [layers.Dense(3, activation="softmax", name="p")(a), layers.Dense(1, name="q")(a)]
        )
        made.compile(
            fastseq.optimizers.RMSprop(0.02, clipvalue=1.0),
            {"p": losses.CategoricalCrossentropy(label_smoothing=0.1), "q": "mae"},
            loss_weights=[2.0, 0.5],
            metrics={
                "p": ["accuracy", metrics.CategoricalCrossentropy(name="ce")],
                "q": losses.mean_squared_error,
            },
            weighted_metrics=[None, ["mse"]],
        )
        return made

    made, targets = build(), [Y, X[:, 1, :1]]
    made.fit(X[:, 0], targets, verbose=0)
    made.save(tmp_path / "m")
    other = models.load_model(tmp_path / "m")
    assert other.evaluate(X[:, 0], targets, verbose=0, return_dict=True) == made.evaluate(
        X[:, 0], targets, verbose=0, return_dict=True
    )
    assert other.optimizer.get_config() == made.optimizer.get_config()
    assert (
        other.fit(X[:, 0], targets, shuffle=False, verbose=0).history
        == made.fit(X[:, 0], targets, shuffle=False, verbose=0).history
    )
    assert not models.load_model(tmp_path / "m", compile=False).compiled
    made.save(tmp_path / "n", include_optimizer=False)
    assert not models.load_model(tmp_path / "n").compiled


def cubed(y_true, y_pred):
    return ops.mean(ops.absolute(y_true - y_pred) ** 3.0, axis=-1)


def worst(y_true, y_pred):
    return np.abs(y_true - y_pred).max(axis=-1)


@register_keras_serializable("tests")
class Own(losses.Loss):
    def __init__(self, power=2.0, **options):
        super().__init__(**options)
        self.power = power

    def call(self, y_true, y_pred):
        return ops.mean(ops.absolute(y_true - y_pred) ** self.power, axis=-1)

    def get_config(self):
        return {**super().get_config(), "power": self.power}

    @classmethod
    def from_config(cls, config):
        return cls(**config)


def test_own_losses_and_metrics(tmp_path):
    for loss in (cubed, Own(3.0)):
        made = fastseq.Sequential([layers.Dense(1, input_shape=(3,))])
        made.compile("sgd", loss, metrics=[worst])
        made.fit(X[:, 0], Y[:, :1], verbose=0)
        made.save(tmp_path / "m")
        with pytest.raises(ValueError) as error:
            models.load_model(tmp_path / "m", custom_objects={"cubed": cubed})
        assert str(error.value) == (
            f"load_model: filepath must hold a whole model of fastseq, got '{tmp_path / 'm'}' (load_model: "
            "metrics must name metrics of fastseq, or of custom_objects, got 'worst')"
        )
        other = models.load_model(tmp_path / "m", {"cubed": cubed, "worst": worst})
        expected = made.evaluate(X[:, 0], Y[:, :1], verbose=0)
        assert other.evaluate(X[:, 0], Y[:, :1], verbose=0) == expected


def test_overwriting_and_names(tmp_path):
    made = random_model()
    for name in ("save", "save_weights"):
        getattr(made, name)(tmp_path / "m.keras")
        with pytest.raises(ValueError) as error:
            getattr(made, name)(tmp_path / "m.keras", overwrite=False)
        assert str(error.value) == (
            f"{name}: filepath must name no file where overwrite is False, got '{tmp_path / 'm.keras'}'"
        )
    arrays, config = read_weights(tmp_path / "m.keras")
    assert config["weights"][0] == made.weights[0].name
    assert set(arrays) == {f"weights/{name}" for name in config["weights"]}
    with pytest.raises(ValueError) as error:
        models.load_model(tmp_path / "m.keras")
    assert str(error.value) == (
        f"load_model: filepath must hold a whole model of fastseq, got '{tmp_path / 'm.keras'}' without one"
    )
    models.save_model(made, tmp_path / "m.keras")
    models.load_model(tmp_path / "m.keras")


def test_weights_of_the_same_name_are_kept_apart(tmp_path):
    x = layers.Input((3,))
    inner = [fastseq.Model(i := layers.Input((3,)), layers.Dense(3, name="same")(i)) for _ in range(3)]
    made = fastseq.Model(x, inner[2](inner[1](inner[0](x))))
    made.save_weights(tmp_path / "w")
    assert read_weights(tmp_path / "w")[1]["weights"][::2] == [
        "same/kernel",
        "same/kernel#2",
        "same/kernel#3",
    ]
    expected = made.predict(X[:, 0], verbose=0)
    made.set_weights([0 * w for w in made.get_weights()])
    made.load_weights(tmp_path / "w")
    same(made.predict(X[:, 0], verbose=0), expected)


def test_loading_weights_is_all_or_nothing(tmp_path):
    made = random_model()
    made.save_weights(tmp_path / "w")
    wider = fastseq.Sequential([layers.LSTM(5, input_shape=(4, 3)), layers.Dense(4)], name="wider")
    before = wider.get_weights()
    with pytest.raises(ValueError) as error:
        wider.load_weights(tmp_path / "w")
    assert str(error.value) == (
        f"load_weights: filepath must hold the shape (5, 4) for {wider.weights[3].name}, "
        f"got '{tmp_path / 'w'}' with (5, 3)"
    )
    same(wider.get_weights(), before)
    wider.load_weights(tmp_path / "w", skip_mismatch=True)
    same(wider.get_weights()[:3], made.get_weights()[:3])
    same(wider.get_weights()[3:], before[3:])
    with pytest.raises(ValueError) as error:
        fastseq.Sequential([layers.Dense(4, input_shape=(3,))]).load_weights(tmp_path / "w")
    assert str(error.value) == f"load_weights: filepath must hold 2 weights, got '{tmp_path / 'w'}' with 5"
    with pytest.raises(RuntimeError) as error:
        fastseq.Sequential([layers.Dense(4)], name="n").load_weights(tmp_path / "w")
    assert str(error.value) == "load_weights: n must be built, got one without weights yet"
    write_weights(tmp_path / "other", {"a": np.ones(3)}, {"some": "thing"})
    with pytest.raises(ValueError) as error:
        made.load_weights(tmp_path / "other")
    assert str(error.value) == (
        f"load_weights: filepath must hold the weights of a model, got '{tmp_path / 'other'}' without them"
    )


def everything():
    """Layers with parts of their own, regularizers, moving means, and cells with randomness."""
    return fastseq.Sequential(
        [
            layers.Input((4, 3)),
            layers.Reshape((4, 3, 1)),
            layers.Conv2D(2, 3, padding="same", activation="relu"),
            layers.BatchNormalization(),
            layers.Reshape((4, 6)),
            layers.RNN([layers.LSTMCell(4, dropout=0.2), layers.GRUCell(3, recurrent_dropout=0.1)], True),
            layers.LSTM(3, kernel_regularizer=fastseq.regularizers.L1L2(1e-3, 1e-3), dropout=0.3),
            layers.Dense(3, activation="softmax", kernel_constraint="max_norm"),
        ]
    )


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda: optimizers.AdamW(0.01, use_ema=True, ema_momentum=0.9),
        lambda: optimizers.Nadam(0.01, gradient_accumulation_steps=2),
        lambda: optimizers.Lion(optimizers.schedules.ExponentialDecay(0.01, 10, 0.9)),
        lambda: optimizers.Adagrad(0.1, global_clipnorm=1.0),
    ],
    ids=["averaged", "accumulating", "scheduled", "clipped"],
)
def test_all_that_layers_and_optimizers_keep(optimizer, tmp_path):
    made = everything()
    made.compile(optimizer(), losses.CategoricalFocalCrossentropy(), metrics=["accuracy", metrics.F1Score()])
    made.fit(X, Y, batch_size=15, verbose=0)
    made.save(tmp_path / "m")
    others = [models.load_model(tmp_path / "m"), copy.deepcopy(made), pickle.loads(pickle.dumps(made))]
    made.fit(X, Y, batch_size=15, epochs=2, shuffle=False, verbose=0)
    for other in others:
        other.fit(X, Y, batch_size=15, epochs=2, shuffle=False, verbose=0)
        assert str(other.history.history) == str(made.history.history)
        same(other.get_weights(), made.get_weights())


# --- kill -9 --------------------------------------------------------------------------------------

WRITER = """
import sys, numpy as np, fastseq
from fastseq import layers
model = fastseq.Sequential([layers.Dense(400, input_shape=(400,))])
k = 0
while True:
    k += 1
    model.set_weights([np.full((400, 400), k), np.full(400, k)])
    model.save(sys.argv[1])
    if k == 2:
        print("go", flush=True)
"""


@pytest.mark.parametrize("times", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_killed_while_writing(times, tmp_path):
    """Whenever the writer is killed, the file is one that it wrote, whole."""
    rng = np.random.default_rng(times)
    path = tmp_path / "m"
    for _ in range(times):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, env=os.environ
        )
        assert process.stdout.readline() == b"go\n"
        time.sleep(rng.uniform(0, 0.2))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        kernel, bias = models.load_model(path).get_weights()
        assert kernel.min() == kernel.max() == bias.min() == bias.max() >= 2
