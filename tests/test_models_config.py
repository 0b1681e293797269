"""Architectures as plain values and JSON: every kind of graph comes back as it was, of known classes."""

import json

import numpy as np
import pytest

import fastseq
from fastseq import layers, models, ops
from fastseq.utils import (
    custom_object_scope,
    get_registered_name,
    get_registered_object,
    register_keras_serializable,
)

rng = np.random.default_rng(0)
X = rng.normal(size=(6, 4, 3)).astype(np.float32)
IDS = rng.integers(0, 5, (6, 4))


def sequential():
    return fastseq.Sequential(
        [
            layers.Input((4, 3), name="frames"),
            layers.Bidirectional(layers.GRU(3, return_sequences=True, reset_after=False), merge_mode="sum"),
            layers.TimeDistributed(layers.Dense(5, kernel_initializer=fastseq.initializers.HeNormal(seed=3))),
            layers.LayerNormalization(),
            layers.Lambda(lambda x: ops.maximum(x[:, 1:], 0.0) * np.float32([1, 2, 3, 4, 5])),
            layers.Reshape((-1,)),
            layers.Dropout(0.3),
            layers.Dense(2, activation="softmax", trainable=False),
        ],
        name="chain",
    ), X


def with_ids():
    return fastseq.Sequential(
        [layers.Embedding(5, 3, mask_zero=True, input_length=4), layers.LSTM(2, zero_output_for_mask=True)]
    ), IDS


def nested():
    inner = fastseq.Sequential([layers.Dense(4, activation="relu", input_shape=(3,)), layers.Dense(2)])
    i = layers.Input((2,), name="i")
    middle = fastseq.Model(i, [layers.Dense(3)(i), i * 2.0], name="middle")
    x = layers.Input((3,), name="x")
    a, b = middle(inner(x))
    return fastseq.Model(x, layers.concatenate([a, b, middle(inner(x + 1.0))[0]])), X[:, 0]


def shared():
    """A layer called three times, at other depths; states handed on; operations between layers."""
    a, b = layers.Input((4, 3), name="a"), layers.Input((4,), dtype="int32", name="b")
    lstm = layers.LSTM(3, return_sequences=True)
    h = lstm(a)
    again = lstm(lstm(h))
    words = layers.LSTM(3, return_sequences=True)(layers.Embedding(5, 3, mask_zero=True)(b))
    out, state, cell = layers.LSTM(3, return_state=True)(
        layers.add([again, words]), initial_state=[h[:, -1], ops.activation(h[:, 0], "tanh") * 2.0]
    )
    return fastseq.Model(
        {"b": b, "a": a}, {"out": layers.Dense(2)(out - cell), "state": state, "raw": h[:, 0] / 3.0}
    ), {"a": X, "b": IDS}


def attending():
    q, v = layers.Input((4, 3)), layers.Input((None, 3))
    outputs = layers.Attention(use_scale=True)([q, v], return_attention_scores=True, use_causal_mask=True)
    return fastseq.Model([q, v], outputs), [X, X[:, ::-1].copy()]


def through():
    """An input nobody reads, an output that is an input."""
    a, b = layers.Input((3,), name="a"), layers.Input((2,), name="b")
    return fastseq.Model([a, b], [layers.Dense(1)(a), layers.Activation("tanh")(a)]), [X[:, 0], X[:, 0, :2]]


KINDS = pytest.mark.parametrize(
    "build", [sequential, with_ids, nested, shared, attending, through], ids=lambda f: f.__name__
)


def same(a, b):
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        a, b = list(a.values()), list(b.values())
    for p, q in zip(a if isinstance(a, list) else [a], b if isinstance(b, list) else [b], strict=True):
        np.testing.assert_array_equal(p, q)


@KINDS
@pytest.mark.parametrize("way", ["json", "config"])
def test_there_and_back(build, way):
    made, x = build()
    expected = made.predict(x, verbose=0)
    if way == "json":
        other = models.model_from_json(made.to_json())
    else:
        other = type(made).from_config(made.get_config())
    assert type(other) is type(made)
    assert other.name == made.name
    assert [layer.name for layer in other.layers] == [layer.name for layer in made.layers]
    assert [layer.trainable for layer in other.layers] == [layer.trainable for layer in made.layers]
    assert (other.input_shape, other.output_shape) == (made.input_shape, made.output_shape)
    assert other.input_names == made.input_names
    assert [v.name for v in other.weights] == [v.name for v in made.weights]
    if made.weights:
        other.set_weights(made.get_weights())
    same(other.predict(x, verbose=0), expected)
    assert other.to_json() == made.to_json()
    assert other.summary(print_fn=str) == made.summary(print_fn=str)


def test_the_new_model_has_weights_of_its_own():
    made, x = nested()
    other = models.model_from_config(json.loads(made.to_json()))
    assert not set(other.weights) & set(made.weights)
    before = made.predict(x, verbose=0)
    for weight in other.weights:
        weight.assign(np.zeros(weight.shape))
    same(made.predict(x, verbose=0), before)


def test_a_subclass_without_a_config_of_its_own_is_a_model():
    class Small(fastseq.Model):
        def __init__(self):
            x = layers.Input((3,))
            super().__init__(x, layers.Dense(1)(x), name="small")

    made = Small()
    other = models.model_from_json(made.to_json())
    assert type(other) is fastseq.Model
    other.set_weights(made.get_weights())
    same(other.predict(X[:, 0], verbose=0), made.predict(X[:, 0], verbose=0))


# --- names ----------------------------------------------------------------------------------------


class Scaled(layers.Layer):
    """A layer of one's own around another one."""

    def __init__(self, factor, inner, **options):
        super().__init__(**options)
        self.factor, self.inner = factor, inner

    def build(self, input_shape):
        self.bias = self.add_weight((input_shape[-1],), "zeros", name="bias")

    def call(self, inputs):
        return self.inner(inputs * self.factor) + ops.sum(self.bias)


def own():
    return fastseq.Sequential([layers.Input((3,)), Scaled(2.0, layers.Dense(4))])


def test_own_layers_by_custom_objects():
    made = own()
    text = made.to_json()
    with pytest.raises(ValueError) as error:
        models.model_from_json(text)
    assert str(error.value).startswith("from_config: class_name must be one of Activation, ")
    assert str(error.value).endswith(", or of custom_objects, got 'Scaled'")
    for other in (
        models.model_from_json(text, custom_objects={"Scaled": Scaled}),
        fastseq.Sequential.from_config(made.get_config()),  # in the same program the class is known
        _scoped(text),
    ):
        other.set_weights(made.get_weights())
        same(other.predict(X[:, 0], verbose=0), made.predict(X[:, 0], verbose=0))


def _scoped(text):
    with custom_object_scope({"Scaled": Scaled}):
        return models.model_from_json(text)


def test_registered_classes():
    @register_keras_serializable("tests")
    class Twice(layers.Layer):
        def call(self, inputs):
            return inputs * 2.0

    assert get_registered_name(Twice) == "tests>Twice"
    assert get_registered_object("tests>Twice") is Twice
    assert get_registered_object("tests>None") is None
    assert get_registered_name(Scaled) == "Scaled"
    made = fastseq.Sequential([layers.Input((3,)), Twice(name="t")])
    assert '"tests>Twice"' in made.to_json()
    same(models.model_from_json(made.to_json()).predict(X[:, 0], verbose=0), 2 * X[:, 0])

    def other():
        pass

    with pytest.raises(ValueError) as error:
        register_keras_serializable("tests", "Twice")(other)
    assert str(error.value) == "register_keras_serializable: name must be new, got 'tests>Twice'"
    with pytest.raises(TypeError) as error:
        register_keras_serializable()(3)
    assert str(error.value) == (
        "register_keras_serializable: decorator must decorate a class or a function, got 3"
    )


def test_a_registered_initializer():
    @register_keras_serializable("tests")
    class Third(fastseq.initializers.Initializer):
        def __init__(self, value=1 / 3):
            self.value = value

        def __call__(self, shape, dtype=np.float32):
            return np.full(shape, self.value, dtype)

    made = fastseq.Sequential([layers.Dense(2, kernel_initializer=Third(0.25), input_shape=(3,))])
    other = models.model_from_json(made.to_json())
    np.testing.assert_array_equal(other.get_weights()[0], np.full((3, 2), 0.25))


# --- errors ---------------------------------------------------------------------------------------


def test_what_has_no_plain_form():
    x = layers.Input((3,))
    h = layers.Dense(2)(x)
    part = fastseq.Model(h, layers.Dense(1)(h), name="part")
    with pytest.raises(ValueError) as error:
        part.get_config()
    assert str(error.value).startswith(
        "part.get_config: inputs must be made by Input to be described, got <Symbol"
    )
    dense = layers.Dense(3)
    inner = fastseq.Model(y := layers.Input((3,)), dense(y))
    both = fastseq.Model(x, inner(dense(x)), name="both")
    with pytest.raises(ValueError) as error:
        both.to_json()
    assert str(error.value) == (
        "both.get_config: weights must belong to one of its layers each to be described, "
        "got some that several share"
    )
    dense = layers.Dense(1, kernel_initializer=lambda shape, dtype: np.ones(shape, dtype), input_shape=(2,))
    odd = fastseq.Sequential([dense], name="odd")
    with pytest.raises(ValueError) as error:
        odd.to_json()
    assert (
        str(error.value)
        == "odd.get_config: config must be made of plain values to be described, got function"
    )
    with pytest.raises(RuntimeError) as error:
        fastseq.Model(name="empty").get_config()
    assert str(error.value) == "get_config: empty must have inputs and outputs, got none"


def test_error_names_the_layers_that_can_be_made():
    with pytest.raises(ValueError) as error:
        models.model_from_json('{"class_name": "Recurrent", "config": {}}')
    known, got = str(error.value).removeprefix("from_config: class_name must be one of ").split(", or of ")
    assert got == "custom_objects, got 'Recurrent'"  # what other layers are made from is none itself
    assert set(known.split(", ")) <= set(layers.__all__) | set(models.__all__)


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("{", "model_from_json: json_string must be JSON, got "),
        ("[]", "model_from_config: config must describe a model, got list"),
        ('{"class_name": "Mod", "config": {}}', "from_config: class_name must be one of Activation"),
        ('{"class_name": ["a"], "config": {}}', "from_config: class_name must be one of Activation"),
    ],
)
def test_errors(text, start):
    with pytest.raises(ValueError) as error:
        models.model_from_json(text)
    assert str(error.value).startswith(start)
