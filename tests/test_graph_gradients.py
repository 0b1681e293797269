"""Gradients of joined graphs: against Keras, and by differences."""

import numpy as np
import pytest
from keras_twin import check_step, twins
from small_models import rows

import fastseq
from fastseq import layers, ops


def test_a_layer_used_twice_adds_its_gradients():
    def build(k):
        a, b = k.Input((4,)), k.Input((4,))
        dense = k.layers.Dense(3, activation="tanh")
        return k.Model([a, b], k.layers.Subtract()([dense(a), dense(dense_in(k, b))]))

    def dense_in(k, b):
        return k.layers.Dense(4)(b)

    ours, theirs = twins(build)
    check_step(ours, theirs, [rows(5, 4), rows(5, 4, seed=1)], rows(5, 3, seed=2), "mse")


def test_a_value_used_many_times():
    """Sums share gradients, so what is added in place must not be what another branch holds."""

    def build(k):
        x = k.Input((4,))
        h = k.layers.Dense(4)(x)
        a = k.layers.Dense(4, activation="tanh")(h)
        b = k.layers.Add()([h, a])
        c = k.layers.Multiply()([b, h])
        d = k.layers.Average()([b, c, a])
        e = k.layers.Maximum()([d, h])
        return k.Model(x, k.layers.Concatenate()([e, h, b]))

    ours, theirs = twins(build)
    check_step(ours, theirs, rows(5, 4), rows(5, 12, seed=2), "mse")


def test_a_gradient_that_two_hold_is_not_written_into():
    """Add hands one gradient to both its inputs; what else reaches one of them must not reach the other."""

    def build(k):
        x = k.Input((4,))
        h = k.layers.Dense(4)(x)
        a = k.layers.Dense(4, activation="tanh")(h)
        ends = [k.layers.Dense(2)(a), k.layers.Dense(2)(h), k.layers.Add()([h, a])]
        return k.Model(x, k.layers.Concatenate()(ends))

    ours, theirs = twins(build)
    check_step(ours, theirs, rows(5, 4), rows(5, 8, seed=2), "mse")


def test_a_mask_that_only_the_loss_reads():
    def build(k):
        ids = k.Input((5,))
        masked = k.layers.Embedding(6, 3, mask_zero=True)(ids)
        plain = k.layers.Embedding(6, 2, name="plain")(ids)
        return k.Model(ids, [k.layers.TimeDistributed(k.layers.Dense(2), name="masked")(masked), plain])

    ours, theirs = twins(build)
    ids = np.array([[1, 2, 0, 3, 0], [5, 4, 3, 2, 1], [1, 0, 0, 0, 2]])
    targets = [rows(3, 5, 2), rows(3, 5, 2, seed=1)]
    check_step(ours, theirs, ids, targets, ["mse", "mse"], [["mae"], ["mae"]])


def test_models_within_models():
    def build(k):
        x = k.Input((5, 4))
        inner = k.Model(x, k.layers.Dense(3)(k.layers.LSTM(3)(x)))
        a, b = k.Input((5, 4)), k.Input((5, 4))
        return k.Model([a, b], k.layers.Add()([inner(a), inner(b)]))

    ours, theirs = twins(build)
    check_step(ours, theirs, [rows(3, 5, 4), rows(3, 5, 4, seed=1)], rows(3, 3, seed=2), "mse")


def test_several_losses_with_weights():
    def build(k):
        x = k.Input((4,))
        h = k.layers.Dense(6, activation="relu")(x)
        a = k.layers.Dense(3, activation="softmax", name="a")(h)
        return k.Model(x, [a, k.layers.Dense(1, name="b")(h)])

    ours, theirs = twins(build)
    y = [np.eye(3, dtype=np.float32)[[0, 1, 2, 1]], rows(4, 1)]
    for model, k in ((ours, fastseq.optimizers.SGD(1.0)), (theirs, None)):
        if k is None:
            import keras

            k = keras.optimizers.SGD(1.0)
            options = {"run_eagerly": True}
        else:
            options = {}
        model.compile(k, ["categorical_crossentropy", "mse"], loss_weights=[0.5, 2.0],
                      metrics=[["accuracy"], ["mae"]], **options)  # fmt: skip
    a = ours.train_on_batch(rows(4, 4), y, return_dict=True)
    b = theirs.train_on_batch(rows(4, 4), y, return_dict=True)
    assert set(a) == set(b)
    for key in a:
        assert a[key] == pytest.approx(float(b[key]), rel=1e-5), key
    for p, q in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(p, q, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize(
    "losses",
    [
        ["mse", "mae"],
        ["mse", "categorical_crossentropy"],  # this one takes the softmax in
        ["categorical_crossentropy", "mse"],
    ],
)
def test_one_output_with_two_losses(losses):
    x = layers.Input((4,))
    y = layers.Dense(3, activation="softmax")(x)
    target = np.eye(3, dtype=np.float32)[[0, 1, 2, 1]]
    start = fastseq.Model(x, y).get_weights()

    def change(outputs, loss):
        model = fastseq.Model(x, outputs)
        model.set_weights(start)
        model.compile(fastseq.optimizers.SGD(1.0), loss)
        model.train_on_batch(rows(4, 4), [target] * len(outputs))
        return [new - old for new, old in zip(model.get_weights(), start, strict=True)]

    alone = [change([y], [loss]) for loss in losses]
    for both, a, b in zip(change([y, y], losses), *alone, strict=True):
        np.testing.assert_allclose(both, a + b, rtol=1e-5, atol=1e-6)


class Scale(layers.Layer):
    """A layer of a user's own, of operations that know nothing of where gradients belong."""

    def build(self, input_shape):
        self.factor = self.add_weight((input_shape[-1],), "ones", name="factor")
        self.shift = self.add_weight((1,), "zeros", name="shift")

    def call(self, inputs):
        return ops.add(ops.multiply(inputs, self.factor), self.shift)


class Tied(layers.Layer):
    """One weight in a matrix product, which adds its gradient in place, and by itself, which does not."""

    def build(self, input_shape):
        self.kernel = self.add_weight((input_shape[-1], input_shape[-1]), "zeros", name="kernel")

    def call(self, inputs):
        return ops.multiply(ops.dense(inputs, self.kernel), self.kernel)


def test_a_weight_in_two_kinds_of_operations_adds_its_gradients():
    x, kernel, target = rows(3, 3), rows(3, 3, seed=1), rows(3, 3, seed=2)
    symbol = layers.Input((3,), batch_size=3)
    model = fastseq.Model(symbol, Tied()(symbol))
    model.compile(fastseq.optimizers.SGD(1.0), "mse")
    model.set_weights([kernel])
    model.train_on_batch(x, target)
    error = 2 / 9 * ((x @ kernel) * kernel - target)
    gradient = x.T @ (error * kernel) + error * (x @ kernel)
    np.testing.assert_allclose(kernel - model.get_weights()[0], gradient, rtol=1e-5, atol=1e-6)


def everything():
    """A graph with every recurrent layer and most others, in float64."""
    double = {"dtype": "float64"}
    ids, x = layers.Input((5,)), layers.Input((5, 3), dtype="float64")
    a = layers.Embedding(6, 3, mask_zero=True, **double)(ids)
    a = layers.Bidirectional(layers.LSTM(3, return_sequences=True, **double), **double)(a)
    b = layers.TimeDistributed(layers.Dense(6, activation="gelu", **double), **double)(x)
    c = layers.add([layers.GRU(6, return_sequences=True, **double)(b), a, b])
    c = layers.GRU(4, reset_after=False, go_backwards=True, return_sequences=True, **double)(c)
    out, h, state = layers.LSTM(4, return_state=True, activation="softsign", **double)(c)
    d = layers.SimpleRNN(4, return_sequences=True, **double)(layers.RepeatVector(3)(out), initial_state=h)
    d = Scale(**double)(layers.multiply([d, d[:, ::-1]]))
    e = layers.Dense(2, activation="sigmoid", **double)(layers.Flatten()(d))
    f = layers.Dense(3, activation="softmax", **double)(layers.concatenate([state, out]))
    return fastseq.Model([ids, x], [e, f])


def test_gradients_of_a_whole_graph_by_differences():
    """Along a random direction in the space of all weights, with masks, weights and two losses."""
    rng = np.random.default_rng(3)
    model = everything()
    model.compile(fastseq.optimizers.SGD(1.0), ["binary_crossentropy", "categorical_crossentropy"],
                  loss_weights=[0.7, 1.3])  # fmt: skip
    ids = np.array([[1, 2, 0, 3, 0], [5, 4, 3, 2, 1], [0, 0, 0, 0, 0], [1, 0, 0, 0, 2]])
    x = [ids, rng.normal(size=(4, 5, 3))]
    y = [rng.integers(0, 2, (4, 2)).astype(float), np.eye(3)[[0, 1, 2, 1]]]
    weights = [rng.normal(0, 0.5, w.shape) for w in model.get_weights()]
    direction = [rng.normal(size=w.shape) for w in weights]
    losses = []
    for step in (-1e-5, 1e-5):
        model.set_weights([w + step * d for w, d in zip(weights, direction, strict=True)])
        losses.append(model.test_on_batch(x, y)[0])
    model.set_weights(weights)
    model.train_on_batch(x, y)
    gradients = [w - new for w, new in zip(weights, model.get_weights(), strict=True)]
    expected = (losses[1] - losses[0]) / 2e-5
    assert sum((g * d).sum() for g, d in zip(gradients, direction, strict=True)) == pytest.approx(
        expected, rel=1e-7
    )
    assert all(np.abs(g).sum() > 0 for g in gradients)
