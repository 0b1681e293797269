"""Data for fit, evaluate and predict: of any type and layout, in which order, and what is refused."""

import numpy as np
import pytest
from small_models import X, Y, linear, model, numbered, rows

import fastseq
from fastseq import layers
from fastseq.callbacks import Callback

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
            "fit: validation_data must be (x, y), (x, y, sample_weight), a dataset or a generator, "
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
