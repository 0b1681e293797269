"""A training that is killed goes on, when it is started again, bit for bit as if it had never stopped."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from some_datasets import Numbered

import fastseq
from fastseq import callbacks, layers
from fastseq.callbacks import BackupAndRestore, Callback
from fastseq.weights import read_weights

rng = np.random.default_rng(0)
X = rng.normal(size=(50, 4, 3)).astype(np.float32)
Y = np.eye(3, dtype=bool)[rng.integers(0, 3, 50)]

PROGRAM = """
import json, os, sys, time
import numpy as np
import fastseq
from fastseq import callbacks, layers

folder, frequency = sys.argv[1], sys.argv[2]
frequency = frequency if frequency == "epoch" else int(frequency)
fastseq.set_seed(int(sys.argv[3]))  # another one each time it is started: what was kept must count
rng = np.random.default_rng(0)
x = rng.normal(size=(600, 6, 5)).astype(np.float32)
y = np.eye(4, dtype=bool)[rng.integers(0, 4, 600)]
model = fastseq.Sequential([
    layers.Input((6, 5)), layers.Bidirectional(layers.LSTM(24, dropout=0.2, recurrent_dropout=0.1)),
    layers.Dropout(0.3), layers.Dense(4, activation="softmax"),
])
draw = np.random.default_rng(0).normal
model.set_weights([draw(0, 0.2, w.shape) for w in model.get_weights()])
model.compile(fastseq.optimizers.Adam(0.01), "categorical_crossentropy", metrics=["accuracy"])
asked = [
    callbacks.CSVLogger(folder + "/log.csv"),
    callbacks.EarlyStopping("val_loss", patience=6, restore_best_weights=True),
    callbacks.ReduceLROnPlateau("val_loss", patience=1, factor=0.7),
    callbacks.BackupAndRestore(folder + "/backup", save_freq=frequency),
    callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: time.sleep(0.002)),
]
print("go", flush=True)
model.fit(x, y, epochs=8, batch_size=32, validation_split=0.2, callbacks=asked, verbose=0)
model.save_weights(folder + "/weights")
json.dump(model.history.history, open(folder + "/history.json", "w"))
"""


def start(folder, frequency, seed):
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(folder), str(frequency), str(seed)], stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(fastseq.__file__).parent.parent)},
    )  # fmt: skip


def outcome(folder):
    arrays, _ = read_weights(folder / "weights")
    return arrays, json.loads((folder / "history.json").read_text()), (folder / "log.csv").read_text()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """What the program makes when nobody kills it."""
    folder = tmp_path_factory.mktemp("undisturbed")
    process = start(folder, "epoch", 1)
    process.communicate()
    assert process.returncode == 0
    return outcome(folder)


def kill_after(process, log, epochs, seconds):
    """Kills a process so many seconds after the log has had so many epochs."""
    while process.poll() is None and (not log.exists() or log.read_text().count("\n") <= epochs):
        time.sleep(0.002)
    time.sleep(seconds)
    process.send_signal(signal.SIGKILL)


@pytest.mark.parametrize("frequency", ["epoch", 1, 7])
@pytest.mark.parametrize("times", [1, pytest.param(7, marks=pytest.mark.slow)])
def test_killed_and_started_again(times, frequency, undisturbed, tmp_path):
    """Killed at random moments, of training or of writing, until one run gets through.

    Three ways of keeping, once each, and 7 times each where there is time: more than 20 kills.
    """
    arrays, history, log = undisturbed
    moments = np.random.default_rng([times, len(str(frequency)), 5])
    for repetition in range(times):
        folder = tmp_path / str(repetition)
        folder.mkdir()
        kills = 0
        while True:
            kept = (folder / "backup" / "training.safetensors").exists()  # else it begins as the first did
            process = start(folder, frequency, 2 + kills if kept else 1)
            process.stdout.readline()
            if kills < 2:
                kill_after(
                    process, folder / "log.csv", moments.integers(0, 5) + kills, moments.uniform(0, 0.1)
                )
            process.communicate()
            if process.returncode == 0:
                break
            assert process.returncode == -signal.SIGKILL
            kills += 1
        assert kills > 0
        made = outcome(folder)
        assert made[0].keys() == arrays.keys()
        for name, array in arrays.items():
            np.testing.assert_array_equal(made[0][name], array, err_msg=name)
        assert made[1] == history
        assert made[2] == log
        assert not list((folder / "backup").iterdir())  # done: a new start begins anew


# --- in one process ---------------------------------------------------------------------------------


class Stop(Exception):
    pass


class StopAt(Callback):
    """Ends training by an error after so many batches."""

    def __init__(self, batches):
        super().__init__()
        self.left = batches

    def on_train_batch_end(self, batch, logs=None):
        self.left -= 1
        if self.left == 0:
            raise Stop


def build(optimizer=None):
    fastseq.set_seed(1)
    made = fastseq.Sequential(
        [
            layers.LSTM(5, input_shape=(4, 3), dropout=0.2),
            layers.Dropout(0.3),
            layers.Dense(3, activation="softmax"),
        ]
    )
    made.compile(
        optimizer or fastseq.optimizers.Adam(0.05), "categorical_crossentropy", metrics=["accuracy", "mae"]
    )
    return made


def fitted(folder, frequency, stop, data=(X, Y), optimizer=None, more=(), **options):
    """(weights, history) of a training that is ended once after ``stop`` batches and resumed."""
    options = {"epochs": 4, "verbose": 0, **options}
    if stop is not None:
        with pytest.raises(Stop):
            build(optimizer and optimizer()).fit(
                *data, callbacks=[BackupAndRestore(folder, frequency), *more, StopAt(stop)], **options
            )
    made = build(optimizer and optimizer())
    if stop is not None:
        made.set_weights([0 * w for w in made.get_weights()])
        fastseq.set_seed(99)
    made.fit(*data, callbacks=[BackupAndRestore(folder, frequency), *more], **options)
    return made.get_weights(), made.history.history, made.history.epoch


def equal(a, b):
    for p, q in zip(a[0], b[0], strict=True):
        np.testing.assert_array_equal(p, q)
    assert a[1:] == b[1:]


@pytest.mark.parametrize(
    ("frequency", "stop"), [("epoch", 8), ("epoch", 14), (1, 2), (1, 7), (3, 11), (5, 10)]
)
@pytest.mark.parametrize(
    "options",
    [
        {"batch_size": 10}, {"batch_size": 10, "shuffle": False, "validation_split": 0.2},
        {"batch_size": 7, "steps_per_epoch": 5},
        {"batch_size": 10, "validation_data": (X, Y), "validation_freq": 2},
    ],
    ids=["shuffled", "in order", "short epochs", "validated"],
)  # fmt: skip
def test_every_way_of_feeding_arrays(frequency, stop, options, tmp_path):
    plain = fitted(tmp_path / "a", frequency, None, **options)
    equal(fitted(tmp_path / "b", frequency, stop, **options), plain)


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda: fastseq.optimizers.SGD(0.1, momentum=0.9, clipnorm=1.0),
        lambda: fastseq.optimizers.RMSprop(0.01, centered=True, momentum=0.3),
        lambda: fastseq.optimizers.Adam(lambda step: 0.05 / (1 + step)),
        lambda: fastseq.optimizers.Adam(0.05, decay=0.1),
        lambda: fastseq.optimizers.AdamW(0.05, use_ema=True, ema_overwrite_frequency=3),
        lambda: fastseq.optimizers.Nadam(
            fastseq.optimizers.schedules.ExponentialDecay(0.05, 5, 0.5), gradient_accumulation_steps=3
        ),
    ],
    ids=["clipped momentum", "rmsprop", "a function of steps", "decay", "averaged", "accumulating"],
)
def test_every_optimizer(optimizer, tmp_path):
    plain = fitted(tmp_path / "a", 3, None, optimizer=optimizer, batch_size=10)
    equal(fitted(tmp_path / "b", 3, 7, optimizer=optimizer, batch_size=10), plain)


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize("stop", [4, 9])
def test_a_dataset_goes_on_in_its_order(workers, stop, tmp_path):
    def run(folder, stop):
        results = []
        for at in (stop, None):
            fastseq.set_seed(1 if at == stop else 7)
            made = fastseq.Sequential([layers.Dense(1, input_shape=(1,))])
            made.set_weights([np.ones((1, 1)), np.zeros(1)])
            made.compile(fastseq.optimizers.SGD(1e-4), "mse")
            asked = [BackupAndRestore(folder, 2)] + ([StopAt(at)] if at else [])
            try:
                made.fit(Numbered(6, workers=workers), epochs=3, callbacks=asked, verbose=0)
            except Stop:
                continue
            results = made.get_weights(), made.history.history
        return results

    fastseq.set_seed(1)
    made = fastseq.Sequential([layers.Dense(1, input_shape=(1,))])
    made.set_weights([np.ones((1, 1)), np.zeros(1)])
    made.compile(fastseq.optimizers.SGD(1e-4), "mse")
    made.fit(Numbered(6, workers=workers), epochs=3, verbose=0)
    weights, history = run(tmp_path, stop)
    np.testing.assert_array_equal(weights[0], made.get_weights()[0])
    assert history == made.history.history


def test_own_callbacks_join_in(tmp_path):
    class Counting(Callback):
        seen = 0

        def on_train_batch_end(self, batch, logs=None):
            self.seen += 1

        def get_state(self):
            return {"seen": self.seen, "deep": [np.arange(3), {"a": None}]}

        def set_state(self, state):
            self.seen = state["seen"]
            assert state["deep"][1] == {"a": None}
            np.testing.assert_array_equal(state["deep"][0], np.arange(3))

    counting = Counting()
    with pytest.raises(Stop):
        build().fit(
            X, Y, callbacks=[BackupAndRestore(tmp_path, 1), Counting(), StopAt(4)], epochs=2, verbose=0
        )
    build().fit(X, Y, callbacks=[BackupAndRestore(tmp_path, 1), counting], epochs=2, verbose=0)
    assert counting.seen == 4

    class Odd(Counting):
        def get_state(self):
            return {"odd": object()}

    with pytest.raises(TypeError) as error:
        build().fit(X, Y, callbacks=[BackupAndRestore(tmp_path, 1), Odd()], verbose=0)
    assert str(error.value) == "get_state: state must hold numbers, texts and arrays, got object"


def test_what_the_callbacks_told(tmp_path):
    """Read without the model."""
    keep = BackupAndRestore(tmp_path, delete_checkpoint=False)
    assert keep.callback_states() is None
    stopping = callbacks.EarlyStopping("loss", patience=5, restore_best_weights=True)
    made = build()
    made.fit(X, Y, epochs=2, callbacks=[stopping, keep], verbose=0)
    states = BackupAndRestore(tmp_path).callback_states()
    assert set(states) == {"History#0", "EarlyStopping#0", "BackupAndRestore#0"}
    assert states["History#0"] == {"history": made.history.history, "epoch": [0, 1]}
    told, want = states["EarlyStopping#0"], stopping.get_state()
    assert told.keys() == want.keys()
    (arrays,) = (key for key, value in want.items() if isinstance(value, list))
    for a, b in zip(told.pop(arrays), want.pop(arrays), strict=True):
        np.testing.assert_array_equal(a, b)
    assert told == want


def test_the_file_goes_at_the_end_and_stays_at_ctrl_c(tmp_path):
    keep = BackupAndRestore(tmp_path, delete_checkpoint=False)
    build().fit(X, Y, epochs=2, callbacks=[keep], verbose=0)
    assert os.path.exists(keep.path)
    made = build()
    assert made.fit(X, Y, epochs=2, callbacks=[keep], verbose=0).epoch == [0, 1]  # nothing left to do
    assert made.optimizer.iterations == 4
    made.fit(X, Y, epochs=3, callbacks=[BackupAndRestore(tmp_path)], verbose=0)
    assert made.history.epoch == [0, 1, 2]
    assert made.optimizer.iterations == 6
    assert os.listdir(tmp_path) == []

    class Interrupt(Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 1:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build().fit(X, Y, epochs=3, callbacks=[BackupAndRestore(tmp_path), Interrupt()], verbose=0)
    assert os.listdir(tmp_path) == ["training.safetensors"]


def test_another_model_or_a_damaged_file(tmp_path):
    with pytest.raises(Stop):
        build().fit(X, Y, callbacks=[BackupAndRestore(tmp_path, 1), StopAt(2)], verbose=0)
    other = fastseq.Sequential([layers.Dense(3, activation="softmax", input_shape=(3,))])
    other.compile("adam", "categorical_crossentropy")
    with pytest.raises(ValueError) as error:
        other.fit(X[:, 0], Y, callbacks=[BackupAndRestore(tmp_path)], verbose=0)
    path = tmp_path / "training.safetensors"
    assert str(error.value).startswith(
        f"BackupAndRestore: backup_dir must hold a training of this model, got '{path}' ("
    )
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(ValueError, match="read_weights"):
        build().fit(X, Y, callbacks=[BackupAndRestore(tmp_path)], verbose=0)


def test_a_learning_rate_that_was_changed_goes_on(tmp_path):
    """A schedule of the epoch and the rate must not act twice on an epoch that is resumed in its middle."""
    schedule = callbacks.LearningRateScheduler(lambda epoch, rate: rate * 0.5)
    plain = fitted(tmp_path / "a", 2, None, more=(schedule,), batch_size=10)
    equal(fitted(tmp_path / "b", 2, 8, more=(schedule,), batch_size=10), plain)
    assert plain[1]["learning_rate"] == [0.025, 0.0125, 0.00625, 0.003125]


@pytest.mark.parametrize(("frequency", "stop"), [("epoch", 8), (3, 11)])
def test_whatever_else_draws_at_random_goes_on(frequency, stop, tmp_path):
    """What a callback has drawn moves the order of the epochs after it."""
    drawing = callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: fastseq._random.draw_seed())
    plain = fitted(tmp_path / "a", frequency, None, more=(drawing,), batch_size=10)
    equal(fitted(tmp_path / "b", frequency, stop, more=(drawing,), batch_size=10), plain)


@pytest.mark.parametrize("append", [False, True])
def test_lines_of_a_log_come_once(append, tmp_path):
    """The first epoch's line is written after the third batch's backup, and before the sixth's."""
    for name, stop in (("a", None), ("b", 6)):
        (tmp_path / f"{name}.csv").write_text("from before\n")
        log = callbacks.CSVLogger(tmp_path / f"{name}.csv", append=append)
        fitted(tmp_path / name, 3, stop, more=(log,), batch_size=10)
    lines = (tmp_path / "a.csv").read_text().splitlines()
    assert (tmp_path / "b.csv").read_text().splitlines() == lines
    assert len(lines) == 5
    assert (lines[0] == "from before") == append
