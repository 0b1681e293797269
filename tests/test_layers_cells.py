"""RNN over cells, stacks of them and cells of one's own against Keras: outputs, states, masks, training."""

import numpy as np
import pytest
from keras_twin import OURS, check_outputs, check_step, close, keras, twins

import fastseq
from fastseq import layers, ops
from fastseq.layers.calls import flatten, unflatten

CELLS = ["LSTMCell", "GRUCell", "SimpleRNNCell"]
rng = np.random.default_rng(0)
X = rng.normal(size=(4, 5, 3)).astype(np.float32)
MASK = np.array([[1, 1, 0, 1, 0], [1, 1, 1, 1, 1], [0, 0, 1, 1, 0], [1, 0, 0, 0, 0]], bool)


def write_minimal(base, o):
    class MinimalCell(base.Layer):
        """Its state is not its output, and of another size."""

        def __init__(self, units, **kwargs):
            super().__init__(**kwargs)
            self.units = units
            self.state_size = [units, 2]
            self.output_size = units

        def build(self, input_shape):
            self.kernel = self.add_weight((input_shape[-1], self.units), "glorot_uniform", name="kernel")
            self.recurrent = self.add_weight((self.units, self.units), "glorot_uniform", name="recurrent")
            self.change = self.add_weight((self.units, 2), "glorot_uniform", name="change")

        def call(self, inputs, states):
            h, m = states
            new = o.tanh(o.matmul(inputs, self.kernel) + o.matmul(h, self.recurrent)) * o.sum(m, -1, True)
            return new * 2.0, [new, 0.5 * m + o.matmul(new, self.change)]

        def get_config(self):
            return {**super().get_config(), "units": self.units}

    return MinimalCell


def write_smallest(base, o):
    class SmallestCell(base.Layer):
        """Keras's own example of a cell: a size that is a number, of a state that comes in a list."""

        def __init__(self, units, **kwargs):
            super().__init__(**kwargs)
            self.state_size = units

        def build(self, input_shape):
            self.kernel = self.add_weight((input_shape[-1], self.state_size), "uniform", name="kernel")
            self.recurrent = self.add_weight((self.state_size,) * 2, "uniform", name="recurrent")

        def call(self, inputs, states):
            output = o.matmul(inputs, self.kernel) + o.matmul(states[0], self.recurrent)
            return output, [output]

    return SmallestCell


MINE = {True: write_minimal(layers, ops), False: write_minimal(keras.layers, keras.ops)}
SMALLEST = {True: write_smallest(layers, ops), False: write_smallest(keras.layers, keras.ops)}


def cells(library, kind):
    made = {
        "stack": lambda: [library.layers.LSTMCell(4), library.layers.GRUCell(6), library.layers.LSTMCell(3)],
        "mine": lambda: MINE[library.ours](4),
        "mixed": lambda: [library.layers.GRUCell(4), MINE[library.ours](3)],
        "smallest": lambda: SMALLEST[library.ours](4),
        "pair": lambda: [SMALLEST[library.ours](4), SMALLEST[library.ours](3)],
    }
    return made[kind]() if kind in made else getattr(library.layers, kind)(4)


SIZES = {
    "LSTMCell": [4, 4], "GRUCell": [4], "SimpleRNNCell": [4], "stack": [[4, 4], 6, [3, 3]], "mine": [4, 2],
    "mixed": [4, [3, 2]], "smallest": [4], "pair": [4, 3],
}  # fmt: skip
KINDS = list(SIZES)
OPTIONS = [
    {},
    {"return_sequences": True},
    {"return_sequences": True, "go_backwards": True},
    {"return_sequences": True, "zero_output_for_mask": True},
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("masked", [False, True], ids=["plain", "masked"])
def test_options(kind, options, masked):
    def build(library):
        x = library.Input((5, 3))
        h = library.layers.Masking()(x) if masked else x
        rnn = library.layers.RNN(cells(library, kind), **options)
        if masked:
            return library.Model(x, rnn(h))  # with an initial state, too, Keras forgets the mask
        start = unflatten(SIZES[kind], [library.layers.Dense(n)(x[:, 1]) for n in flatten(SIZES[kind])])
        return library.Model(x, rnn(h, initial_state=start))

    ours, theirs = twins(build)
    x = X * MASK[..., None] if masked else X
    check_outputs(ours, theirs, x)
    y = np.random.default_rng(2).normal(size=(4, *ours.output_shape[1:])).astype(np.float32)
    check_step(ours, theirs, x, y, "mse")


@pytest.mark.parametrize("kind", KINDS)
def test_states_are_nested_and_start_at_zero(kind):
    found = []

    def build(library):
        x = library.Input((5, 3))
        layer = library.layers.RNN(cells(library, kind), return_state=True, return_sequences=True)
        output, *states = layer(x)
        found.append(nesting(states))
        again = library.layers.RNN(cells(library, kind), return_state=True)(x, initial_state=states)
        return library.Model(x, [output, *flatten(states), *flatten(again)])

    ours, theirs = twins(build)
    check_outputs(ours, theirs, X)
    assert found == [nesting(SIZES[kind])] * 2


def nesting(states):
    return [nesting(state) if isinstance(state, (list, tuple)) else 0 for state in states]


@pytest.mark.parametrize("kind", ["LSTMCell", "GRUCell", "SimpleRNNCell"])
def test_an_rnn_of_a_cell_is_the_layer(kind):
    symbol = layers.Input((5, 3))
    one = fastseq.Model(symbol, layers.RNN(getattr(layers, kind)(4), return_sequences=True)(symbol))
    other = fastseq.Model(
        symbol, getattr(layers, kind.removesuffix("Cell"))(4, return_sequences=True)(symbol)
    )
    other.set_weights(one.get_weights())
    assert np.array_equal(one.predict(X, verbose=0), other.predict(X, verbose=0))
    assert [name for name, _ in one.predict_plan().operations] == [
        name for name, _ in other.predict_plan().operations
    ]


@pytest.mark.parametrize("kind", CELLS)
def test_a_cell_by_itself(kind):
    """One step, as a layer of a model and on arrays."""

    def build(library):
        x = library.Input((3,))
        cell = getattr(library.layers, kind)(4)
        states = [library.Input((4,)) for _ in range(2 if kind == "LSTMCell" else 1)]
        output, after = cell(x, states)
        return library.Model([x, *states], [output, *after])

    ours, theirs = twins(build)
    check_outputs(
        ours, theirs, [X[:, 0], *([X[:, 1, :1] * np.ones((1, 4), np.float32)] * (len(ours.inputs) - 1))]
    )


@pytest.mark.parametrize("kind", ["stack", "mine"])
def test_states_are_kept_between_batches(kind):
    def build(library):
        x = library.Input(batch_shape=(4, 5, 3))
        rnn = library.layers.RNN(cells(library, kind), stateful=True)
        return library.Model(x, rnn(x))

    ours, theirs = twins(build)
    rnn = ours.layers[1]
    first = ours.predict(X, batch_size=4, verbose=0)
    expected = [np.asarray(theirs(X)) for _ in range(3)]
    close(first, expected[0])
    close(ours.predict(X, batch_size=4, verbose=0), expected[1])
    kept = [np.array(v.value) for v in rnn.states]
    close(ours.predict(X, batch_size=4, verbose=0), expected[2])
    rnn.reset_states(kept)
    close(ours.predict(X, batch_size=4, verbose=0), expected[2])
    ours.reset_states()
    close(ours.predict(X, batch_size=4, verbose=0), expected[0])


@pytest.mark.parametrize("kind", ["LSTMCell", "stack", "mine", "mixed"])
def test_configuration(kind):
    layer = layers.RNN(cells(OURS, kind), return_sequences=True, zero_output_for_mask=True)
    copy = layers.RNN.from_config(layer.get_config())
    for made in (layer, copy):
        made(layers.Input((5, 3)))
    copy.set_weights(layer.get_weights())
    assert copy.return_sequences
    assert copy.get_config() == layer.get_config()
    close(copy(X), layer(X))


def test_dropout_of_cells_acts_in_training_only():
    symbol = layers.Input((5, 3))
    stack = [layers.LSTMCell(4, dropout=0.5, seed=1), layers.LSTMCell(4, recurrent_dropout=0.5, seed=2)]
    layer = layers.RNN(stack)
    layer(symbol)
    still = layer(X)
    assert np.array_equal(still, layer(X))
    assert not np.allclose(still, layer(X, training=True))


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: layers.RNN(3), TypeError,
         "RNN: cell must be a cell: a layer with state_size and call(inputs, states), got 3"),
        (lambda: layers.RNN(layers.Dense(3)), TypeError,
         "RNN: cell must be a cell: a layer with state_size and call(inputs, states), got Dense"),
        (lambda: layers.StackedRNNCells([]), TypeError,
         "StackedRNNCells: cells must be a list of cells, got list"),
        (lambda: layers.LSTMCell(3, return_sequences=True), ValueError,
         "LSTMCell: return_sequences must be left to the RNN around the cell, got True"),
        (lambda: layers.RNN(MINE[True](3), name="r")(layers.Input((None, 3))), ValueError,
         "r: inputs must have a known number of steps with a cell of one's own, got shape (None, None, 3)"),
        (lambda: layers.RNN(layers.GRUCell(3), name="r")(layers.Input((3,))), ValueError,
         "r: inputs must have shape (batch, steps, features), got shape (None, 3)"),
        (lambda: layers.RNN(layers.LSTMCell(3), name="r")(
            layers.Input((5, 3)), initial_state=[layers.Input((3,))]), ValueError,
         "r: initial_state must be 2 arrays, got 1"),
    ],
)  # fmt: skip
def test_errors(make, error, text):
    with pytest.raises(error) as caught:
        make()
    assert str(caught.value).startswith(text)
