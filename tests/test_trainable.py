"""Trainable flags, and the weights of classes, samples and losses, beside Keras; and what a slip suggests."""

import numpy as np
import pytest
from keras_twin import OURS, THEIRS, check_step, close, twins

import fastseq
from fastseq import activations, layers, losses, metrics, optimizers
from fastseq.layers.description import from_config

rng = np.random.default_rng(0)
X = rng.normal(size=(12, 5, 3)).astype(np.float32)
TARGET = rng.normal(size=(12, 2)).astype(np.float32)
LABELS = rng.integers(0, 3, 12)
STEP_LABELS = rng.integers(0, 3, (12, 5))
WEIGHTS = rng.random(12).astype(np.float32)
STEP_WEIGHTS = rng.random((12, 5)).astype(np.float32)


def build(k):
    x = k.Input((5, 3))
    h = k.layers.LSTM(4, name="lstm")(x)
    inner = k.Sequential([k.Input((4,)), k.layers.Dense(3, "tanh", name="a")], name="inner")
    return k.Model(x, k.layers.Dense(2, name="out")(inner(h)))


def names(weights):
    return [w.shape for w in weights]


@pytest.mark.parametrize("frozen", [["lstm"], ["inner"], ["out", "lstm"], []])
def test_frozen_layers(frozen):
    ours, theirs = twins(build)
    for model in (ours, theirs):
        for name in frozen:
            model.get_layer(name).trainable = False
    assert names(ours.trainable_weights) == [tuple(w.shape) for w in theirs.trainable_weights]
    assert names(ours.non_trainable_weights) == [tuple(w.shape) for w in theirs.non_trainable_weights]
    check_step(ours, theirs, X, TARGET, "mse")
    if "inner" in frozen:
        assert not ours.get_layer("inner").get_layer("a").trainable
    lines = []
    ours.summary(print_fn=lines.append)
    counts = [
        sum(int(np.prod(s)) for s in names(w)) for w in (ours.trainable_weights, ours.non_trainable_weights)
    ]
    assert f"Trainable params: {counts[0]:,} " in lines[0]
    assert f"Non-trainable params: {counts[1]:,} " in lines[0]


def test_what_is_frozen_later_stays_in_training_until_compile():
    """As in Keras: the flags are read when training begins, and again after the next compile."""
    ours, theirs = twins(build, eager=False)
    for model, k in ((ours, OURS), (theirs, THEIRS)):
        model.compile(k.SGD(0.1), "mse")
        model.get_layer("lstm").trainable = False  # before the first step: it counts
        model.train_on_batch(X, TARGET)
        model.trainable = False  # after it: it does not yet
        model.train_on_batch(X, TARGET)
    close(ours.get_weights(), theirs.get_weights())
    before = ours.get_weights()
    for model, k in ((ours, OURS), (theirs, THEIRS)):
        model.trainable = True
        model.get_layer("out").trainable = False
        model.compile(k.SGD(0.1), "mse")
        model.train_on_batch(X, TARGET)
    close(ours.get_weights(), theirs.get_weights())
    changed = [not np.array_equal(a, b) for a, b in zip(before, ours.get_weights(), strict=True)]
    assert changed == [True] * 5 + [False] * 2


def test_nothing_to_train():
    model = build(OURS)
    model.trainable = False
    assert model.trainable_weights == []
    model.compile("adam", "mse")
    before = model.get_weights()
    assert np.isfinite(model.train_on_batch(X, TARGET))
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_weight_of_its_own_may_be_frozen():
    class Scaled(layers.Layer):
        def build(self, input_shape):
            self.scale = self.add_weight((3,), "ones", name="scale")
            self.fixed = self.add_weight((3,), "ones", trainable=False, name="fixed")

        def call(self, inputs):
            return inputs * self.scale * self.fixed

    model = fastseq.Sequential([Scaled(input_shape=(3,)), layers.Dense(2)])
    assert [v.name.split("/")[1] for v in model.non_trainable_weights] == ["fixed"]
    model.compile("sgd", "mse")
    model.train_on_batch(X[:, 0], TARGET)
    np.testing.assert_array_equal(model.layers[0].fixed.numpy(), 1)
    assert (model.layers[0].scale.numpy() != 1).all()


# --- weights --------------------------------------------------------------------------------------


def classes(k):
    x = k.Input((5, 3))
    return k.Model(x, k.layers.Dense(3, activation="softmax")(k.layers.LSTM(4)(x)))


@pytest.mark.parametrize("kind", ["labels", "one-hot"])
def test_class_weights_in_fit(kind):
    ours, theirs = twins(classes)
    loss = "sparse_categorical_crossentropy" if kind == "labels" else "categorical_crossentropy"
    target = LABELS if kind == "labels" else np.eye(3, dtype=np.float32)[LABELS]
    histories = []
    for model, k in ((ours, OURS), (theirs, THEIRS)):
        model.compile(k.SGD(0.5), loss, metrics=["accuracy"], weighted_metrics=["accuracy"])
        histories.append(model.fit(
            X, target, batch_size=4, epochs=2, shuffle=False, verbose=0, class_weight={0: 0.5, 2: 3.0},
            validation_data=(X[:5], target[:5], WEIGHTS[:5]),
        ).history)  # fmt: skip
    close(ours.get_weights(), theirs.get_weights())
    for name in ("loss", "val_loss", "accuracy", "val_accuracy"):
        close(histories[0][name], histories[1][name])
    assert set(histories[0]) == set(histories[1])


def test_class_weights_of_two_classes():
    def binary(k):
        x = k.Input((3,))
        return k.Model(x, k.layers.Dense(1, activation="sigmoid")(x))

    ours, theirs = twins(binary)
    target = (LABELS > 1).astype(np.float32)[:, None]
    for model, k in ((ours, OURS), (theirs, THEIRS)):
        model.compile(k.SGD(1.0), "binary_crossentropy")
        model.train_on_batch(X[:, 0], target, class_weight={0: 0.25, 1: 2.0})
    close(ours.get_weights(), theirs.get_weights())


@pytest.mark.parametrize("weights", [WEIGHTS, STEP_WEIGHTS], ids=["samples", "steps"])
def test_sample_weights_of_several_losses(weights):
    """Per output, of samples or steps, beside weights of the losses and metrics that count them."""
    steps = weights.ndim == 2

    def several(k):
        x = k.Input((5, 3))
        h = k.layers.LSTM(4, return_sequences=steps)(x)
        return k.Model(x, [k.layers.Dense(3, "softmax", name="a")(h), k.layers.Dense(2, name="b")(h)])

    ours, theirs = twins(several)
    labels = STEP_LABELS if steps else LABELS
    real = rng.normal(size=(12, 5, 2) if steps else (12, 2)).astype(np.float32)
    results = []
    for model, k in ((ours, OURS), (theirs, THEIRS)):
        model.compile(
            k.SGD(1.0), ["sparse_categorical_crossentropy", "mse"], loss_weights=[0.3, 2.0],
            metrics=[["accuracy"], ["mae"]], weighted_metrics=[[], ["mse"]],
        )  # fmt: skip
        results.append(model.train_on_batch(
            X, [labels, real], sample_weight=[weights, weights[::-1].copy()], return_dict=True
        ))  # fmt: skip
    assert set(results[0]) == set(results[1])
    for name, value in results[0].items():
        assert value == pytest.approx(float(results[1][name]), rel=1e-4), name
    close(ours.get_weights(), theirs.get_weights())


def test_losses_and_weights_by_name():
    def several(k):
        x = k.Input((5, 3))
        h = k.layers.LSTM(4)(x)
        return k.Model(x, [k.layers.Dense(2, name=name)(h) for name in "abc"])

    ours, theirs = twins(several)
    for model, k in ((ours, OURS), (theirs, THEIRS)):
        library = losses if k is OURS else __import__("keras").losses
        model.compile(
            k.SGD(1.0), {"a": library.Huber(0.5), "b": "log_cosh", "c": "cosine_similarity"},
            loss_weights={"a": 2.0, "b": 0.5, "c": 1.0},
        )  # fmt: skip
        targets = {"a": TARGET, "b": -TARGET, "c": TARGET}
        weights = dict.fromkeys("abc", WEIGHTS)
        if k is THEIRS:  # which takes names only where the outputs have them
            targets, weights = list(targets.values()), list(weights.values())
        model.train_on_batch(X, targets, sample_weight=weights)
    close(ours.get_weights(), theirs.get_weights())


# --- slips ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "suggestion"),
    [
        (lambda: optimizers.get("adm"), "'adm' (did you mean 'adam'?)"),
        (lambda: losses.get("categorical_crossentrop"),
         "'categorical_crossentrop' (did you mean 'categorical_crossentropy'?)"),
        (lambda: losses.get("MeanSquareError"), "'MeanSquareError' (did you mean 'mean_squared_error'?)"),
        (lambda: metrics.get("acuracy"), "'acuracy' (did you mean 'accuracy'?)"),
        (lambda: activations.get("sigmod"), "'sigmod' (did you mean 'sigmoid'?)"),
        (lambda: layers.Dense(2, "rellu"), "'rellu' (did you mean 'relu'?)"),
        (lambda: layers.Dense(2, kernel_initializer="glorot_unifrom"),
         "'glorot_unifrom' (did you mean 'glorot_uniform'?)"),
        (lambda: layers.LSTM(2, return_sequence=True),
         "'return_sequence' (did you mean 'return_sequences'?)"),
        (lambda: optimizers.Adam(learning_rat=0.1), "'learning_rat' (did you mean 'learning_rate'?)"),
        (lambda: from_config({"class_name": "LSTMM", "config": {}}), "'LSTMM' (did you mean 'LSTM'?)"),
        (lambda: build(OURS).get_layer("lstn"), "'lstn' (did you mean 'lstm'?)"),
        (lambda: optimizers.get("quite_another"), "'quite_another'"),
    ],
)  # fmt: skip
def test_the_nearest_name_is_suggested(call, suggestion):
    with pytest.raises((ValueError, TypeError)) as error:
        call()
    assert str(error.value).endswith(f", got {suggestion}")
