"""Layers of a user's own, written as for Keras; and gradients for a training loop of one's own."""

import numpy as np
import pytest
from keras_twin import check_outputs, check_step, close, keras, twins

import fastseq
from fastseq import layers, ops

rng = np.random.default_rng(0)
X = rng.normal(size=(4, 5, 3)).astype(np.float32)
Y = rng.normal(size=(4, 2)).astype(np.float32)


def in_both(write):
    """The class that ``write(base, ops)`` defines, for us and for Keras."""
    made = {False: write(keras.layers, keras.ops), True: write(layers, ops)}
    return lambda library: made[library.ours]


def write_linear(base, o):
    class Linear(base.Layer):
        def __init__(self, units=32, **kwargs):
            super().__init__(**kwargs)
            self.units = units

        def build(self, input_shape):
            self.w = self.add_weight(
                name="w", shape=(input_shape[-1], self.units), initializer="random_normal", trainable=True
            )
            self.b = self.add_weight(shape=(self.units,), initializer="zeros", trainable=True, name="b")
            self.scale = self.add_weight((1,), "ones", "float32", name="scale")
            self.fixed = self.add_weight(
                shape=(self.units,), initializer="ones", trainable=False, name="fixed"
            )
            super().build(input_shape)

        def call(self, inputs):
            return (o.matmul(inputs, self.w) + self.b) * o.exp(self.scale) * self.fixed

        def get_config(self):
            config = super().get_config()
            config.update({"units": self.units})
            return config

    return Linear


def write_highway(base, o):
    class Highway(base.Layer):
        """Made of layers, in attributes and in lists."""

        def __init__(self, **kwargs):
            super(Highway, self).__init__(**kwargs)  # noqa: UP008  (as many write it)
            self.gates = [base.Dense(3, activation="sigmoid") for _ in range(2)]
            self.change = base.Dense(3, activation="tanh")

        def call(self, x, training=None):
            for gate in self.gates:
                g = gate(x)
                x = g * self.change(x) + (1 - g) * x
            return x

    return Highway


def write_pool(base, o):
    class MaskedMean(base.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.supports_masking = True

        def call(self, inputs, mask=None):
            weights = o.cast(mask, "float32")[..., None]
            return o.sum(inputs * weights, axis=1) / o.sum(weights, axis=1)

        def compute_mask(self, inputs, mask=None):
            return None

    return MaskedMean


@pytest.mark.parametrize("write", [write_linear, write_highway, write_pool])
def test_steps_as_in_keras(write):
    cls = in_both(write)
    x = X.copy()
    x[0, 3:] = x[2, 1:4] = 0

    def build(library):
        symbol = library.Input((5, 3))
        h = library.layers.Masking()(symbol) if write is write_pool else symbol
        options = {"units": 3} if write is write_linear else {}
        h = cls(library)(**options)(h)
        h = h if write is write_pool else library.layers.Flatten()(h)
        return library.Model(symbol, library.layers.Dense(2)(h))

    ours, theirs = twins(build)
    check_outputs(ours, theirs, x)
    check_step(ours, theirs, x, Y, "mse")
    assert len(ours.trainable_weights) == len(theirs.trainable_weights)
    assert ours.count_params() == theirs.count_params()


def test_configuration_weights_and_arrays():
    cls = write_linear(layers, ops)
    layer = cls(4, name="mine")
    out = layer(X)
    assert [v.name for v in layer.weights] == ["mine/w", "mine/b", "mine/scale", "mine/fixed"]
    assert [v.name for v in layer.trainable_weights] == ["mine/w", "mine/b", "mine/scale"]
    np.testing.assert_allclose(out, (X @ layer.w.numpy()) * np.e, rtol=1e-5, atol=1e-6)
    copy = cls.from_config(layer.get_config())
    assert (copy.units, copy.name) == (4, "mine")
    model = fastseq.Sequential([cls(4), cls(2)])
    assert model.predict(X, verbose=0).shape == (4, 5, 2)


def test_weights_of_weights_have_gradients():
    """softplus of a weight by itself, and a product of two weights: computed without any input."""

    class Mixed(layers.Layer):
        def build(self, input_shape):
            self.a = self.add_weight((input_shape[-1], 2), "ones", "float64", name="a")
            self.b = self.add_weight((2, 2), "ones", "float64", name="b")

        def call(self, inputs):
            return inputs @ (ops.log(1 + ops.exp(self.a)) @ (2.0 * self.b))

    symbol = layers.Input((3,), dtype="float64")
    model = fastseq.Model(symbol, Mixed(dtype="float64")(symbol))
    a, b = rng.normal(size=(3, 2)), rng.normal(size=(2, 2))
    model.set_weights([a, b])
    model.compile("sgd", "mse")
    x, y = X[:, 0].astype(np.float64), Y.astype(np.float64)

    def loss(a, b):
        return ((y - x @ (np.log1p(np.exp(a)) @ (2 * b))) ** 2).mean()

    da, db = model.gradients(x, y)
    for k, gradient in enumerate((da, db)):
        direction = rng.normal(size=gradient.shape)
        moved = [[a + s * direction, b] if k == 0 else [a, b + s * direction] for s in (1e-6, -1e-6)]
        slope = (loss(*moved[0]) - loss(*moved[1])) / 2e-6
        np.testing.assert_allclose((gradient * direction).sum(), slope, rtol=1e-7)


@pytest.mark.parametrize(
    ("arguments", "options", "error", "text"),
    [
        (((None, 3),), {}, ValueError, "Layer.add_weight: shape must be known, got (None, 3)"),
        (((2,),), {"dtype": "int32"}, ValueError, "Layer: dtype must be float32 or float64, got 'int32'"),
        (((2,),), {"regularizer": 3}, TypeError,
         "Layer: regularizer must be the name of a regularizer or one, got 3"),
        (("w",), {}, ValueError,
         "Layer.add_weight: shape must be integers of at least 0, or None, got 'w'"),
    ],
)  # fmt: skip
def test_errors_of_add_weight(arguments, options, error, text):
    with pytest.raises(error) as caught:
        layers.Layer().add_weight(*arguments, **options)
    assert str(caught.value) == text


# --- model.gradients ------------------------------------------------------------------------------


def test_gradients_as_in_keras():
    tensorflow = pytest.importorskip("tensorflow")

    def build(library):
        x = library.Input((5, 3))
        h = library.layers.Dense(3, trainable=False)(x)
        return library.Model(x, library.layers.Dense(2)(library.layers.LSTM(4)(h)))

    ours, theirs = twins(build)
    ours.compile("adam", "mse", metrics=["mae"])
    before, weights = ours.get_weights(), np.array([1, 0, 2, 3], np.float32)
    with tensorflow.GradientTape() as tape:
        loss = keras.losses.MeanSquaredError()(Y, theirs(X), sample_weight=weights)
    expected = tape.gradient(loss, theirs.trainable_weights)
    for _ in range(2):  # nothing is left behind
        got = ours.gradients(X, Y, sample_weight=weights)
        close(got, [np.asarray(g) for g in expected])
    assert [g.shape for g in got] == [v.shape for v in ours.trainable_weights]
    close(ours.get_weights(), before, 0)
    got[0][...] = 0  # the caller's own
    close(ours.gradients(X, Y, weights), [np.asarray(g) for g in expected])


def test_a_loop_of_ones_own_is_training():
    def made():
        fastseq.set_seed(3)
        model = fastseq.Sequential([layers.LSTM(4, input_shape=(5, 3)), layers.Dropout(0.3), layers.Dense(2)])
        model.compile(fastseq.optimizers.SGD(0.5), "mse")
        return model

    by_hand, by_itself = made(), made()
    for _ in range(3):
        for variable, gradient in zip(by_hand.trainable_weights, by_hand.gradients(X, Y), strict=True):
            variable.assign(variable - 0.5 * gradient)
        by_itself.train_on_batch(X, Y)
    for a, b in zip(by_hand.get_weights(), by_itself.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)


def test_gradients_of_what_the_loss_does_not_reach_are_0():
    x = layers.Input((3,))
    outputs = [layers.Dense(2, name="a")(x), layers.Dense(2, name="b")(x)]
    model = fastseq.Model(x, outputs)
    model.compile("sgd", {"a": "mse"})
    _, _, kernel, bias = model.gradients(X[:, 0], [Y, Y])
    assert not kernel.any()
    assert not bias.any()


def test_gradients_need_a_loss():
    model = fastseq.Sequential([layers.Dense(2, input_shape=(3,))], name="m")
    with pytest.raises(RuntimeError) as caught:
        model.gradients(X[:, 0], Y)
    assert str(caught.value) == "gradients: m must be compiled first, got one that is not"
    model.compile("sgd")
    with pytest.raises(RuntimeError) as caught:
        model.gradients(X[:, 0], Y)
    assert str(caught.value) == "gradients: m must be compiled with a loss, got none"


# --- forward and backward written by hand ---------------------------------------------------------


class ByHand(layers.Layer):
    """x w + b of two inputs' sum, whose backward is written out."""

    def __init__(self, units, **options):
        super().__init__(**options)
        self.units = units

    def build(self, input_shape):
        self.w = self.add_weight((input_shape[0][-1], self.units), name="w")
        self.fixed = self.add_weight((self.units,), "ones", trainable=False, name="fixed")
        self.b = self.add_weight((self.units,), "zeros", name="b")

    def compute_output_shape(self, input_shape):
        return (*input_shape[0][:-1], self.units)

    def forward(self, x, y):
        return (x + y) @ self.w.value * self.fixed.value + self.b.value, x + y

    def backward(self, saved, d):
        d, rows = d * self.fixed.value, d
        flat, dflat = saved.reshape(-1, saved.shape[-1]), d.reshape(-1, self.units)
        dx = d @ self.w.value.T
        return dx, dx, flat.T @ dflat, rows.reshape(-1, self.units).sum(axis=0)


class Traced(ByHand):
    """The same, left to the graph."""

    def call(self, inputs):
        return (inputs[0] + inputs[1]) @ self.w * self.fixed + self.b


def test_by_hand_is_as_traced():
    models = []
    for cls in (ByHand, Traced):
        a, b = layers.Input((5, 3)), layers.Input((5, 3))
        hidden = layers.LSTM(3, return_sequences=True)(a)
        out = layers.Dense(2)(layers.Flatten()(cls(4)([hidden, b])))
        models.append(fastseq.Model([a, b], out))
    one, other = models
    other.set_weights(one.get_weights())
    x = [X, X[::-1].copy()]
    close(one.predict(x, verbose=0), other.predict(x, verbose=0))
    for model in models:
        model.compile("sgd", "mse")
    close(one.gradients(x, Y), other.gradients(x, Y))
    assert one.layers[3].fixed not in one.trainable_weights
    for _ in range(3):
        close(one.train_on_batch(x, Y), other.train_on_batch(x, Y))
    close(one.get_weights(), other.get_weights())
    np.testing.assert_allclose(one.layers[3](x), other.layers[3](x), rtol=1e-5, atol=1e-6)


def test_by_hand_with_several_outputs_of_which_one_is_used():
    class Halves(layers.Layer):
        def compute_output_shape(self, input_shape):
            return [(*input_shape[:-1], 2), (*input_shape[:-1], 1)]

        def forward(self, x):
            return (x[..., :2], x[..., 2:] ** 2), x

        def backward(self, x, first, second):
            return np.concatenate([first, 2 * x[..., 2:] * second], axis=-1)

    symbol = layers.Input((5, 3))
    _, square = Halves()(layers.Dense(3)(symbol))
    model = fastseq.Model(symbol, layers.Flatten()(square))
    model.compile("sgd", "mse")
    kernel = model.get_weights()[0]
    targets = np.zeros((4, 5), np.float32)
    z = X @ kernel
    got = model.gradients(X, targets)[0]
    dz = np.zeros_like(z)
    dz[..., 2] = 4 * z[..., 2] ** 3 / 20
    np.testing.assert_allclose(got, X.reshape(-1, 3).T @ dz.reshape(-1, 3), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("forward", "backward", "text"),
    [
        (lambda x: x, None, "h: forward must return (outputs, saved), got float32 array of shape (4, 3)"),
        (lambda x: (x[:, :2], None), None,
         "h: forward must give outputs of shape (None, 3), got (4, 2)"),
        (lambda x: (x, None), lambda saved, d: d[:, :1],
         "h: backward must give gradients of shape (4, 3), got (4, 1)"),
        (lambda x: (x, None), lambda saved, d: (d, d),
         "h: backward must give gradients of shape (4, 3), got (4, 3) and (4, 3)"),
    ],
)  # fmt: skip
def test_errors_of_by_hand(forward, backward, text):
    class Wrong(layers.Layer):
        pass

    Wrong.forward = lambda self, x: forward(x)
    Wrong.backward = lambda self, saved, d: backward(saved, d)
    symbol = layers.Input((3,))
    model = fastseq.Model(symbol, layers.Dense(2)(Wrong(name="h")(layers.Dense(3)(symbol))))
    model.compile("sgd", "mse")
    with pytest.raises((TypeError, ValueError)) as caught:
        model.train_on_batch(X[:, 0], Y)
    assert str(caught.value) == text


def test_a_layer_without_call_says_what_it_needs():
    class Nothing(layers.Layer):
        pass

    with pytest.raises(NotImplementedError) as caught:
        Nothing()(layers.Input((3,)))
    assert str(caught.value) == "Nothing must define call, or forward and backward"
