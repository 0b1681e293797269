"""fit, evaluate, predict: numbers as Keras's, the loop, callbacks, seeds."""

import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from keras_twin import keras, twins
from small_models import X, Y, linear, model, numbered, rows

import fastseq
from fastseq import layers
from fastseq.callbacks import Callback

# --- against Keras --------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [16, 50, pytest.param(64, marks=pytest.mark.slow)])
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
