"""Weights that stay packed: sequences of a stepper, and models that predict again."""

import gc
import weakref

import numpy as np
import pytest
from rnn_ops import CELLS, Op, problem, random_mask
from step_by_step import in_threads, same

import fastseq
from fastseq import _core, layers, ops
from fastseq.ops import stepper

OPTIONS = [
    {},
    {"mask": random_mask(5, 7)},
    {"mask": random_mask(5, 7), "zero_output_for_mask": True, "go_backwards": True},
    {"lengths": [7, 0, 3, 1, 6]},
    {"return_sequence": False, "go_backwards": True},
]


def weights_of(inputs):
    return [inputs[name] for name in ("kernel", "recurrent_kernel", "bias")]


def stepper_of(cell, inputs, **options):
    stem = "gru" if cell.startswith("gru") else cell
    if stem == "gru":
        options["reset_after"] = cell == "gru_after"
    return getattr(ops, f"{stem}_stepper")(*weights_of(inputs), **options)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("cell", CELLS)
def test_sequences_have_the_bits_of_forward(cell, dtype, isa):
    op = Op(cell)
    for options in OPTIONS:
        for batch, steps, features, units in [(5, 7, 3, 17), (5, 7, 30, 33)]:
            inputs = problem(cell, batch, steps, features, units, dtype)
            state = inputs["initial_state"]
            want, final, _ = op.forward(**inputs, **options, training=False)
            got, last = stepper_of(cell, inputs).run(inputs["x"], state, **options)
            assert want is got is None or same(got, want)
            assert all(map(same, last, final))


@pytest.mark.parametrize("cell", CELLS)
def test_sequences_of_any_size_on_any_number_of_threads(cell, threads):
    op = Op(cell)
    for sizes in [
        (1, 12, 20, 80),
        (64, 9, 12, 128),
        (100, 3, 90, 40),
        (1, 1, 1, 1),
        (0, 3, 2, 5),
        (3, 0, 2, 5),
    ]:
        inputs = problem(cell, *sizes, np.float32, state=False)
        want, final, _ = op.forward(**inputs, training=False)
        packed = stepper_of(cell, inputs)
        for n in (1, 2, 3):
            threads(n)
            got, last = packed.run(inputs["x"])
            assert same(got, want)
            assert all(map(same, last, final))


def test_sequences_go_on_where_others_ended_and_take_options():
    inputs = problem("lstm", 3, 8, 4, 9, np.float32)
    names = {"activation": "softsign", "recurrent_activation": "hard_sigmoid"}
    want, final, _ = ops.lstm_forward(**inputs, **names, training=False)
    packed = stepper_of("lstm", inputs, **names)
    first, state = packed.run(inputs["x"][:, :5], inputs["initial_state"])
    step, state = packed.step(inputs["x"][:, 5], state)
    second, state = packed.run(inputs["x"][:, 6:], state)
    assert same(np.concatenate([first, step[:, None], second], axis=1), want)
    assert all(map(same, state, final))
    repeated, _ = packed.run(inputs["x"][:, 0], repeat=4)
    same_x = np.repeat(inputs["x"][:, :1], 4, axis=1)
    assert same(repeated, packed.run(same_x)[0])


@pytest.mark.skipif(len(_core.available_isas()) < 2, reason="one instruction set")
def test_packed_weights_outlive_their_instruction_set():
    inputs = problem("gru_before", 4, 6, 3, 21, np.float32)
    before = _core.isa()
    packed = stepper_of("gru_before", inputs)
    want, _ = packed.run(inputs["x"], inputs["initial_state"])
    try:
        for name in _core.available_isas():
            _core.set_isa(name)
            assert same(packed.run(inputs["x"], inputs["initial_state"])[0], want)
    finally:
        _core.set_isa(before)


@pytest.mark.parametrize(
    ("x", "options", "error", "text"),
    [
        (np.ones((3, 4, 3)), {}, ValueError, "x must have 2 features, got shape (3, 4, 3)"),
        (np.ones((3, 2)), {}, ValueError, "x must have shape (batch, steps, features), got (3, 2)"),
        ("text", {}, TypeError, "x must be an array of real numbers, got 'text'"),
        (
            np.ones((3, 4, 2)),
            {"lengths": [5, 1, 1]},
            ValueError,
            "lengths must lie in [0, steps = 4], got 5 at index 0",
        ),
        (
            np.ones((3, 4, 2)),
            {"mask": np.ones((3, 5), bool)},
            ValueError,
            "mask must have shape (3, 4), got (3, 5)",
        ),
        (
            np.ones((3, 4, 2)),
            {"initial_state": (np.ones((3, 5)),)},
            ValueError,
            "initial_state must have 2 parts, got 1",
        ),
    ],
)
def test_refusals_of_a_sequence(x, options, error, text):
    packed = stepper_of("lstm", problem("lstm", 3, 4, 2, 5))
    with pytest.raises(error) as raised:
        packed.run(x, **options)
    assert str(raised.value) == f"lstm_forward: {text}"


def test_the_kernels_refuse_other_packed_weights():
    inputs = problem("lstm", 3, 4, 2, 5)
    for made, training, text in [
        (
            stepper_of("gru_after", problem("gru_after", 3, 4, 2, 5)),
            False,
            "packed must be a layer of this cell",
        ),
        (stepper_of("lstm", inputs), True, "training must be False with packed weights, got True"),
    ]:
        take = ops.rnn.bind_arguments(
            "lstm_forward", ops.rnn.LSTM, recurrent_activation="sigmoid", training=training
        )
        with pytest.raises(ValueError, match=f"lstm_forward: {text}"):
            _core.rnn_forward(take(inputs["x"], None, None, None, packed=made))
    arguments = take(inputs["x"], *weights_of(inputs))
    for place, name in ((2, "kernel"), (3, "recurrent_kernel")):
        with pytest.raises(
            TypeError, match=f"lstm_forward: {name} must be an array of float32 or float64, got None"
        ):
            _core.rnn_forward((*arguments[:place], None, *arguments[place + 1 :]))


# --- models ---------------------------------------------------------------------------------------


@pytest.fixture
def packings(monkeypatch):
    """The names of the steppers that are made."""
    made = []
    make = _core.make_stepper

    def count(name, *rest):
        made.append(name)
        return make(name, *rest)

    monkeypatch.setattr(stepper._core, "make_stepper", count)
    return made


def models():
    fastseq.set_seed(1)
    recurrent = fastseq.Sequential(
        [fastseq.Input((None, 4)), layers.LSTM(9, return_sequences=True), layers.GRU(7)]
    )
    both_ways = fastseq.Sequential(
        [fastseq.Input((None, 4)), layers.Bidirectional(layers.GRU(9, use_bias=False))]
    )
    repeating = fastseq.Sequential([fastseq.Input((4,)), layers.RepeatVector(3), layers.SimpleRNN(5)])
    return {"stack": (recurrent, 2), "two directions": (both_ways, 2), "repeated": (repeating, 1)}


@pytest.mark.parametrize("name", models())
def test_weights_are_packed_when_they_come_again(name, packings):
    model, count = models()[name]
    x = np.random.default_rng(0).normal(size=(3, 5, 4) if name != "repeated" else (3, 4)).astype(np.float32)
    first = model.predict(x, verbose=0)
    assert packings == []  # once would not be worth a copy
    for _ in range(3):
        assert same(model.predict(x, verbose=0), first)
    assert len(packings) == count
    assert same(model.predict_on_batch(x), first)
    assert len(packings) == count


def change_by_training(model, x):
    model.compile(fastseq.optimizers.SGD(0.5), "mse")
    model.train_on_batch(x, np.ones(model.predict(x, verbose=0).shape, np.float32))


def change_by_set_weights(model, x):
    model.set_weights([w + 1 for w in model.get_weights()])


def change_by_assign(model, x):
    variable = model.trainable_weights[0]
    variable.assign(variable.numpy() + 1)


@pytest.mark.parametrize("change", [change_by_training, change_by_set_weights, change_by_assign])
@pytest.mark.parametrize("name", models())
def test_weights_that_changed_are_packed_anew(name, change):
    model, _ = models()[name]
    x = np.random.default_rng(0).normal(size=(3, 5, 4) if name != "repeated" else (3, 4)).astype(np.float32)
    for _ in range(3):
        before = model.predict(x, verbose=0)
    change(model, x)
    fresh = models()[name][0]
    fresh.set_weights(model.get_weights())
    want = fresh.predict(x, verbose=0)  # packs nothing: it is the first
    assert not same(want, before)
    for _ in range(3):
        assert same(model.predict(x, verbose=0), want)


def test_calls_and_plans_of_a_layer_share_one_copy(packings):
    fastseq.set_seed(4)
    x = fastseq.Input((5, 3))
    layer = layers.GRU(3, return_sequences=True)
    model = fastseq.Model(x, layer(layer(layer(x))))
    model.compile("sgd", "mse")
    data = np.random.default_rng(5).normal(size=(4, 5, 3)).astype(np.float32)
    want = model.predict_on_batch(data)
    for _ in range(2):
        assert same(model.predict_on_batch(data), want)
        model.evaluate(data, want, verbose=0)
    assert len(packings) == 1


def test_old_copies_are_let_go(packings):
    model, _ = models()["stack"]
    x = np.ones((3, 5, 4), np.float32)
    for _ in range(2):
        model.predict_on_batch(x)
    values = [weakref.ref(v.value) for v in model.trainable_weights]
    change_by_training(model, x)  # which moves them
    gc.collect()
    assert not any(value() is not None for value in values)


def test_constraints_and_running_means_are_seen():
    fastseq.set_seed(6)
    layer = layers.SimpleRNN(4, kernel_constraint=fastseq.constraints.MaxNorm(0.1))
    model = fastseq.Sequential([fastseq.Input((5, 3)), layer])
    model.compile(fastseq.optimizers.SGD(1.0, use_ema=True, ema_momentum=0.5), "mse")
    rng = np.random.default_rng(7)
    x, y = rng.normal(size=(8, 5, 3)).astype(np.float32), rng.normal(size=(8, 4)).astype(np.float32)

    def fresh():
        _, (state,), _ = ops.simple_rnn_forward(x, *model.get_weights(), training=False)
        return state

    for _ in range(3):
        model.train_on_batch(x, y)
        for averaged in (False, True, False):
            model.optimizer.swap_averages(averaged)
            for _ in range(3):
                assert same(model.predict_on_batch(x), fresh())


def test_a_write_cut_short_is_a_change():
    variable = models()["stack"][0].trainable_weights[0]
    before = type(variable).changes

    def write():
        with variable.changing:
            variable.value[...] = 3
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write()
    assert type(variable).changes == before + 1


def test_validation_during_training_sees_the_weights_of_its_epoch():
    fastseq.set_seed(2)
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(40, 6, 3)), rng.normal(size=(40, 5))
    seen = []
    model = fastseq.Sequential([fastseq.Input((6, 3)), layers.LSTM(5)])
    model.compile("adam", "mse")

    class Beside(fastseq.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            _, state, _ = ops.lstm_forward(x.astype(np.float32), *self.model.get_weights(), training=False)
            seen.append(np.mean((state[0] - y) ** 2))

    history = model.fit(x, y, batch_size=8, epochs=4, validation_data=(x, y), verbose=0, callbacks=[Beside()])
    np.testing.assert_allclose(history.history["val_loss"], seen, rtol=1e-5)


def test_many_threads_predict_while_weights_change(threads):
    threads(2)
    model, _ = models()["stack"]
    other, _ = models()["stack"]
    x = np.random.default_rng(0).normal(size=(3, 5, 4)).astype(np.float32)
    want = model.predict_on_batch(x)

    def predict():
        for _ in range(50):
            assert same(model.predict_on_batch(x), want)
            other.set_weights(other.get_weights())  # all copies are looked at again

    in_threads(4, predict)
