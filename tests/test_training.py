"""fit, evaluate, predict: numbers as Keras's, splits, shuffling, callbacks, Ctrl-C, seeds, odd data."""

import os
import re
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from keras_twin import keras, twins

import fastseq
from fastseq import layers
from fastseq.callbacks import Callback

rng = np.random.default_rng(0)
X = rng.normal(size=(50, 4, 3)).astype(np.float32)
Y = np.eye(3, dtype=bool)[rng.integers(0, 3, 50)]


def model(**options):
    made = fastseq.Sequential([layers.LSTM(4, input_shape=(4, 3)), layers.Dense(3, activation="softmax")])
    made.compile("adam", "categorical_crossentropy", metrics=["accuracy"], **options)
    return made


def rows(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


# --- against Keras --------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [16, 50, 64])
def test_epochs_are_keras_s(batch_size):
    """Losses and metrics of epochs with a smaller last batch, of their validation, and of evaluate."""

    def build(k):
        return k.Sequential(
            [k.Input((3,)), k.layers.Dense(6, activation="tanh"), k.layers.Dense(3, activation="softmax")]
        )

    ours, theirs = twins(build)
    x = X[:, 0]
    ours.compile(fastseq.optimizers.Adam(0.05), "categorical_crossentropy", metrics=["accuracy"])
    theirs.compile(
        keras.optimizers.Adam(0.05), "categorical_crossentropy", metrics=["accuracy"], run_eagerly=True
    )
    options = {
        "batch_size": batch_size,
        "epochs": 3,
        "shuffle": False,
        "validation_split": 0.25,
        "verbose": 0,
    }
    a = ours.fit(x, Y, **options)
    b = theirs.fit(x, Y.astype("float32"), **options)
    assert list(a.history) == ["accuracy", "loss", "val_accuracy", "val_loss"]
    assert set(a.history) == set(b.history)
    assert a.epoch == b.epoch == [0, 1, 2]
    for name, values in a.history.items():
        np.testing.assert_allclose(values, b.history[name], rtol=2e-5, atol=1e-6)
    for data in ((x, Y), (x[:7], Y[:7])):
        np.testing.assert_allclose(
            ours.evaluate(*data, batch_size=4, verbose=0),
            theirs.evaluate(data[0], data[1].astype("float32"), batch_size=4, verbose=0),
            rtol=2e-5,
        )  # fmt: skip


def test_losses_of_two_outputs_are_averaged_by_rows_as_in_keras():
    def build(k):
        x = k.Input((3,))
        return k.Model(x, [k.layers.Dense(2, name="a")(x), k.layers.Dense(1, name="b")(x)])

    ours, theirs = twins(build)
    x, y = X[:, 0], [rows(50, 2), rows(50, 1)]
    ours.compile("sgd", ["mse", "mae"], loss_weights=[0.5, 2.0])
    theirs.compile("sgd", ["mse", "mae"], loss_weights=[0.5, 2.0], run_eagerly=True)
    a = ours.evaluate(x, y, batch_size=16, verbose=0, return_dict=True)
    b = theirs.evaluate(x, y, batch_size=16, verbose=0, return_dict=True)
    assert list(a) == sorted(b) == ["a_loss", "b_loss", "loss"]
    for name, value in a.items():
        assert value == pytest.approx(b[name], rel=2e-5), name


def test_masked_losses_are_averaged_by_batches_as_in_keras():
    def build(k):
        return k.Sequential([k.Input((4, 3)), k.layers.Masking(), k.layers.LSTM(2, return_sequences=True)])

    ours, theirs = twins(build)
    x = X[:10].copy()
    for i in range(10):
        x[i, i % 4 :] = 0
    y = rows(10, 4, 2)
    ours.compile("sgd", "mse", metrics=["mae"])
    theirs.compile("sgd", "mse", metrics=["mae"], run_eagerly=True)
    np.testing.assert_allclose(
        ours.evaluate(x, y, 3, verbose=0), theirs.evaluate(x, y, 3, verbose=0), rtol=2e-5
    )


# --- data -----------------------------------------------------------------------------------------


class Recorder(Callback):
    """What reached the model: the inputs of every batch."""

    def __init__(self, model):
        super().__init__()
        self.batches = []
        plan_step = model.objective.train

        def train(inputs, targets, weights):
            self.batches.append((inputs[0].copy(), targets[0].copy()))
            plan_step(inputs, targets, weights)

        model.objective.train = train


def numbered(n):
    return np.arange(n, dtype=np.float32).reshape(n, 1)


def linear():
    made = fastseq.Sequential([layers.Dense(1, input_shape=(1,))])
    made.compile("sgd", "mse")
    return made


def test_every_row_comes_once_in_a_new_order():
    made = linear()
    recorder = Recorder(made)
    fastseq.set_seed(1)
    made.fit(numbered(10), numbered(10), batch_size=4, epochs=2, verbose=0)
    assert [len(x) for x, _ in recorder.batches] == [4, 4, 2] * 2
    epochs = [np.concatenate([x[:, 0] for x, _ in recorder.batches[k : k + 3]]) for k in (0, 3)]
    for order in epochs:
        assert sorted(order) == list(range(10))
    assert (epochs[0] != epochs[1]).any()
    assert (epochs[0] != np.arange(10)).any()
    assert all((x == y).all() for x, y in recorder.batches)


def test_the_split_is_taken_from_the_end():
    made = linear()
    recorder = Recorder(made)
    held = []
    test = made.objective.test
    made.objective.test = lambda i, t, w: (held.extend(i[0][:, 0]), test(i, t, w))
    made.fit(numbered(10), numbered(10), batch_size=4, validation_split=0.25, verbose=0)
    assert sorted(v for x, _ in recorder.batches for v in x[:, 0]) == [0, 1, 2, 3, 4, 5, 6]
    assert held == [7, 8, 9]


@pytest.mark.parametrize(
    "kind", [bool, np.uint8, np.int16, np.int32, np.int64, np.float16, np.float64, "list"]
)
def test_inputs_of_any_type(kind):
    made = model()
    x = (X > 0).astype(np.float32)
    expected = made.predict(x, verbose=0)
    given = x.tolist() if kind == "list" else x.astype(kind)
    np.testing.assert_array_equal(made.predict(given, verbose=0), expected)
    np.testing.assert_array_equal(made.predict_on_batch(given), expected)
    y = Y.tolist() if kind == "list" else Y.astype(kind)
    loss = made.evaluate(given, y, verbose=0)
    assert loss == made.evaluate(x, Y.astype(np.float32), verbose=0)
    made.fit(given, y, verbose=0)
    made.train_on_batch(given, y)


def test_arrays_of_any_layout():
    made = model()
    expected = made.predict(X, verbose=0)
    frozen = X.copy()
    frozen.flags.writeable = False
    big_endian = X.astype(">f4")
    for x in (np.asfortranarray(X), X[::-1][::-1], np.repeat(X, 2, 0)[::2], frozen, big_endian):
        np.testing.assert_array_equal(made.predict(x, verbose=0), expected)
        made.fit(x, np.asfortranarray(Y), verbose=0)
        made.set_weights(made.get_weights())
        expected = made.predict(X, verbose=0)


def test_nan_and_infinity_pass_through():
    made = model()
    x = X.copy()
    x[3] = np.nan
    out = made.predict(x, verbose=0)
    assert np.isnan(out[3]).all()
    assert np.isfinite(np.delete(out, 3, 0)).all()
    assert np.isnan(made.evaluate(x, Y, verbose=0)[0])
    x[3] = np.inf
    assert made.predict(x, verbose=0).shape == (50, 3)
    assert np.isnan(made.fit(X * np.nan, Y, verbose=0).history["loss"][0])


def test_no_rows_and_no_steps():
    made = model()
    assert made.predict(np.zeros((0, 4, 3)), verbose=0).shape == (0, 3)
    assert made.predict_on_batch(np.zeros((0, 4, 3))).shape == (0, 3)
    for method in ("fit", "evaluate"):
        with pytest.raises(ValueError) as error:
            getattr(made, method)(X[:0], Y[:0], verbose=0)
        assert str(error.value) == f"{method}: x must have at least 1 row, got 0"
    free = fastseq.Sequential([layers.LSTM(2, input_shape=(None, 3))])
    np.testing.assert_array_equal(free.predict(np.zeros((2, 0, 3)), verbose=0), np.zeros((2, 2)))


def test_labels_in_two_shapes():
    made = fastseq.Sequential([layers.Dense(3, activation="softmax", input_shape=(3,))])
    made.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    labels = Y.argmax(-1)
    a = made.evaluate(X[:, 0], labels, verbose=0)
    assert (
        a
        == made.evaluate(X[:, 0], labels[:, None], verbose=0)
        == made.evaluate(X[:, 0], labels * 1.0, verbose=0)
    )
    assert a[1] == pytest.approx((made.predict_classes(X[:, 0]) == labels).mean())


def test_predictions_do_not_depend_on_the_batch_size():
    made = model()
    expected = made.predict(X, verbose=0)
    for size in (1, 7, 50, 100):
        np.testing.assert_allclose(
            made.predict(X, batch_size=size, verbose=0), expected, rtol=1e-6, atol=1e-7
        )


def test_inputs_by_name():
    a, b = layers.Input((3,), name="a"), layers.Input((3,), name="b")
    made = fastseq.Model([a, b], layers.Dense(2, name="out")(layers.subtract([a, b])))
    made.compile("sgd", {"out": "mse"})
    x, z, y = X[:, 0], X[:, 1], rows(50, 2)
    by_name = made.predict({"b": z, "a": x}, verbose=0)
    np.testing.assert_array_equal(by_name, made.predict([x, z], verbose=0))
    history = made.fit({"a": x, "b": z}, {"out": y}, validation_data=([x, z], y), verbose=0)
    assert set(history.history) == {"loss", "val_loss"}


# --- the loop -------------------------------------------------------------------------------------


def test_initial_epoch_and_validation_freq():
    made = model()
    history = made.fit(X, Y, epochs=6, initial_epoch=2, validation_data=(X, Y), validation_freq=2, verbose=0)
    assert history is made.history
    assert history.epoch == [2, 3, 4, 5]
    assert [len(history.history[k]) for k in ("loss", "val_loss")] == [4, 2]
    history = made.fit(X, Y, epochs=3, validation_data=(X, Y), validation_freq=[1, 3], verbose=0)
    assert len(history.history["val_loss"]) == 2
    assert made.fit(X, Y, epochs=2, initial_epoch=2, verbose=0).history == {}


def test_validation_does_not_train():
    made = model()
    a, b = model(), model()
    for other in (a, b):
        other.set_weights(made.get_weights())
    a.fit(X, Y, shuffle=False, verbose=0)
    b.fit(X, Y, shuffle=False, verbose=0, validation_data=(X, Y))
    for p, q in zip(a.get_weights(), b.get_weights(), strict=True):
        np.testing.assert_array_equal(p, q)


class Log(Callback):
    def __init__(self):
        super().__init__()
        self.calls = []

    def __getattribute__(self, name):
        return object.__getattribute__(self, name)


for _name in ("train", "test", "predict"):
    for _hook in (f"on_{_name}_begin", f"on_{_name}_end"):
        setattr(Log, _hook, lambda self, logs=None, n=_hook: self.calls.append(n))
    for _hook in (f"on_{_name}_batch_begin", f"on_{_name}_batch_end"):
        setattr(Log, _hook, lambda self, batch, logs=None, n=_hook: self.calls.append(f"{n} {batch}"))
for _hook in ("on_epoch_begin", "on_epoch_end"):
    setattr(
        Log, _hook, lambda self, epoch, logs=None, n=_hook: self.calls.append(f"{n} {epoch} {sorted(logs)}")
    )


def test_callbacks_are_called_in_order():
    made, log = model(), Log()
    made.fit(X[:40], Y[:40], batch_size=20, validation_data=(X[:5], Y[:5]), callbacks=[log], verbose=0)
    assert log.calls == [
        "on_train_begin",
        "on_epoch_begin 0 []",
        "on_train_batch_begin 0",
        "on_train_batch_end 0",
        "on_train_batch_begin 1",
        "on_train_batch_end 1",
        "on_test_begin",
        "on_test_batch_begin 0",
        "on_test_batch_end 0",
        "on_test_end",
        "on_epoch_end 0 ['accuracy', 'loss', 'val_accuracy', 'val_loss']",
        "on_train_end",
    ]
    assert log.model is made
    assert log.params == {"verbose": 0, "epochs": 1, "steps": 2}
    log.calls.clear()
    made.evaluate(X[:5], Y[:5], callbacks=log, verbose=0)
    made.predict(X[:5], callbacks=[log], verbose=0)
    assert log.calls == [
        "on_test_begin",
        "on_test_batch_begin 0",
        "on_test_batch_end 0",
        "on_test_end",
        "on_predict_begin",
        "on_predict_batch_begin 0",
        "on_predict_batch_end 0",
        "on_predict_end",
    ]


def test_stop_training():
    class Stop(Callback):
        def on_train_batch_end(self, batch, logs=None):
            assert set(logs) == {"accuracy", "loss"}
            self.model.stop_training = batch == 1

    made = model()
    history = made.fit(X, Y, batch_size=10, epochs=5, callbacks=[Stop()], verbose=0)
    assert history.epoch == [0]
    assert made.optimizer.iterations == 2


def test_on_batch_methods():
    made = model()
    first = made.test_on_batch(X, Y)
    assert made.test_on_batch([X], [Y]) == first
    assert made.test_on_batch(X, {made.output_names[0]: Y}) == first
    sparse = fastseq.Sequential([layers.Dense(3, activation="softmax", input_shape=(4,))])
    sparse.compile("sgd", "sparse_categorical_crossentropy")
    labels = np.array([0, 2])
    assert sparse.test_on_batch(np.ones((2, 4)), [labels]) == sparse.test_on_batch(np.ones((2, 4)), labels)
    assert made.train_on_batch(X, Y) == first  # what is reported is from before the step
    assert made.test_on_batch(X, Y)[0] < first[0]
    assert set(made.train_on_batch(X, Y, return_dict=True)) == {"loss", "accuracy"}
    assert isinstance(linear().train_on_batch(numbered(3), numbered(3)), float)
    np.testing.assert_array_equal(made.predict_on_batch(X), made.predict(X, verbose=0))


def test_same_seed_same_bits():
    results = []
    for threads in (1, 2):
        fastseq.set_num_threads(threads)
        fastseq.set_seed(7)
        made = fastseq.Sequential([
            layers.LSTM(20, input_shape=(4, 3), return_sequences=True, dropout=0.2, recurrent_dropout=0.1),
            layers.Dropout(0.3), layers.GRU(9), layers.Dense(3, activation="softmax"),
        ])  # fmt: skip
        made.compile("adam", "categorical_crossentropy", metrics=["accuracy"])
        history = made.fit(X, Y, batch_size=16, epochs=3, validation_split=0.2, verbose=0)
        results.append((made.get_weights(), history.history))
    fastseq.set_num_threads(0)
    for a, b in zip(results[0][0], results[1][0], strict=True):
        np.testing.assert_array_equal(a, b)
    assert results[0][1] == results[1][1]


# --- what is printed ------------------------------------------------------------------------------


def test_verbose(capsys):
    made = model()
    made.fit(X, Y, batch_size=25, epochs=2, verbose=0)
    assert capsys.readouterr().out == ""
    made.fit(X, Y, batch_size=25, epochs=2, validation_data=(X, Y), verbose=2)
    values = "".join(rf" - {n}: \d\.\d{{4}}" for n in ("accuracy", "loss", "val_accuracy", "val_loss"))
    line = rf"2/2 - 0s - \d+(ms|us)/step{values}\n"
    assert re.fullmatch(f"Epoch 1/2\n{line}Epoch 2/2\n{line}", capsys.readouterr().out)
    made.fit(X, Y, batch_size=25, epochs=1)
    assert re.fullmatch(
        r"2/2 ━{20} 0s \d+(ms|us)/step - accuracy: \d\.\d{4} - loss: \d\.\d{4}\n", capsys.readouterr().out
    )
    made.evaluate(X, Y, verbose=2)
    assert re.fullmatch(r"2/2 - 0s - .* - accuracy: .* - loss: .*\n", capsys.readouterr().out)
    made.predict(X, verbose=1)
    assert re.fullmatch(r"1/1 ━{20} 0s \d+(ms|us)/step\n", capsys.readouterr().out)
    assert made.predict_classes(X).shape == (50,)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("verbose", [0, 1, 2, "auto"])
@pytest.mark.parametrize(("initial_epoch", "epochs"), [(0, 0), (0, 1), (0, 2), (1, 2), (2, 2)])
def test_headings_of_epochs_are_keras_s(verbose, initial_epoch, epochs, capsys):
    """There are none where ``epochs`` is 1, so a loop of single epochs prints none."""
    printed = []
    for made in twins(lambda k: k.Sequential([k.Input((1,)), k.layers.Dense(1)])):
        made.compile("sgd", "mse")
        made.fit(numbered(3), numbered(3), initial_epoch=initial_epoch, epochs=epochs, verbose=verbose)
        lines = capsys.readouterr().out.splitlines()
        printed.append([line for line in lines if line.startswith("Epoch")])
    assert printed[0] == printed[1]


def test_the_bar_is_drawn_over_itself_on_a_terminal(monkeypatch, capsys):
    from fastseq import progress

    monkeypatch.setattr(progress, "_redraws", lambda: True)
    monkeypatch.setattr(progress, "INTERVAL", 0.0)
    bar = progress.Progress(1, 10)
    for step in range(10):
        bar.update(step + 1, lambda: {"loss": 0.5})
    bar.finish({"loss": 0.25})
    out = capsys.readouterr().out
    assert out.count("\r") == 11
    assert "━" in out
    plain = re.sub(r"\033\[\d+m", "", out).split("\r")[1:]
    assert re.fullmatch(r" 1/10 ━{20} 0s \d+us/step - loss: 0.5000 *", plain[0])
    assert re.fullmatch(r"10/10 ━{20} 0s \d+us/step - loss: 0.2500 *\n", plain[-1])


# --- Ctrl-C ---------------------------------------------------------------------------------------

INTERRUPTED = """
import os, signal, numpy as np, fastseq
from fastseq import layers
from fastseq.callbacks import Callback

signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job inherits that it is ignored

class Press(Callback):
    def on_train_batch_end(self, batch, logs=None):
        if len(self.model.history.epoch) == 1 and batch == 2:
            os.kill(os.getpid(), signal.SIGINT)
            print("pressed", self.model.optimizer.iterations)
    def on_train_end(self, logs=None):
        print("train end")

model = fastseq.Sequential([layers.Dense(1, input_shape=(1,))])
model.compile("sgd", "mse")
x = np.arange(40.0).reshape(40, 1)
for _ in range(2):
    try:
        model.fit(x, x, batch_size=4, epochs=5, callbacks=[Press()], verbose=0)
    except KeyboardInterrupt:
        print("interrupted", model.optimizer.iterations, model.history.epoch, sorted(model.history.history))
assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
"""


def test_ctrl_c_finishes_the_batch_and_is_raised_again():
    done = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, timeout=60,
                          env=os.environ)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "pressed 13",
        "train end",
        "interrupted 13 [0] ['loss']",
        "pressed 26",
        "train end",
        "interrupted 26 [0] ['loss']",
    ]


def test_an_interrupt_raised_in_a_callback_also_ends_training():
    class Raise(Callback):
        ended = False

        def on_epoch_end(self, epoch, logs=None):
            raise KeyboardInterrupt

        def on_train_end(self, logs=None):
            self.ended = True

    made, callback = model(), Raise()
    with pytest.raises(KeyboardInterrupt):
        made.fit(X, Y, callbacks=[callback], verbose=0)
    assert callback.ended
    assert made.history.epoch == [0]


def test_another_handler_is_left_alone():
    before = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        handlers = []

        class Look(Callback):
            def on_epoch_begin(self, epoch, logs=None):
                handlers.append(signal.getsignal(signal.SIGINT))

        current = signal.getsignal(signal.SIGINT)
        model().fit(X, Y, callbacks=[Look()], verbose=0)
        assert handlers == [current]
    finally:
        signal.signal(signal.SIGINT, before)


# --- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (
            lambda m: m.fit(X, Y[:40], verbose=0),
            ValueError,
            "fit: data must have the same number of rows, got x with 50, y with 40",
        ),
        (
            lambda m: m.fit(X, np.zeros((50, 4)), verbose=0),
            ValueError,
            "fit: y must have shape (None, 3), got (50, 4)",
        ),
        (lambda m: m.fit(X, None, verbose=0), ValueError, "fit: y must be given, got None"),
        (
            lambda m: m.fit(X[:, :3], Y, verbose=0),
            ValueError,
            "fit: x must have shape (None, 4, 3), got (50, 3, 3)",
        ),
        (
            lambda m: m.fit(X, Y, batch_size=0, verbose=0),
            ValueError,
            "fit: batch_size must be at least 1, got 0",
        ),
        (lambda m: m.fit(X, Y, epochs=-1, verbose=0), ValueError, "fit: epochs must be at least 0, got -1"),
        (lambda m: m.fit(X, Y, epochs=1.5, verbose=0), TypeError, "fit: epochs must be an integer, got 1.5"),
        (lambda m: m.fit(X, Y, verbose=3), ValueError, "fit: verbose must be 0, 1, 2 or auto, got 3"),
        (
            lambda m: m.fit(X, Y, validation_split=1.0, verbose=0),
            ValueError,
            "fit: validation_split must be in (0, 1), got 1.0",
        ),
        (
            lambda m: m.fit(X[:1], Y[:1], validation_split=0.5, verbose=0),
            ValueError,
            "fit: validation_split must leave rows on both sides, got 1 rows split at 0",
        ),
        (
            lambda m: m.fit(X, Y, validation_data=X, verbose=0),
            ValueError,
            "fit: validation_data must be (x, y) or (x, y, sample_weight), "
            "got float32 array of shape (50, 4, 3)",
        ),
        (
            lambda m: m.fit(X, Y, validation_data=(X, Y), validation_freq=0, verbose=0),
            ValueError,
            "fit: validation_freq must be at least 1, got 0",
        ),
        (
            lambda m: m.fit(X, Y, sample_weight=np.ones(49), verbose=0),
            ValueError,
            "fit: data must have the same number of rows, got x with 50, y with 50, sample_weight with 49",
        ),
        (
            lambda m: m.fit(X, Y, sample_weight=np.ones(50), class_weight={0: 1.0}, verbose=0),
            ValueError,
            "fit: class_weight must be None where sample_weight is given, got both",
        ),
        (lambda m: m.fit([X, X], Y, verbose=0), ValueError, None),
        (
            lambda m: m.train_on_batch(X, Y[:3]),
            ValueError,
            "train_on_batch: data must have the same number of rows, got x with 50, y with 3",
        ),
        (
            lambda m: m.train_on_batch(X, np.zeros((50, 4))),
            ValueError,
            "train_on_batch: y must have shape (None, 3), got (50, 4)",
        ),
    ],
)
def test_errors(call, error, text):
    made = model()
    before = made.get_weights()
    with pytest.raises(error) as caught:
        call(made)
    assert text is None or str(caught.value) == text
    assert all((a == b).all() for a, b in zip(before, made.get_weights(), strict=True))


@pytest.mark.parametrize("label", [-1, 3])
def test_labels_out_of_range(label):
    made = fastseq.Sequential([layers.Dense(3, activation="softmax", input_shape=(3,))])
    made.compile("sgd", "sparse_categorical_crossentropy")
    labels = np.zeros(50, int)
    labels[7] = label
    before = made.get_weights()
    with pytest.raises(ValueError) as error:
        made.fit(X[:, 0], labels, batch_size=50, shuffle=False, verbose=0)
    assert str(label) in str(error.value)
    assert all((a == b).all() for a, b in zip(before, made.get_weights(), strict=True))


def test_training_without_a_loss():
    made = fastseq.Sequential([layers.Dense(1, input_shape=(1,))], name="m")
    made.compile("sgd")
    with pytest.raises(RuntimeError) as error:
        made.fit(numbered(3), numbered(3))
    assert str(error.value) == "fit: m must be compiled with a loss, got none"


def test_the_example_of_the_first_page():
    """Sequential, compile, fit, evaluate, predict as a reader types them."""
    code = textwrap.dedent("""
        import numpy as np, fastseq
        from fastseq import layers
        x, y = np.random.rand(100, 7, 12), np.eye(3)[np.random.randint(0, 3, 100)]
        model = fastseq.Sequential([layers.GRU(8, input_shape=(7, 12)), layers.Dense(3, "softmax")])
        model.compile("adam", "categorical_crossentropy", metrics=["accuracy"])
        model.fit(x, y, epochs=2)
        print(model.predict(x[:5]).shape, model.evaluate(x, y, return_dict=True).keys())
    """)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env=os.environ
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "(5, 3) dict_keys(['accuracy', 'loss'])"
