"""SwapEMAWeights against Keras's, and that weights and means are never mixed, whatever ends a run."""

import copy
import os
import signal

import numpy as np
import pytest
from keras_twin import close, keras, twins
from small_models import rows

import fastseq
from fastseq import callbacks, layers, models, optimizers
from fastseq.callbacks import BackupAndRestore, Callback, EarlyStopping, ModelCheckpoint, SwapEMAWeights

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:keras")

OPTIONS = {"learning_rate": 0.3, "momentum": 0.9, "use_ema": True, "ema_momentum": 0.8}
X, Y = rows(24, 5, 4), rows(24, 2, seed=1)
HELD_OUT = rows(9, 5, 4, seed=2), rows(9, 2, seed=3)


def network(k):
    return k.Sequential([k.Input((5, 4)), k.layers.LSTM(3), k.layers.Dense(2)])


def build(**options):
    fastseq.set_seed(4)
    made = fastseq.Sequential([layers.LSTM(3, input_shape=(5, 4)), layers.Dense(2)])
    made.compile(optimizers.SGD(**{**OPTIONS, **options}), "mse")
    return made


def train(made, *listening, epochs=3, **options):
    return made.fit(X, Y, batch_size=8, epochs=epochs, verbose=0, shuffle=False, validation_data=HELD_OUT,
                    callbacks=list(listening), **options)  # fmt: skip


def same(weights, others):
    for a, b in zip(weights, others, strict=True):
        np.testing.assert_array_equal(a, b)


def means(made):
    """The running means, one array per weight."""
    return [np.array(mean) for mean in made.objective.optimizer_state()["average"]]


class Seen(Callback):
    """Weights and means at each point of training."""

    def __init__(self):
        super().__init__()
        self.points = {}

    def _see(self, point):
        self.points.setdefault(point, []).append((self.model.get_weights(), means(self.model)))

    def on_epoch_begin(self, epoch, logs=None):
        self._see("epoch begin")

    def on_train_batch_end(self, batch, logs=None):
        self._see("batch end")

    def on_test_batch_end(self, batch, logs=None):
        self._see("test")

    def on_epoch_end(self, epoch, logs=None):
        self._see("epoch end")


# --- against Keras --------------------------------------------------------------------------------


@pytest.mark.parametrize("swap_on_epoch", [False, True])
def test_a_run_is_keras_s(swap_on_epoch, tmp_path):
    """Losses of each epoch, the weights that are saved after each, and those in the end."""
    ours, theirs = twins(network)
    ours.compile(optimizers.SGD(**OPTIONS), "mse")
    theirs.compile(keras.optimizers.SGD(**OPTIONS), "mse")
    swap = {"swap_on_epoch": swap_on_epoch}
    for made, library, ending in ((ours, callbacks, "safetensors"), (theirs, keras.callbacks, "weights.h5")):
        saves = library.ModelCheckpoint(f"{tmp_path}/{{epoch}}.{ending}", save_weights_only=True)
        train(made, library.SwapEMAWeights(**swap), saves)
    history = ours.history.history
    for name in ("loss", "val_loss"):
        close(history[name], theirs.history.history[name])
    close(ours.get_weights(), theirs.get_weights())
    final = ours.get_weights()
    for epoch in (1, 2, 3):
        ours.load_weights(tmp_path / f"{epoch}.safetensors")
        theirs.load_weights(tmp_path / f"{epoch}.weights.h5")
        close(ours.get_weights(), theirs.get_weights())
        loss = ours.evaluate(*HELD_OUT, verbose=0)
        assert (loss == pytest.approx(history["val_loss"][epoch - 1], rel=1e-6)) == swap_on_epoch
    if swap_on_epoch:
        same(ours.get_weights(), final)


def test_an_evaluation_is_keras_s():
    ours, theirs = twins(network)
    ours.compile(optimizers.SGD(**OPTIONS), "mse")
    theirs.compile(keras.optimizers.SGD(**OPTIONS), "mse")
    for step in range(3):
        part = slice(8 * step, 8 * step + 8)
        ours.train_on_batch(X[part], Y[part])
        theirs.train_on_batch(X[part], Y[part])
    plain = ours.evaluate(*HELD_OUT, verbose=0)
    swapped = ours.evaluate(*HELD_OUT, verbose=0, callbacks=[SwapEMAWeights()])
    expected = theirs.evaluate(*HELD_OUT, verbose=0, callbacks=[keras.callbacks.SwapEMAWeights()])
    assert swapped == pytest.approx(expected, rel=1e-5)
    assert abs(swapped - plain) > 1e-3
    close(ours.get_weights(), theirs.get_weights())


# --- what is where --------------------------------------------------------------------------------


def test_training_goes_on_from_the_weights():
    """Nothing in training differs from a run without the callback."""
    plain, swapped = Seen(), Seen()
    one, other = build(), build()
    train(one, plain)
    train(other, SwapEMAWeights(swap_on_epoch=True), swapped)
    for point in ("batch end", "epoch begin"):
        for a, b in zip(plain.points[point], swapped.points[point], strict=True):
            same(a[0], b[0])
            same(a[1], b[1])
    for point in ("test", "epoch end"):
        for weights, mean in swapped.points[point]:
            same(weights, mean)
    assert np.any(plain.points["epoch end"][0][0][0] != plain.points["epoch end"][0][1][0])
    same(one.get_weights(), other.get_weights())
    same(other.get_weights(), means(other))
    assert not other.optimizer.averaged


def test_predictions():
    made = build()
    made.train_on_batch(X, Y)
    made.train_on_batch(X, Y)
    before = made.get_weights()
    plain = made.predict(X, verbose=0)
    averaged = made.predict(X, verbose=0, callbacks=[SwapEMAWeights()])
    same(made.get_weights(), before)
    np.testing.assert_array_equal(made.predict(X, verbose=0), plain)
    made.optimizer.finalize()
    np.testing.assert_array_equal(made.predict(X, verbose=0), averaged)
    assert np.any(plain != averaged)


def test_steps_see_it():
    """A layer that keeps its weights packed packs them anew."""
    made = build()
    made.train_on_batch(X, Y)
    made.train_on_batch(X, Y)
    seen = []
    for averaged in (False, True, False):
        made.optimizer.swap_averages(averaged)
        seen.append((made.layers[0].step(X[:, 0])[0], made.layers[0].get_weights()))
    for output, weights in seen:
        other = layers.LSTM(3, input_shape=(5, 4))
        fastseq.Sequential([other]).set_weights(weights)
        np.testing.assert_array_equal(output, other.step(X[:, 0])[0])


def test_within_an_epoch_s_end():
    """Another callback evaluates with the same callback; the means stay for those after it."""
    swap, seen = SwapEMAWeights(swap_on_epoch=True), Seen()
    found = []

    class Evaluating(Callback):
        def on_epoch_end(self, epoch, logs=None):
            found.append((self.model.evaluate(*HELD_OUT, verbose=0, callbacks=[swap]), logs["val_loss"]))

    train(build(), swap, Evaluating(), seen)
    assert [a for a, _ in found] == pytest.approx([b for _, b in found])
    for weights, mean in seen.points["epoch end"]:
        same(weights, mean)


@pytest.mark.parametrize("use", ["evaluate", "predict", "no epochs"])
def test_before_the_first_step(use):
    made = build()
    before = made.get_weights()
    swap = SwapEMAWeights(swap_on_epoch=True)
    if use == "evaluate":
        assert made.evaluate(X, Y, verbose=0, callbacks=[swap]) == made.evaluate(X, Y, verbose=0)
    elif use == "predict":
        predicted = made.predict(X, verbose=0, callbacks=[swap])
        np.testing.assert_array_equal(predicted, made.predict(X, verbose=0))
    else:
        train(made, swap, epochs=0)
    same(made.get_weights(), before)


@pytest.mark.parametrize("use", ["evaluate", "predict"])
def test_a_model_from_a_file(use, tmp_path):
    """Its means are there before its first step, and it trains on as the one that was saved."""
    made = build()
    made.train_on_batch(X, Y)
    made.train_on_batch(X, Y)
    made.save(tmp_path / "model.safetensors")
    read = models.load_model(tmp_path / "model.safetensors")
    given = HELD_OUT if use == "evaluate" else HELD_OUT[:1]
    results = [getattr(m, use)(*given, verbose=0, callbacks=[SwapEMAWeights()]) for m in (made, read)]
    np.testing.assert_array_equal(*results)
    same(read.get_weights(), made.get_weights())
    for model in (made, read):
        model.train_on_batch(X, Y)
    same(read.get_weights(), made.get_weights())
    same(means(read), means(made))


@pytest.mark.parametrize("kind", ["two", "nested in a test's end", "nested in a test's batch"])
def test_several_of_them(kind):
    """Training goes on from its own weights, whoever asks for the means meanwhile."""
    plain, several = Seen(), Seen()
    train(build(), plain)
    swap = SwapEMAWeights()

    class Predicting(Callback):
        def predict(self, *_):
            self.model.predict(X, verbose=0, callbacks=[swap])

    if kind == "two":
        listening = [swap, SwapEMAWeights()]
    else:
        predicting = Predicting()
        setattr(predicting, "on_test_end" if "end" in kind else "on_test_batch_end", predicting.predict)
        listening = [predicting, swap]
    train(build(), *listening, several)
    for a, b in zip(plain.points["batch end"], several.points["batch end"], strict=True):
        same(a[0], b[0])
    for weights, mean in several.points["test"]:
        same(weights, mean)


def test_a_copy_made_meanwhile():
    """It has the means for weights, and trains on from them."""
    copies = []

    class Copying(Callback):
        def on_epoch_end(self, epoch, logs=None):
            copies.append((copy.deepcopy(self.model), self.model.get_weights()))

    train(build(), SwapEMAWeights(swap_on_epoch=True), Copying())
    made, weights = copies[0]
    assert not made.optimizer.averaged
    assert made.optimizer.holds == 0
    same(made.get_weights(), weights)
    with pytest.raises(OSError):
        made.predict(X, verbose=0, callbacks=[failing("on_predict_begin")])
    seen = Seen()
    made.fit(X, Y, batch_size=8, verbose=0, callbacks=[SwapEMAWeights(swap_on_epoch=True), seen])
    same(seen.points["epoch begin"][0][0], weights)


def test_the_best_means_are_restored():
    """Also where training ends early, in no epoch that was known to be the last."""
    made, seen = build(learning_rate=0.9), Seen()
    best = EarlyStopping(patience=1, restore_best_weights=True)
    train(made, SwapEMAWeights(swap_on_epoch=True), best, seen, epochs=50)
    assert 0 < best.stopped_epoch < 49
    same(made.get_weights(), seen.points["epoch end"][best.best_epoch][1])
    assert made.evaluate(*HELD_OUT, verbose=0) == pytest.approx(best.best, rel=1e-6)
    assert best.best == min(made.history.history["val_loss"])


def test_training_ended_early_leaves_the_means():
    made, seen = build(learning_rate=0.9), Seen()
    train(made, SwapEMAWeights(swap_on_epoch=True), EarlyStopping(patience=1), seen, epochs=50)
    same(made.get_weights(), seen.points["epoch end"][-1][1])


def test_a_file_of_the_means_is_whole(tmp_path):
    """What ModelCheckpoint saves at the end of an epoch trains on from the means."""
    seen = Seen()
    keep = ModelCheckpoint(tmp_path / "{epoch}")
    train(build(), SwapEMAWeights(swap_on_epoch=True), keep, seen, epochs=2)
    read = models.load_model(tmp_path / "1")
    same(read.get_weights(), seen.points["epoch end"][0][1])
    read.train_on_batch(X, Y)
    assert read.optimizer.iterations == 4


# --- whatever ends it -----------------------------------------------------------------------------


@pytest.mark.parametrize("stop", [1, 2])
@pytest.mark.parametrize("swap_on_epoch", [False, True])
def test_a_resumed_run(swap_on_epoch, stop, tmp_path):
    """The backup holds weights and means, whichever was in the model's place."""

    class Stop(Callback):
        def on_train_batch_begin(self, batch, logs=None):
            if self.model.history.epoch == list(range(stop)) and batch == 1:
                raise OSError

    whole, parts = build(), build()
    seen, again = Seen(), Seen()
    train(whole, SwapEMAWeights(swap_on_epoch), seen)
    with pytest.raises(OSError):
        train(parts, SwapEMAWeights(swap_on_epoch), BackupAndRestore(tmp_path), Stop())
    parts = build()
    train(parts, SwapEMAWeights(swap_on_epoch), BackupAndRestore(tmp_path), again)
    for a, b in zip(seen.points["batch end"][3 * stop :], again.points["batch end"], strict=True):
        same(a[0], b[0])
        same(a[1], b[1])
    same(parts.get_weights(), whole.get_weights())
    assert parts.history.history == whole.history.history


def test_a_run_resumed_after_its_last_epoch(tmp_path):
    whole = build()
    train(whole, SwapEMAWeights(swap_on_epoch=True), BackupAndRestore(tmp_path, delete_checkpoint=False))
    again = build()
    train(again, SwapEMAWeights(swap_on_epoch=True), BackupAndRestore(tmp_path))
    same(again.get_weights(), whole.get_weights())
    same(again.get_weights(), means(again))


POINTS = ["on_train_batch_end", "on_test_begin", "on_test_batch_end", "on_test_end", "on_epoch_begin",
          "on_epoch_end"]  # fmt: skip


def ending(point, error):
    """A callback that ends things when a point of training is reached the second time."""
    left = [2]

    def end(*_):
        left[0] -= 1
        if not left[0]:
            error()

    made = Callback()
    setattr(made, point, end)
    return made


def interrupt():
    raise KeyboardInterrupt


def failing(point):
    def fail(*_):
        raise OSError

    made = Callback()
    setattr(made, point, fail)
    return made


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("kind", ["an exception", "a signal"])
def test_ctrl_c_leaves_the_means(kind, point, ctrl_c):
    if kind == "a signal" and os.name != "posix":
        pytest.skip("sends a signal")
    made = build()
    error = interrupt if kind == "an exception" else lambda: os.kill(os.getpid(), signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        train(made, SwapEMAWeights(swap_on_epoch=True), ending(point, error))
    assert made.optimizer.iterations >= 2
    assert not made.optimizer.averaged
    same(made.get_weights(), means(made))


@pytest.mark.parametrize("point", POINTS)
def test_an_error_leaves_the_weights(point):
    def error():
        raise OSError

    made, seen = build(), Seen()
    with pytest.raises(OSError):
        train(made, seen, SwapEMAWeights(swap_on_epoch=True), ending(point, error))
    same(made.get_weights(), seen.points["batch end"][-1][0])
    same(means(made), seen.points["batch end"][-1][1])
    assert not made.optimizer.averaged


@pytest.mark.parametrize("use", ["test", "predict"])
@pytest.mark.parametrize("point", ["begin", "batch_end", "end"])
def test_interrupted_outside_of_training(use, point):
    made = build()
    train(made, epochs=1)
    made.train_on_batch(X, Y)
    before, mean = made.get_weights(), means(made)
    stop = Callback()
    setattr(stop, f"on_{use}_{point}", lambda *_: interrupt())
    run, given = (made.evaluate, HELD_OUT) if use == "test" else (made.predict, HELD_OUT[:1])
    with pytest.raises(KeyboardInterrupt):
        run(*given, verbose=0, callbacks=[SwapEMAWeights(), stop])
    same(made.get_weights(), before)
    same(means(made), mean)


class Cut:
    """An array whose copying is interrupted."""

    def __array__(self, dtype=None, copy=None):
        raise KeyboardInterrupt


@pytest.mark.parametrize("averaged", [True, False])
def test_an_exchange_that_is_interrupted(averaged):
    """Weights and means stay whole: either can be put in place afterwards."""
    made = build()
    made.train_on_batch(X, Y)
    made.train_on_batch(X, Y)
    optimizer = made.optimizer
    before, mean = made.get_weights(), means(made)
    if not averaged:
        optimizer.swap_averages(True)
    kept = optimizer._state["average"] if averaged else optimizer._aside
    kept[1], whole = Cut(), kept[1]
    with pytest.raises(KeyboardInterrupt):
        optimizer.swap_averages(averaged)
    kept[1] = whole
    assert optimizer.averaged
    optimizer.swap_averages(True)
    same(made.get_weights(), mean)
    optimizer.swap_averages(False)
    same(made.get_weights(), before)


@pytest.mark.parametrize("use", ["fit", "evaluate", "predict"])
def test_errors(use):
    made = build(use_ema=False)
    calls = {
        "fit": lambda: train(made, SwapEMAWeights()),
        "evaluate": lambda: made.evaluate(X, Y, verbose=0, callbacks=[SwapEMAWeights()]),
        "predict": lambda: made.predict(X, verbose=0, callbacks=[SwapEMAWeights()]),
    }
    with pytest.raises(ValueError) as error:
        calls[use]()
    assert str(error.value) == "SwapEMAWeights: optimizer must have use_ema=True, got SGD with use_ema=False"


def test_without_an_optimizer():
    made = fastseq.Sequential([layers.Dense(2, input_shape=(3,))])
    with pytest.raises(ValueError) as error:
        made.predict(rows(2, 3), verbose=0, callbacks=[SwapEMAWeights()])
    assert str(error.value) == "SwapEMAWeights: optimizer must have use_ema=True, got none"
