"""Callbacks against Keras's own, on the same runs and on the same logs; what they write and say."""

import csv
import os
import types

import numpy as np
import pytest
from keras_twin import keras, twins
from small_models import X, Y, linear, model

import fastseq
from fastseq import callbacks, models
from fastseq.callbacks import Callback

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:keras")

# --- on the same logs -------------------------------------------------------------------------------


class Optimizer:
    learning_rate = 0.5


class Stub:
    """What a callback sees of a model: weights that say which epoch it is."""

    def __init__(self):
        self.optimizer = Optimizer()
        self.stop_training = False
        self.objective = types.SimpleNamespace(metrics=[])
        self.metrics = []
        self.weights = None

    def get_weights(self):
        return self.weights

    def set_weights(self, weights):
        self.weights = weights


KEPT = ("wait", "best", "best_epoch", "stopped_epoch", "cooldown_counter")


def drive(callback, values, monitor="val_loss"):
    """What a callback did at every epoch, and the weights it leaves."""
    stub = Stub()
    callback.set_model(stub)
    callback.on_train_begin()
    seen = []
    for epoch, value in enumerate(values):
        stub.weights = [epoch]
        callback.on_epoch_begin(epoch)
        callback.on_epoch_end(epoch, {monitor: value, "loss": 1.0})
        kept = {name: getattr(callback, name, None) for name in KEPT}
        seen.append((epoch, float(stub.optimizer.learning_rate), stub.stop_training, kept))
        if stub.stop_training:
            break
    callback.on_train_end()
    return seen, stub.weights


def plain(seen):
    return [
        (epoch, rate, stop, {k: None if v is None else float(v) for k, v in kept.items()})
        for epoch, rate, stop, kept in seen
    ]


@pytest.mark.parametrize("seed", range(40))
def test_early_stopping_is_keras_s(seed):
    draw = np.random.default_rng(seed)
    monitor, mode = [("val_loss", "auto"), ("val_loss", "min"), ("score", "max")][seed % 3]
    options = {
        "monitor": monitor,
        "mode": mode,
        "patience": int(draw.integers(0, 5)),
        "min_delta": float(draw.choice([0, 0.05, -0.1])),
        "baseline": None if seed % 2 else float(draw.uniform(0.3, 0.7)),
        "restore_best_weights": bool(seed % 4 < 2),
        "start_from_epoch": int(draw.integers(0, 4)),
    }
    values = np.round(draw.uniform(0, 1, 20), 2).tolist()
    ours = drive(callbacks.EarlyStopping(**options), values, monitor)
    theirs = drive(keras.callbacks.EarlyStopping(**options), values, monitor)
    assert plain(ours[0]) == plain(theirs[0])
    assert ours[1] == theirs[1]


@pytest.mark.parametrize("seed", range(40))
def test_reduce_lr_on_plateau_is_keras_s(seed):
    draw = np.random.default_rng(seed)
    options = {
        "monitor": "val_loss" if seed % 2 else "score",
        "mode": "auto" if seed % 2 else "max",
        "factor": float(draw.uniform(0.1, 0.9)),
        "patience": int(draw.integers(0, 4)),
        "min_delta": float(draw.choice([0, 1e-4, 0.1])),
        "cooldown": int(draw.integers(0, 3)),
        "min_lr": float(draw.choice([0, 0.01, 0.1])),
    }
    values = np.round(draw.uniform(0, 1, 25), 2).tolist()
    ours = drive(callbacks.ReduceLROnPlateau(**options), values, options["monitor"])
    theirs = drive(keras.callbacks.ReduceLROnPlateau(**options), values, options["monitor"])
    assert plain(ours[0]) == plain(theirs[0])


def test_modes_by_the_name():
    for name in ("loss", "val_loss", "mae", "val_mean_squared_error", "character_error_rate", "p_loss"):
        assert not watching(name).grows()
    for name in ("accuracy", "val_acc", "exact_match", "out_binary_accuracy", "auc", "val_f1_score"):
        assert watching(name).grows()
    with pytest.raises(ValueError) as error:
        watching("odd").grows()
    assert str(error.value) == "EarlyStopping: mode must be min or max where monitor is 'odd', got 'auto'"
    assert watching("odd", "max").grows()


def watching(name, mode="auto"):
    made = callbacks.EarlyStopping(name, mode=mode)
    made.set_model(Stub())
    return made


# --- on the same runs -------------------------------------------------------------------------------


def networks():
    def build(k):
        return k.Sequential(
            [k.Input((3,)), k.layers.Dense(6, activation="tanh"), k.layers.Dense(3, activation="softmax")]
        )

    ours, theirs = twins(build)
    ours.compile(fastseq.optimizers.SGD(1.5), "categorical_crossentropy", metrics=["accuracy"])
    theirs.compile(
        keras.optimizers.SGD(1.5), "categorical_crossentropy", metrics=["accuracy"], run_eagerly=True
    )
    return ours, theirs


def read(path, delimiter=","):
    return list(csv.reader(path.read_text().splitlines(), delimiter=delimiter))


OPTIONS = {"batch_size": 16, "epochs": 8, "shuffle": False, "validation_split": 0.25, "verbose": 0}


def both(make, tmp_path, **changed):
    """Histories, weights and file names of a run with the callbacks that ``make(library, folder)`` gives."""
    results = []
    for made, library, name in zip(networks(), (callbacks, keras.callbacks), ("ours", "theirs"), strict=True):
        folder = tmp_path / name
        folder.mkdir()
        y = Y if library is callbacks else Y.astype("float32")
        history = made.fit(X[:, 0], y, callbacks=make(library, folder), **{**OPTIONS, **changed})
        results.append((history, made.get_weights(), folder))
    ours, theirs = results
    assert set(ours[0].history) == set(theirs[0].history)
    assert ours[0].epoch == theirs[0].epoch
    for key, values in ours[0].history.items():
        np.testing.assert_allclose(values, theirs[0].history[key], rtol=2e-4, atol=2e-6)
    for a, b in zip(ours[1], theirs[1], strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-6)
    return ours[2], theirs[2]


def test_a_run_with_early_stopping_and_plateaus(tmp_path):
    both(
        lambda k, _: [
            k.EarlyStopping("val_loss", patience=3, restore_best_weights=True),
            k.ReduceLROnPlateau("val_loss", patience=1, factor=0.5),
        ],
        tmp_path,
    )


def test_a_run_with_a_schedule_and_a_log(tmp_path):
    ours, theirs = both(
        lambda k, folder: [
            k.LearningRateScheduler(lambda epoch, rate: rate * 0.8 if epoch else rate),
            k.CSVLogger(str(folder / "log.csv"), separator=";"),
        ],
        tmp_path,
    )
    rows = [read(folder / "log.csv", ";") for folder in (ours, theirs)]
    assert rows[0][0] == rows[1][0]
    np.testing.assert_allclose(
        np.array(rows[0][1:], float), np.array(rows[1][1:], float), rtol=2e-4, atol=2e-6
    )


@pytest.mark.parametrize(
    "options",
    [
        {}, {"save_best_only": True}, {"save_best_only": True, "monitor": "val_accuracy"},
        {"save_best_only": True, "initial_value_threshold": 1.0}, {"save_freq": 2}, {"save_freq": 5},
        {"save_best_only": True, "monitor": "loss", "save_freq": 4},
    ],
)  # fmt: skip
@pytest.mark.parametrize("weights_only", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_run_with_checkpoints(options, weights_only, tmp_path):
    end = ".weights.h5" if weights_only else ".keras"
    name = "{epoch:02d}" + ("-{batch}" if "save_freq" in options else "-{val_loss:.2f}") + "-{loss:.3f}" + end
    ours, theirs = both(
        lambda k, folder: [k.ModelCheckpoint(str(folder / name), save_weights_only=weights_only, **options)],
        tmp_path,
        epochs=8 if options.get("monitor") == "loss" else 4,  # 3 batches each; that one skips some late
    )
    assert sorted(os.listdir(ours)) == sorted(os.listdir(theirs))
    assert os.listdir(ours) or "initial_value_threshold" in options


def test_a_checkpoint_can_be_read(tmp_path):
    made = model()
    saved = []
    note = callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: saved.append(made.get_weights()))
    made.fit(
        X, Y, epochs=3, verbose=0,
        callbacks=[callbacks.ModelCheckpoint(tmp_path / "deep" / "er" / "{epoch}"), note,
                   callbacks.ModelCheckpoint(tmp_path / "w", save_weights_only=True)],
    )  # fmt: skip
    for epoch, weights in enumerate(saved):
        other = models.load_model(tmp_path / "deep" / "er" / str(epoch + 1))
        assert all((a == b).all() for a, b in zip(other.get_weights(), weights, strict=True))
    other = model()
    other.load_weights(tmp_path / "w")
    assert all((a == b).all() for a, b in zip(other.get_weights(), made.get_weights(), strict=True))
    with pytest.raises(KeyError) as error:
        made.fit(X, Y, callbacks=[callbacks.ModelCheckpoint(tmp_path / "{nothing}")], verbose=0)
    assert error.value.args == (
        "ModelCheckpoint: filepath must name values among epoch, accuracy, loss, got 'nothing'",
    )


def test_what_is_said(tmp_path, capsys):
    """The words are Keras's."""
    texts = []
    for library, made in ((callbacks, Stub()), (keras.callbacks, Stub())):
        made.save = lambda *a, **k: None
        stop = library.EarlyStopping("loss", patience=1, verbose=1, restore_best_weights=True)
        plateau = library.ReduceLROnPlateau("loss", patience=1, verbose=1)
        schedule = library.LearningRateScheduler(lambda epoch: 0.25, verbose=1)
        check = library.ModelCheckpoint(str(tmp_path / "m.keras"), "loss", save_best_only=True, verbose=1)
        for callback in (schedule, check, plateau, stop):
            callback.set_model(made)
            callback.on_train_begin()
        for epoch, loss in enumerate([1.0, 0.5, 0.75, 1.0]):
            made.weights = [epoch]
            for callback in (schedule, check, plateau, stop):
                callback.on_epoch_begin(epoch)
            for callback in (schedule, check, plateau, stop):
                callback.on_epoch_end(epoch, {"loss": loss})
        stop.on_train_end()
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1]
    assert "early stopping" in texts[0]


# --- one by one -------------------------------------------------------------------------------------


def test_csv_logger_appends_or_starts_anew(tmp_path):
    path = tmp_path / "log.csv"
    made = model()
    made.fit(X, Y, epochs=2, callbacks=[callbacks.CSVLogger(path)], verbose=0)
    made.fit(X, Y, epochs=1, callbacks=[callbacks.CSVLogger(path, append=True)], verbose=0)
    rows = read(path)
    assert rows[0] == ["epoch", "accuracy", "loss", "val_accuracy", "val_loss"]
    assert [row[0] for row in rows[1:]] == ["0", "1", "0"]
    assert rows[1][3:] == ["NA", "NA"]
    assert float(rows[3][2]) == made.history.history["loss"][0]
    made.fit(X, Y, epochs=1, callbacks=[callbacks.CSVLogger(path)], verbose=0)
    assert len(read(path)) == 2


def test_terminate_on_nan(capsys):
    made = linear()
    x = np.full((8, 1), np.nan)
    history = made.fit(x, x, batch_size=2, epochs=3, callbacks=[callbacks.TerminateOnNaN()], verbose=0)
    assert made.optimizer.iterations == 1
    assert history.epoch == [0]
    assert capsys.readouterr().out == "Batch 0: Invalid loss, terminating training\n"
    with pytest.raises(RuntimeError) as error:
        linear().fit(x, x, callbacks=[callbacks.TerminateOnNaN(raise_error=True)], verbose=0)
    assert str(error.value) == "TerminateOnNaN: loss must be finite at batch 0, got nan"


def test_lambda_callback_and_old_names():
    seen = []

    class Old(Callback):
        def on_batch_begin(self, batch, logs=None):
            seen.append(f"begin {batch}")

        def on_batch_end(self, batch, logs=None):
            seen.append(f"end {batch}")

    some = callbacks.LambdaCallback(
        on_train_begin=lambda logs: seen.append("train"),
        on_epoch_end=lambda epoch, logs: seen.append(sorted(logs)),
        on_test_end=lambda logs: seen.append("test"),
    )
    made = model()
    made.fit(X, Y, batch_size=50, callbacks=[some, Old()], validation_data=(X, Y), verbose=0)
    assert seen == ["train", "begin 0", "end 0", "test", ["accuracy", "loss", "val_accuracy", "val_loss"]]
    with pytest.raises(TypeError) as error:
        callbacks.LambdaCallback(on_odd=print)
    assert str(error.value).startswith("LambdaCallback: others must be among on_epoch_begin, ")
    assert str(error.value).endswith(", got 'on_odd'")


def fitted(callback):
    return linear().fit(X[:, 0, :1], X[:, 0, :1], callbacks=callback, verbose=0)


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: callbacks.EarlyStopping(mode="up"), ValueError,
         "EarlyStopping: mode must be one of auto, min, max, got 'up'"),
        (lambda: callbacks.EarlyStopping(patience=-1), ValueError,
         "EarlyStopping: patience must be at least 0, got -1"),
        (lambda: callbacks.ReduceLROnPlateau(factor=1.0), ValueError,
         "ReduceLROnPlateau: factor must be in (0, 1), got 1.0"),
        (lambda: callbacks.ModelCheckpoint("a", save_freq="often"), TypeError,
         "ModelCheckpoint: save_freq must be an integer, got 'often'"),
        (lambda: callbacks.BackupAndRestore(""), ValueError,
         "BackupAndRestore: backup_dir must name a folder, got ''"),
        (lambda: callbacks.LearningRateScheduler(0.1), TypeError,
         "LearningRateScheduler: schedule must be a function, got 0.1"),
        (lambda: fitted(callbacks.LearningRateScheduler(str)), ValueError,
         "LearningRateScheduler: schedule must return a number, got '0'"),
        (lambda: callbacks.TensorBoard(write_images=True), ValueError,
         "TensorBoard: write_images must be left out, got True"),
    ],
)  # fmt: skip
def test_errors(make, error, text):
    with pytest.raises(error) as caught:
        make()
    assert str(caught.value) == text


def test_a_value_that_is_not_there():
    with pytest.warns(UserWarning, match="monitor") as caught:
        model().fit(X, Y, callbacks=[callbacks.EarlyStopping()], verbose=0)
    assert [str(w.message) for w in caught] == [
        "EarlyStopping: monitor must be among accuracy, loss, got 'val_loss'"
    ]


# --- TensorBoard ------------------------------------------------------------------------------------


def events(folder):
    """(tag, step) -> value of all events below a folder, histograms as their counts."""
    loader = pytest.importorskip("tensorboard.backend.event_processing.event_file_loader")
    from tensorboard.util import tensor_util

    found = {}
    for name in sorted(os.listdir(folder)):
        for event in loader.EventFileLoader(str(folder / name)).Load():
            for value in event.summary.value:
                found[value.tag, event.step] = tensor_util.make_ndarray(value.tensor)
    return found


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("update_freq", ["epoch", 3])
def test_tensorboard_writes_keras_s_tags_and_values(update_freq, tmp_path):
    pytest.importorskip("tensorboard")
    ours, theirs = both(
        lambda k, folder: [
            k.TensorBoard(str(folder), histogram_freq=2, update_freq=update_freq, write_graph=False)
        ],
        tmp_path,
    )
    for run in ("train", "validation"):
        a, b = events(ours / run), events(theirs / run)
        leave_out = ("histogram", "steps_per_second")
        if update_freq != "epoch":  # then Keras leaves some evaluations out
            leave_out += ("evaluation",)
        scalars = {key for key in b if not any(part in key[0] for part in leave_out)}
        assert scalars == {key for key in a if not any(part in key[0] for part in leave_out)}
        for key in scalars:
            np.testing.assert_allclose(a[key], b[key], rtol=3e-4, atol=3e-6, err_msg=str(key))
        steps = {step for tag, step in a if "histogram" in tag}
        assert steps == {step for tag, step in b if "histogram" in tag}
        assert steps == ({0, 2, 4, 6} if run == "train" else set())
    counts = [
        value[:, 2].sum() for (tag, _), value in events(ours / "train").items() if "kernel/histogram" in tag
    ]
    assert set(counts) == {18.0}  # 3 x 6 and 6 x 3 weights


def test_without_tensorboard(monkeypatch):
    import builtins

    real = builtins.__import__

    def missing(name, *rest):
        if name.startswith("tensorboard"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(RuntimeError) as error:
        callbacks.TensorBoard()
    assert str(error.value) == (
        "TensorBoard: tensorboard must be installed (pip install 'fastseq[tensorboard]'), got no such module"
    )
