"""What training prints, and how Ctrl-C ends it."""

import os
import re
import signal
import subprocess
import sys

import pytest
from keras_twin import twins
from small_models import X, Y, model, numbered

from fastseq.callbacks import Callback

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
    assert re.fullmatch(r" 1/10 ━{20} 0s \d+(us|ms)/step - loss: 0.5000 *", plain[0])
    assert re.fullmatch(r"10/10 ━{20} 0s \d+(us|ms)/step - loss: 0.2500 *\n", plain[-1])


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
