"""Model and Sequential: building, shapes, names, order of layers, summary, states, errors."""

import numpy as np
import pytest
from keras_twin import OURS, THEIRS, close
from small_models import rows

import fastseq
from fastseq import layers
from fastseq.layers.base import reset_names


def seed_model(rnn=layers.LSTM, digits=3, hidden=128, depth=1):
    """The addition program's model, written as the program writes it."""
    model = fastseq.Sequential()
    model.add(rnn(hidden, input_shape=(2 * digits + 1, 12)))
    model.add(layers.RepeatVector(digits + 1))
    for _ in range(depth):
        model.add(rnn(hidden, return_sequences=True))
    model.add(layers.TimeDistributed(layers.Dense(12)))
    model.add(layers.Activation("softmax"))
    return model


SUMMARY = """\
Model: "sequential"
┏━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━┳━━━━━━━━━━━━━━━━┳━━━━━━━━━┓
┃ Layer (type)                       ┃ Output Shape   ┃ Param # ┃
┡━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━╇━━━━━━━━━━━━━━━━╇━━━━━━━━━┩
│ lstm (LSTM)                        │ (None, 128)    │  72,192 │
├────────────────────────────────────┼────────────────┼─────────┤
│ repeat_vector (RepeatVector)       │ (None, 4, 128) │       0 │
├────────────────────────────────────┼────────────────┼─────────┤
│ lstm_1 (LSTM)                      │ (None, 4, 128) │ 131,584 │
├────────────────────────────────────┼────────────────┼─────────┤
│ time_distributed (TimeDistributed) │ (None, 4, 12)  │   1,548 │
├────────────────────────────────────┼────────────────┼─────────┤
│ activation (Activation)            │ (None, 4, 12)  │       0 │
└────────────────────────────────────┴────────────────┴─────────┘
 Total params: 205,324 (802.05 KB)
 Trainable params: 205,324 (802.05 KB)
 Non-trainable params: 0 (0.00 B)"""


def test_summary_of_the_addition_model(capsys):
    reset_names()
    model = seed_model()
    model.summary()
    assert capsys.readouterr().out == SUMMARY + "\n"
    lines = []
    model.summary(print_fn=lines.append)
    assert lines == [SUMMARY]


@pytest.mark.parametrize(
    ("rnn", "digits", "depth", "count"),
    [
        (layers.LSTM, 3, 1, 205324),
        (layers.GRU, 3, 1, 155148),  # 54,528 + 99,072 + 1,548: reset_after=True has two biases
        (layers.SimpleRNN, 3, 1, 52492),
        (layers.LSTM, 3, 2, 336908),
    ],
)
def test_parameters_of_the_addition_model(rnn, digits, depth, count):
    assert seed_model(rnn, digits, depth=depth).count_params() == count


def test_summary_of_a_graph():
    reset_names()
    a, b = layers.Input((5, 3), name="a"), layers.Input((5, 3), name="b")
    shared = layers.GRU(4, return_state=True, name="shared")
    joined = layers.add([shared(a)[0], shared(b)[0]])
    inner = fastseq.Sequential([layers.Dense(2, input_shape=(4,), name="inner_dense")], name="inner")
    text = []
    model = fastseq.Model([a, b], inner(joined), name="joined")
    model.get_layer("shared").trainable = False
    model.summary(print_fn=text.append, show_trainable=True, expand_nested=True)
    rows_ = [line.replace("│", "|") for line in text[0].splitlines() if line.startswith("│")]
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows_]
    assert cells == [
        ["a (InputLayer)", "(None, 5, 3)", "0", "-", "-"],
        ["b (InputLayer)", "(None, 5, 3)", "0", "-", "-"],
        ["shared (GRU)", "[(None, 4), (None, 4)]", "108", "a[0][0], b[0][0]", "N"],
        ["add (Add)", "(None, 4)", "0", "shared[0][0], shared[1][0]", "-"],
        ["inner (Sequential)", "(None, 2)", "10", "add[0][0]", "Y"],
        ["└ inner_dense (Dense)", "(None, 2)", "10", "-", "Y"],
    ]
    assert text[0].endswith("Non-trainable params: 108 (432.00 B)")


def seq2seq(k):
    """The training model of Keras's character translation example."""
    first = k.Input((None, 3))
    _, h, c = k.layers.LSTM(4, return_state=True)(first)
    second = k.Input((None, 5))
    outputs, _, _ = k.layers.LSTM(4, return_sequences=True, return_state=True)(second, initial_state=[h, c])
    return k.Model([first, second], k.layers.Dense(5, activation="softmax")(outputs))


def branches(k):
    x, z = k.Input((4,)), k.Input((4,))
    a = k.layers.Dense(4)(x)
    b = k.layers.Dense(4)(k.layers.Dense(4)(z))
    shared = k.layers.Dense(4)
    joined = k.layers.Concatenate()([shared(b), a, shared(a)])
    return k.Model([x, z], [k.layers.Dense(2)(joined), b])


@pytest.mark.parametrize("build", [seq2seq, branches])
def test_layers_are_in_keras_s_order(build):
    """The restore script of the translation example picks layers by number."""

    def kinds(model):
        return [(type(layer).__name__, len(layer.get_weights())) for layer in model.layers]

    ours, theirs = build(OURS), build(THEIRS)
    assert kinds(ours) == kinds(theirs)
    first = {layer: i for i, layer in enumerate(ours.layers)}
    assert [first[s.call.layer] for s in ours.inputs] == [
        theirs.layers.index(t._keras_history.operation) for t in theirs.inputs
    ]


def test_a_model_on_the_layers_of_another():
    """Inference models made of the training model's layers, as the translation example makes them."""
    model = seq2seq(OURS)
    encoder = fastseq.Model(model.input[0], model.layers[2].output[1:])
    decoder = model.layers[3]
    token, h, c = layers.Input((None, 5)), layers.Input((4,)), layers.Input((4,))
    out, h1, c1 = decoder(token, initial_state=[h, c])
    step = fastseq.Model([token, h, c], [model.layers[4](out), h1, c1])
    x, y = rows(2, 6, 3), rows(2, 7, 5)
    whole = model.predict([x, y], verbose=0)
    state = encoder.predict(x, verbose=0)
    for t in range(7):
        token_out, *state = step.predict([y[:, t : t + 1], *state], verbose=0)
        np.testing.assert_allclose(token_out[:, 0], whole[:, t], rtol=1e-4, atol=1e-6)
    assert encoder.weights[0] is model.weights[0]


def test_any_intermediate_can_be_an_output():
    model = seed_model(hidden=8)
    x = rows(2, 7, 12)
    every = fastseq.Model(model.input, [layer.output for layer in model.layers])
    outputs = every.predict(x, verbose=0)
    assert [out.shape for out in outputs] == [(2, 8), (2, 4, 8), (2, 4, 8), (2, 4, 12), (2, 4, 12)]
    np.testing.assert_allclose(outputs[-1], model.predict(x, verbose=0), rtol=1e-6)
    np.testing.assert_array_equal(outputs[1], np.repeat(outputs[0][:, None], 4, 1))
    part = fastseq.Model(model.layers[2].output, model.output)  # from the middle on
    np.testing.assert_allclose(part.predict(outputs[2], verbose=0), outputs[-1], rtol=1e-6)


def test_return_shapes_of_learning_lstms():
    """[out]; [out, h, c]; [(B, T, u), h, c]."""
    x = layers.Input((3, 10))
    assert layers.LSTM(10)(x).shape == (None, 10)
    assert [s.shape for s in layers.LSTM(10, return_state=True)(x)] == [(None, 10)] * 3
    out = layers.LSTM(10, return_state=True, return_sequences=True)(x)
    assert [s.shape for s in out] == [(None, 3, 10), (None, 10), (None, 10)]
    model = fastseq.Model(x, layers.LSTM(10, return_state=True)(x))
    model.compile(loss="categorical_crossentropy", optimizer="adam", metrics=["accuracy"])
    one_hot = np.eye(10)[np.arange(8)]
    history = model.fit(rows(8, 3, 10), [one_hot] * 3, verbose=0)
    assert len([name for name in history.history if name.endswith("accuracy")]) == 3


# --- Sequential -----------------------------------------------------------------------------------


def test_ways_of_saying_the_input():
    shapes = [
        fastseq.Sequential([layers.LSTM(2, input_shape=(4, 3))]),
        fastseq.Sequential([layers.LSTM(2, batch_input_shape=(None, 4, 3))]),
        fastseq.Sequential([layers.LSTM(2, input_dim=3, input_length=4)]),
        fastseq.Sequential([layers.Input((4, 3)), layers.LSTM(2)]),
        fastseq.Sequential([layers.InputLayer(input_shape=(4, 3)), layers.LSTM(2)]),
    ]
    for model in shapes:
        assert model.input_shape == (None, 4, 3)
        assert len(model.layers) == 1
    assert fastseq.Sequential([layers.LSTM(2, input_shape=(None, 3))]).input_shape == (None, None, 3)
    assert fastseq.Sequential([layers.TimeDistributed(layers.Dense(2), input_shape=(4, 3))]).output_shape == (
        None, 4, 2,
    )  # fmt: skip
    assert fastseq.Sequential([layers.Embedding(5, 2, input_length=7)]).output_shape == (None, 7, 2)
    assert fastseq.Sequential([layers.Bidirectional(layers.LSTM(2), input_shape=(4, 3))]).output_shape == (
        None,
        4,
    )


def test_a_sequential_waits_for_its_data():
    model = fastseq.Sequential([layers.LSTM(2), layers.Dense(1)])
    assert not model.built
    model.compile("sgd", "mse")
    model.fit(rows(6, 4, 3), rows(6, 1), verbose=0)
    assert model.input_shape == (None, 4, 3)
    assert model.predict(rows(2, 4, 3), verbose=0).shape == (2, 1)
    other = fastseq.Sequential([layers.Dense(1)])
    other.build((None, 3))
    assert other.count_params() == 4
    assert fastseq.Sequential([layers.Dense(2)])(rows(2, 3)).shape == (2, 2)


def test_add_and_pop():
    model = fastseq.Sequential([layers.Dense(4, input_shape=(3,)), layers.Dense(2)])
    model.compile("sgd", "mse")
    last = model.pop()
    assert model.output_shape == (None, 4)
    model.add(last)
    model.add(layers.Dense(1))
    assert model.output_shape == (None, 1)
    model.fit(rows(4, 3), rows(4, 1), verbose=0)


def test_models_are_layers():
    encoder = fastseq.Sequential([layers.LSTM(3, input_shape=(4, 2))])
    model = fastseq.Sequential([encoder, layers.Dense(1)])
    assert model.input_shape == (None, 4, 2)
    assert len(model.weights) == 5
    before = encoder.get_weights()[0]
    model.compile("sgd", "mse")
    model.fit(rows(4, 4, 2), rows(4, 1), verbose=0)
    assert (encoder.get_weights()[0] != before).any()
    close(model(rows(2, 4, 2)), model.predict(rows(2, 4, 2), verbose=0))


def test_sequential_configuration():
    model = seed_model(hidden=8)
    again = fastseq.Sequential.from_config(model.get_config())
    assert [layer.name for layer in again.layers] == [layer.name for layer in model.layers]
    assert again.get_config() == model.get_config()
    again.set_weights(model.get_weights())
    np.testing.assert_array_equal(
        again.predict(rows(2, 7, 12), verbose=0), model.predict(rows(2, 7, 12), verbose=0)
    )


# --- states ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", [layers.LSTM, layers.GRU, layers.SimpleRNN])
def test_stateful_layers_go_on_where_they_stopped(cell):
    x = rows(2, 8, 3)
    stateful = fastseq.Sequential(
        [cell(4, stateful=True, return_sequences=True, batch_input_shape=(2, None, 3))]
    )
    plain = fastseq.Sequential([cell(4, return_sequences=True, input_shape=(None, 3))])
    plain.set_weights(stateful.get_weights())
    parts = [stateful.predict(x[:, :3], verbose=0), stateful.predict(x[:, 3:], verbose=0)]
    np.testing.assert_allclose(np.concatenate(parts, 1), plain.predict(x, verbose=0), rtol=1e-5, atol=1e-6)
    stateful.reset_states()
    np.testing.assert_array_equal(stateful.predict(x[:, :3], verbose=0), parts[0])
    layer = stateful.layers[0]
    kept = [v.numpy() for v in layer.states]
    layer.reset_states(kept if len(kept) > 1 else kept[0])
    np.testing.assert_array_equal(stateful.predict(x[:, 3:], verbose=0), parts[1])
    stateful.compile("sgd", "mse")
    plain.compile("sgd", "mse")
    stateful.reset_states()
    y = rows(2, 8, 4)
    losses = [stateful.test_on_batch(x[:, part], y[:, part]) for part in (slice(4), slice(4, 8))]
    assert np.mean(losses) == pytest.approx(plain.test_on_batch(x, y), rel=1e-5)
    stateful.reset_states()
    stateful.fit(x, rows(2, 8, 4), batch_size=2, shuffle=False, verbose=0)
    assert any(v.value.any() for v in layer.states)


def test_stateful_errors():
    model = fastseq.Sequential([layers.LSTM(4, stateful=True, batch_input_shape=(2, 5, 3), name="l")])
    model.compile("sgd", "mse")
    layer = model.layers[0]
    for call, error, text in [
        (lambda: model.predict(rows(3, 5, 3), verbose=0), ValueError,
         "predict: x must have a multiple of 2 rows, the model's batch size, got 3"),
        (lambda: model.fit(rows(4, 5, 3), rows(4, 4), batch_size=4, verbose=0), ValueError,
         "fit: batch_size must be the model's, 2, got 4"),
        (lambda: layer.reset_states([np.zeros((2, 4))]), ValueError,
         "l.reset_states: states must be 2 arrays, got 1"),
        (lambda: layer.reset_states([np.zeros((2, 4)), np.zeros((3, 4))]), ValueError,
         "l.reset_states: states must have shape (2, 4), got (3, 4)"),
        (lambda: layers.LSTM(2, name="p").reset_states(), RuntimeError,
         "p.reset_states: the layer must be stateful, got one that is not"),
    ]:  # fmt: skip
        with pytest.raises(error) as caught:
            call()
        assert str(caught.value) == text
    assert model.predict(rows(4, 5, 3), verbose=0).shape == (4, 4)


# --- errors ---------------------------------------------------------------------------------------


def small():
    return fastseq.Sequential([layers.Dense(2, input_shape=(3,), name="d")], name="m")


def test_compile_without_an_optimizer_means_rmsprop():
    model = small()
    model.compile(loss="mse")
    assert isinstance(model.optimizer, fastseq.optimizers.RMSprop)
    assert model.optimizer.learning_rate == 0.001
    model.fit(rows(4, 3), rows(4, 2), verbose=0)


KNOWN_LOSSES = ", ".join(sorted(fastseq.losses.KNOWN))
KNOWN_METRICS = ", ".join(sorted(fastseq.metrics.KNOWN))
NO_RECAL = f"metrics must be one of {KNOWN_METRICS}, got 'recal' (did you mean 'recall'?)"


@pytest.mark.parametrize(
    ("loss", "text"),
    [
        (["mse", "mse"], "loss must have 1 entries, got 2"),
        ({"d": "mse", 1: "mse"}, "loss must have keys among d, got 1"),
    ],
)
def test_a_compile_that_fails_leaves_the_one_before(loss, text):
    made = fastseq.Sequential([layers.Dense(2, input_shape=(3,), name="d")])
    made.compile("sgd", "mse")
    before = made.optimizer
    with pytest.raises(ValueError) as caught:
        made.compile("adam", loss)
    assert str(caught.value) == f"compile: {text}"
    assert made.optimizer is before
    made.train_on_batch(rows(4, 3), rows(4, 2))


@pytest.mark.parametrize("input_shape", [(3,), None])
@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        (
            ("adan", "mse"),
            ValueError,
            "optimizer must be one of adagrad, adam, adamax, adamw, lion, nadam, rmsprop, sgd, "
            "got 'adan' (did you mean 'adam'?)",
        ),
        ((3, "mse"), TypeError, "optimizer must be the name of an optimizer or an Optimizer, got 3"),
        (("sgd", "mean"), ValueError, f"loss must be one of {KNOWN_LOSSES}, got 'mean'"),
        (("sgd", ["mean"]), ValueError, f"loss must be one of {KNOWN_LOSSES}, got 'mean'"),
        (("sgd", {"d": "mean"}), ValueError, f"loss must be one of {KNOWN_LOSSES}, got 'mean'"),
        (("sgd", 3), TypeError, "loss must be the name of a loss, a Loss or a function, got 3"),
        (
            ("sgd", fastseq.losses.MeanSquaredError(reduction="none")),
            ValueError,
            "loss must reduce to a number, got reduction none",
        ),
        (
            ("sgd", "mse", "recal"),
            ValueError,
            NO_RECAL,
        ),
        (
            ("sgd", "mse", ["accuracy", "recal"]),
            ValueError,
            NO_RECAL,
        ),
        (
            ("sgd", "mse", {"d": ["ce", "recal"]}),
            ValueError,
            NO_RECAL,
        ),
        (("sgd", [["mse"]]), TypeError, "loss must be the name of a loss, a Loss or a function, got list"),
        (
            ("sgd", "mse", [[["acc"]]]),
            TypeError,
            "metrics must be the name of a metric, a Metric or a function, got list",
        ),
        (("sgd", "mse", 3), TypeError, "metrics must be the name of a metric, a Metric or a function, got 3"),
        (
            ("sgd", "mse", None, None, ["acc", "recal"]),
            ValueError,
            f"weighted_{NO_RECAL}",
        ),
    ],
)
def test_compile_refuses_what_it_does_not_know(input_shape, arguments, error, text):
    """At once, also where the model waits for its data's shape, and keeping what was compiled before."""
    made = fastseq.Sequential([layers.Dense(2, input_shape=input_shape, name="d")])
    assert made.built is (input_shape is not None)
    made.compile("sgd", "mse")
    before = made.optimizer
    with pytest.raises(error) as caught:
        made.compile(*arguments)
    assert str(caught.value) == f"compile: {text}"
    assert made.optimizer is before
    made.train_on_batch(rows(4, 3), rows(4, 2))


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (
            lambda: small().fit(rows(4, 3), rows(4, 2)),
            RuntimeError,
            "fit: m must be compiled first, got one that is not",
        ),
        (
            lambda: small().train_on_batch(rows(4, 3), rows(4, 2)),
            RuntimeError,
            "train_on_batch: m must be compiled first, got one that is not",
        ),
        (lambda: small().predict(rows(4, 5)), ValueError, "predict: x must have shape (None, 3), got (4, 5)"),
        (
            lambda: small().predict("text"),
            TypeError,
            "predict: x must be an array of real numbers, got 'text'",
        ),
        (
            lambda: small().predict([[1, 2, 3], [4, 5]]),
            ValueError,
            "predict: x must be an array with rows of equal length, got a ragged list",
        ),
        (
            lambda: small().predict(np.zeros((2, 3), complex)),
            TypeError,
            "predict: x must be an array of real numbers, got complex128 array of shape (2, 3)",
        ),
        (lambda: small().predict({"other": rows(2, 3)}), ValueError, None),
        (
            lambda: small().compile("sgd", ["mse", "mse"]),
            ValueError,
            "compile: loss must have 1 entries, got 2",
        ),
        (
            lambda: small().compile("sgd", {"e": "mse"}),
            ValueError,
            "compile: loss must have keys among d, got e",
        ),
        (lambda: small().get_layer("e"), ValueError, "get_layer: name must be one of d, got 'e'"),
        (
            lambda: small().get_layer(),
            ValueError,
            "get_layer: name must be given, or index instead, got neither",
        ),
        (lambda: small().get_layer(index=1), ValueError, "get_layer: index must be less than 1, got 1"),
        (lambda: small().add(3), TypeError, "Sequential.add: layer must be a layer, got 3"),
        (
            lambda: small().add(layers.Dense(1, name="d")),
            ValueError,
            "Sequential.add: layer must have a new name, got 'd'",
        ),
        (
            lambda: small().add(layers.Input((3,))),
            ValueError,
            "Sequential.add: layer must be first if it is an input, got a later one",
        ),
        (
            lambda: fastseq.Sequential([layers.LSTM(2, return_state=True, input_shape=(4, 3))]),
            ValueError,
            "Sequential.add: layer must have 1 output, got 3 outputs",
        ),
        (
            lambda: fastseq.Sequential(name="m").predict(rows(2, 3)),
            RuntimeError,
            "predict: m must have layers, got none",
        ),
        (
            lambda: fastseq.Sequential().pop(),
            ValueError,
            "Sequential.pop: layers must hold at least 1, got 0",
        ),
        (lambda: fastseq.Model(layers.Input((3,)), 3), TypeError, "Model: outputs must be Symbols, got 3"),
        (
            lambda: fastseq.Model(layers.Input((3,)), []),
            TypeError,
            "Model: outputs must be Symbols, got none",
        ),
        (
            lambda: fastseq.Model(name="m").predict(rows(2, 3)),
            RuntimeError,
            "predict: m must have inputs and outputs, got none",
        ),
    ],
)
def test_errors(call, error, text):
    with pytest.raises(error) as caught:
        call()
    assert text is None or str(caught.value) == text
