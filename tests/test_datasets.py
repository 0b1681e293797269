"""Datasets and generators in fit, evaluate and predict: as their arrays, in Keras's order; their errors."""

import itertools
import warnings

import numpy as np
import pytest
from keras_twin import keras, twins
from small_models import X, Y, linear, model
from some_datasets import Batches, Numbered, Turning

import fastseq
from fastseq import layers
from fastseq.utils import PyDataset, Sequence


def generated(size, *columns):
    yield from Batches(size, *columns)


def twin_models():
    made = [model(), model()]
    made[1].set_weights(made[0].get_weights())
    return made


def same_weights(a, b):
    for p, q in zip(a.get_weights(), b.get_weights(), strict=True):
        np.testing.assert_array_equal(p, q)


def test_the_names_are_keras_s():
    assert Sequence is PyDataset
    made = PyDataset(workers=3, use_multiprocessing=True, max_queue_size=7)
    assert (made.workers, made.use_multiprocessing, made.max_queue_size) == (3, True, 7)
    with pytest.raises(NotImplementedError):
        _ = made.num_batches
    with pytest.raises(NotImplementedError):
        made[0]
    assert [len(x) for x, _ in Batches(20, X, Y)] == [20, 20, 10]
    assert Batches(20, X, Y).num_batches == 3


@pytest.mark.parametrize("workers", [0, 1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_dataset_trains_as_its_arrays_do(workers):
    a, b = twin_models()
    dataset = Batches(16, X, Y, workers=workers)
    ha = a.fit(
        dataset, epochs=3, shuffle=False, validation_data=Batches(20, X, Y, workers=workers), verbose=0
    )
    hb = b.fit(X, Y, batch_size=16, epochs=3, shuffle=False, validation_data=(X, Y),
               validation_batch_size=20, verbose=0)  # fmt: skip
    assert ha.history == hb.history
    same_weights(a, b)
    assert dataset.called == ["begin", "end"] * 3
    assert a.evaluate(dataset, verbose=0) == b.evaluate(X, Y, batch_size=16, verbose=0)
    np.testing.assert_array_equal(a.predict(dataset, verbose=0), b.predict(X, batch_size=16, verbose=0))


def test_a_generator_trains_as_its_arrays_do():
    a, b = twin_models()
    ha = a.fit(generated(10, X, Y), verbose=0)
    hb = b.fit(X, Y, batch_size=10, shuffle=False, verbose=0)
    assert ha.history == hb.history
    same_weights(a, b)
    endless = (batch for _ in itertools.count() for batch in generated(10, X, Y))
    ha = a.fit(endless, steps_per_epoch=5, epochs=2, verbose=0, validation_data=endless, validation_steps=5)
    hb = b.fit(X, Y, batch_size=10, epochs=2, shuffle=False, verbose=0, validation_data=(X, Y))
    assert ha.history == hb.history
    same_weights(a, b)
    again = list(generated(10, X, Y))
    np.testing.assert_array_equal(a.predict(iter(again), verbose=0), b.predict(X, batch_size=10, verbose=0))
    assert a.evaluate(iter(again), verbose=0) == b.evaluate(X, Y, batch_size=10, verbose=0)


def test_sample_and_class_weights():
    weights = np.linspace(0, 2, 50).astype(np.float32)
    a, b = twin_models()
    a.fit(Batches(16, X, Y, weights), shuffle=False, verbose=0)
    b.fit(X, Y, sample_weight=weights, batch_size=16, shuffle=False, verbose=0)
    same_weights(a, b)
    classes = {0: 0.5, 2: 3.0}
    a.fit(Batches(16, X, Y), class_weight=classes, shuffle=False, verbose=0)
    b.fit(X, Y, class_weight=classes, batch_size=16, shuffle=False, verbose=0)
    same_weights(a, b)


def test_several_inputs_and_outputs_as_lists_and_dicts():
    def build():
        a, b = layers.Input((3,), name="a"), layers.Input((3,), name="b")
        joined = layers.subtract([a, b])
        out = [layers.Dense(2, name="p")(joined), layers.Dense(1, name="q")(joined)]
        made = fastseq.Model([a, b], out)
        made.compile("sgd", "mse")
        return made

    x, z, p, q = X[:, 0], X[:, 1], X[:, 2, :2], X[:, 3, :1]
    m, n = build(), build()
    n.set_weights(m.get_weights())

    def batches():
        yield [x[:10], z[:10]], [p[:10], q[:10]]
        yield {"b": z[10:20], "a": x[10:20]}, {"q": q[10:20], "p": p[10:20]}
        yield (x[20:30], z[20:30]), (p[20:30], q[20:30]), [np.ones(10), np.ones(10)]

    m.fit(batches(), verbose=0)
    n.fit([x[:30], z[:30]], [p[:30], q[:30]], batch_size=10, shuffle=False, verbose=0)
    same_weights(m, n)
    for part in zip(m.predict(batches(), verbose=0), n.predict([x[:30], z[:30]], verbose=0), strict=True):
        np.testing.assert_allclose(*part, rtol=1e-6)


def test_batches_come_in_keras_s_order():
    """The batches of every epoch, with and without steps_per_epoch."""
    orders = []
    for library, base in ((fastseq, PyDataset), (keras, keras.utils.PyDataset)):
        for steps in (None, 2, 5):
            asked = []

            class Order(base):
                def __len__(self):
                    return 5

                def __getitem__(self, k, asked=asked):
                    asked.append(k)
                    return np.ones((2, 1)), np.ones((2, 1))

                def on_epoch_end(self, asked=asked):
                    if asked and asked[-1] != "end":
                        asked.append("end")

            made = library.Sequential([library.layers.Dense(1)])
            if library is keras:
                made.compile("sgd", "mse", run_eagerly=True)
                # TensorFlow's pipeline reads ahead: what matters is what its adapter hands out
                from keras.src.trainers.epoch_iterator import EpochIterator

                iterator = EpochIterator(Order(), steps_per_epoch=steps, shuffle=False)
                for _ in range(2):
                    for _ in iterator:
                        pass
            else:
                made.build((None, 1))
                made.compile("sgd", "mse")
                made.train_on_batch(np.ones((2, 1)), np.ones((2, 1)))
                made.fit(Order(), epochs=2, steps_per_epoch=steps, shuffle=False, verbose=0)
            orders.append(asked)
    assert orders[:3] == orders[3:]
    assert orders[1] == [0, 1, "end", 2, 3, "end"]


def test_arrays_in_shorter_epochs_go_on_where_they_were():
    made = linear()
    seen = []
    train = made.objective.train
    made.objective.train = lambda i, t, w: (seen.append(i[0][:, 0].tolist()), train(i, t, w))
    x = np.arange(10.0)[:, None] / 10
    made.fit(x, x, batch_size=4, steps_per_epoch=2, epochs=3, shuffle=False, verbose=0)
    rows = [[round(10 * v) for v in batch] for batch in seen]
    assert rows == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9], [0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert made.predict(x, batch_size=4, steps=2, verbose=0).shape == (8, 1)
    assert made.evaluate(x, x, batch_size=5, steps=1, verbose=0) == made.evaluate(x[:5], x[:5], verbose=0)


class Asked(Numbered):
    """Notes which batches were asked for."""

    def __getitem__(self, index):
        self.__dict__.setdefault("asked", []).append(index)
        return super().__getitem__(index)


def test_batches_of_a_dataset_are_shuffled_from_the_seed():
    orders = []
    for _ in range(2):
        fastseq.set_seed(3)
        dataset = Asked(8)
        linear().fit(dataset, epochs=2, verbose=0)
        orders.append(dataset.asked[-16:])
    assert orders[0] == orders[1]
    assert sorted(orders[0][:8]) == sorted(orders[0][8:]) == list(range(8))
    assert orders[0][:8] != orders[0][8:]


def test_a_dataset_without_an_end():
    class Endless(PyDataset):
        num_batches = None

        def __getitem__(self, k):
            seen.append(k)
            return np.ones((2, 1)), np.ones((2, 1))

    seen = []
    made = linear()
    made.fit(Endless(), steps_per_epoch=3, epochs=2, verbose=0)
    assert seen[-6:] == [0, 1, 2, 3, 4, 5]
    with pytest.raises(ValueError) as error:
        made.fit(Endless(), verbose=0)
    assert str(error.value) == "fit: steps_per_epoch must be given for a dataset without an end, got None"
    with pytest.raises(ValueError) as error:
        made.evaluate(Endless(), verbose=0)
    assert str(error.value) == "evaluate: steps must be given for a dataset without an end, got None"


def test_a_subclass_need_not_call_the_constructor_above():
    class Bare(PyDataset):
        def __init__(self):
            self.x = np.ones((4, 1))

        def __len__(self):
            return 2

        def __getitem__(self, k):
            return self.x, self.x

    made = linear()
    assert len(made.fit(Bare(), verbose=0).history["loss"]) == 1


def test_a_dataset_of_keras():
    class Theirs(keras.utils.PyDataset):
        def __len__(self):
            return 2

        def __getitem__(self, k):
            return X[k * 25 : k * 25 + 25], Y[k * 25 : k * 25 + 25]

    a, b = twin_models()
    a.fit(Theirs(), shuffle=False, verbose=0)
    b.fit(X, Y, batch_size=25, shuffle=False, verbose=0)
    same_weights(a, b)


def test_an_unbuilt_model_is_built_by_the_first_batch():
    made = fastseq.Sequential([layers.Dense(1)])
    made.compile("sgd", "mse", metrics=["mae"])
    made.fit(Turning(), verbose=0)
    assert made.input_shape == (None, 1)
    other = fastseq.Sequential([layers.Dense(1)])
    assert other.predict((x for x, _ in Numbered()), verbose=0).shape == (20, 1)


def test_a_generator_that_ends_early():
    made = linear()
    with pytest.warns(UserWarning, match="fit: x must give") as caught:
        history = made.fit(generated(2, np.ones((6, 1)), np.ones((6, 1))), epochs=3, verbose=0)
    assert [str(w.message) for w in caught] == [
        "fit: x must give batches for every epoch, got none after 1 epoch"
    ]
    assert history.epoch == [0]
    with pytest.warns(UserWarning, match="fit: x must give") as caught:
        history = made.fit(
            generated(2, np.ones((6, 1)), np.ones((6, 1))), steps_per_epoch=2, epochs=3, verbose=0
        )
    assert [str(w.message) for w in caught] == [
        "fit: x must give 2 batches for every epoch, got 1 in its last epoch",
        "fit: x must give batches for every epoch, got none after 2 epochs",
    ]
    assert history.epoch == [0, 1]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made.fit(generated(2, np.ones((6, 1)), np.ones((6, 1))), verbose=0)


def test_the_bar_of_a_generator(capsys):
    made = linear()
    made.fit(generated(2, np.ones((6, 1)), np.ones((6, 1))))
    assert capsys.readouterr().out.startswith("3/3 ")
    made.fit(generated(2, np.ones((6, 1)), np.ones((6, 1))), verbose=2)
    assert capsys.readouterr().out.startswith("3/3 - 0s - ")
    from fastseq.progress import Progress

    bar = Progress(1, None)
    assert bar._bar(4) == "4/Unknown"


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda m: m.fit(Numbered(), np.ones(3)), "fit: y must be None where x is a Numbered, "
         "got float64 array of shape (3,)"),
        (lambda m: m.fit(iter([]), sample_weight=np.ones(3)),
         "fit: sample_weight must be None where x is a list_iterator, got float64 array of shape (3,)"),
        (lambda m: m.fit(Numbered(), validation_split=0.5),
         "fit: validation_split must be None where x is a Numbered, got 0.5"),
        (lambda m: m.fit(iter([]), verbose=0), "fit: x must give at least 1 batch, got none"),
        (lambda m: m.fit(Numbered(0), verbose=0), "fit: x must have at least 1 batch, got 0"),
        (lambda m: m.fit((x for x in [np.ones((2, 1))]), verbose=0),
         "fit: x must give (x, y) or (x, y, sample_weight), got batches without y"),
        (lambda m: m.evaluate(iter([(np.ones((2, 1)), None, None, None)]), verbose=0),
         "PyDataset: batch must be (x,), (x, y) or (x, y, sample_weight), got 4 entries"),
        (lambda m: m.fit(iter([(np.ones((2, 3)), np.ones((2, 1)))]), verbose=0),
         "fit: x must have shape (None, 1), got (2, 3)"),
        (lambda m: m.fit(iter([(np.ones((2, 1)), np.ones((3, 1)))]), verbose=0),
         "fit: data must have the same number of rows, got x with 2, y with 3"),
        (lambda m: m.fit(Numbered(), steps_per_epoch=0), "fit: steps_per_epoch must be at least 1, got 0"),
        (lambda m: m.fit(Numbered(workers=-1)), "fit: workers must be at least 0, got -1"),
        (lambda m: m.fit(Numbered(max_queue_size=0)), "fit: max_queue_size must be at least 1, got 0"),
        (lambda m: m.fit(Numbered(), validation_data=np.ones(3)), "fit: validation_data must be (x, y), "
         "(x, y, sample_weight), a dataset or a generator, got float64 array of shape (3,)"),
    ],
)  # fmt: skip
def test_errors(call, text):
    made = linear()
    with pytest.raises(ValueError) as error:
        call(made)
    assert str(error.value) == text
    made.fit(Numbered(), verbose=0)  # as good as before


@pytest.mark.filterwarnings("ignore:Your input ran out of data")  # Keras's, also where nothing is missing
def test_losses_of_a_generator_are_keras_s():
    ours, theirs = twins(lambda k: k.Sequential([k.Input((1,)), k.layers.Dense(1)]))
    losses = []
    for made in (ours, theirs):
        made.compile("sgd", "mse")
        history = made.fit(((x / 12, y / 12) for x, y in Numbered(3)), shuffle=False, verbose=0)
        losses.append(history.history["loss"])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)
