"""The programs of examples/: each runs and learns, and its text makes the same models with Keras."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from keras_twin import check_outputs, check_step, close

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"

pytestmark = pytest.mark.skipif(not EXAMPLES.exists(), reason="the examples are not here")

# what makes each run in a moment: the program is whole, the numbers are small
SMALL = {
    "digits_ctc": {"epochs": 2, "strings": 64},
    "lstm_functional": {"digit_length": 3, "samples": 60, "epochs": 5, "num_units": 4},
    "lstm_seq2seq": {"epochs": 1, "samples": 20, "latent_dim": 6, "shown": 2},
    "lstm_sequential": {"digit_length": 2, "epochs": 12, "num_units": 4},
    "lstm_states": {"samples": 3},
}


def example(name):
    """The program as a module."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def in_keras(name):
    """The names that the same text defines where it imports Keras."""
    text = (EXAMPLES / f"{name}.py").read_text().replace("from fastseq.", "from keras.")
    names = {"__name__": name}
    exec(text, names)
    return names


def same_weights(ours, theirs, scale=0.4):
    rng = np.random.default_rng(0)
    weights = [rng.normal(0, scale, w.shape).astype(np.float32) for w in ours.get_weights()]
    ours.set_weights(weights)
    theirs.set_weights(weights)
    return ours, theirs


def digits(count, length, seed=0):
    return np.random.default_rng(seed).integers(0, 10, (count, length))


def one_hot(numbers):
    return np.eye(10, dtype=np.float32)[numbers]


def test_every_example_is_tested():
    assert sorted(SMALL) == sorted(path.stem for path in EXAMPLES.glob("*.py"))


@pytest.mark.parametrize("name", SMALL)
def test_runs(name, capsys):
    if name == "digits_ctc":
        pytest.importorskip("sklearn")
    example(name).main(**SMALL[name])
    out = capsys.readouterr().out
    assert len(out.splitlines()) > 5
    assert "nan" not in out


# --- Learning LSTMs -------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:Do not pass an `input_shape`")
@pytest.mark.parametrize("made", ["my_model", "my_model_with_softmax"])
def test_sequential_models_are_those_of_keras(made):
    """The LSTM's outputs are no probabilities: the cross-entropy divides each row by its sum first."""
    ours = getattr(example("lstm_sequential"), made)(num_features=10, num_timesteps=3)
    theirs = in_keras("lstm_sequential")[made](num_features=10, num_timesteps=3)
    same_weights(ours, theirs)
    x, y = one_hot(digits(5, 3)), one_hot(digits(5, 3).sum(axis=1) % 10)
    check_outputs(ours, theirs, x)
    check_step(ours, theirs, x, y, "categorical_crossentropy", ["accuracy"])


@pytest.mark.slow
def test_sequential_example_learns():
    alone, with_softmax = example("lstm_sequential").main()
    assert alone < 0.3
    assert with_softmax > 0.9


@pytest.mark.parametrize("returns", [(False, False), (True, False), (True, True)], ids=str)
def test_what_an_lstm_returns_is_what_it_returns_in_keras(returns):
    options = dict(zip(("return_state", "return_sequences"), returns, strict=True))
    ours, output = example("lstm_states").my_model_func(3, 10, **options)
    theirs, their_output = in_keras("lstm_states")["my_model_func"](3, 10, **options)
    shapes = [tuple(s.shape) for s in output] if isinstance(output, list) else [tuple(output.shape)]
    assert isinstance(output, list) == returns[0]
    assert shapes == [
        tuple(s.shape) for s in (their_output if isinstance(their_output, (list, tuple)) else [their_output])
    ]
    assert shapes == [((None, 3, 10) if returns[1] else (None, 10)), *[(None, 10)] * (2 * returns[0])]
    same_weights(ours, theirs)
    x = one_hot(digits(4, 3))
    close(ours.predict(x, verbose=0), [np.asarray(v) for v in theirs(x)] if returns[0] else theirs(x))


def test_running_sums_as_in_keras():
    ours, inner = example("lstm_functional").running_sum_model(4, 6)
    theirs, their_inner = in_keras("lstm_functional")["running_sum_model"](4, 6)
    same_weights(ours, theirs)
    x = one_hot(digits(5, 4))
    check_outputs(inner, their_inner, x)  # the layer is shared
    check_step(ours, theirs, x, one_hot(digits(5, 4).cumsum(axis=1) % 10), "categorical_crossentropy")
    check_outputs(inner, their_inner, x)


def test_running_sums_are_learnt():
    assert example("lstm_functional").main(digit_length=3, epochs=25) > 0.9


# --- the canonical sequence-to-sequence model -----------------------------------------------------

PAIRS = [("ab", "xyz"), ("bca", "zz"), ("c", "yx"), ("cab", "xyzzy"), ("aa", "z")]


@pytest.mark.slow
def test_seq2seq_trains_and_restores_as_in_keras(tmp_path):
    module, names = example("lstm_seq2seq"), in_keras("lstm_seq2seq")
    data, their_data = module.Pairs(PAIRS), names["Pairs"](PAIRS)
    assert np.array_equal(data.decoder_target, their_data.decoder_target)
    assert np.array_equal(data.decoder_input[:, 1:], data.decoder_target[:, :-1])
    ours, theirs = (
        made(len(data.source_chars), len(data.target_chars), 6)
        for made in (module.training_model, names["training_model"])
    )
    same_weights(ours, theirs, 0.8)
    kinds = [type(layer).__name__ for layer in ours.layers]
    assert kinds == [type(layer).__name__ for layer in theirs.layers]
    assert kinds == ["InputLayer", "InputLayer", "LSTM", "LSTM", "Dense"]
    x = [data.encoder_input, data.decoder_input]
    check_outputs(ours, theirs, x)

    restored, their_restored = (restore(m, 6) for restore, m in (
        (module.restore, ours), (names["restore"], theirs)))  # fmt: skip
    states = restored[0].predict(x[0], verbose=0)
    close(states, [np.asarray(v) for v in their_restored[0](x[0])])
    step = [x[1][:, :1], *states]
    check_outputs(restored[1], their_restored[1], step)
    for k in range(len(PAIRS)):
        one = x[0][k : k + 1]
        answers = [
            decode(one, *models, data.target_chars, 8)
            for decode, models in (
                (module.decode_sequence, restored), (names["decode_sequence"], their_restored))
        ]  # fmt: skip
        assert answers[0] == answers[1]
    # the loss of padded targets is 0 but counts; TensorFlow's own gradient of it is wrong after a softmax
    ours.compile("rmsprop", "categorical_crossentropy", metrics=["accuracy"])
    theirs.compile("rmsprop", "categorical_crossentropy", metrics=["accuracy"], run_eagerly=True)
    close(ours.test_on_batch(x, data.decoder_target), theirs.test_on_batch(x, data.decoder_target))
    # the two that were restored have the weights that training changes
    before = restored[1].predict(step, verbose=0)[0]
    ours.save(tmp_path / "s2s_model.keras")
    loaded = module.restore(module.load_model(tmp_path / "s2s_model.keras"), 6)
    close(loaded[1].predict([step[0], *loaded[0].predict(x[0], verbose=0)], verbose=0)[0], before)
    ours.fit(x, data.decoder_target, batch_size=2, epochs=1, verbose=0)
    assert not np.allclose(before, restored[1].predict(step, verbose=0)[0])


def test_seq2seq_learns(capsys):
    words = [("".join(w), "".join(w[::-1])) for w in np.random.default_rng(0).choice(list("abc"), (2000, 3))]
    history, right = example("lstm_seq2seq").main(pairs=words, epochs=20, latent_dim=48)
    assert history["val_loss"][-1] < history["val_loss"][0] / 3
    assert right >= 8
    assert f"{right} of 10 right" in capsys.readouterr().out


# --- handwritten digits ---------------------------------------------------------------------------


def test_strings_of_digits():
    pytest.importorskip("sklearn")
    module = example("digits_ctc")
    train, held_out = module.split_digits()
    assert len(train[1]) + len(held_out[1]) == 1797
    seen = {image.tobytes() for image in train[0]}
    assert sum(image.tobytes() in seen for image in held_out[0]) == 0
    assert set(held_out[1]) == set(range(10))
    x, y = module.join(*train, 300, np.random.default_rng(0))
    assert x.shape == (300, module.WIDTH, module.HEIGHT, 1)
    assert 0 == x.min() < x.max() == 1
    lengths = (y >= 0).sum(axis=1)
    assert set(lengths) == set(range(1, 11))
    assert ((y >= 0) == (np.arange(10) < lengths[:, None])).all()
    for image, length in zip(x, lengths, strict=True):
        columns = np.flatnonzero(image.any(axis=(1, 2)))
        assert 6 * length - 4 < columns[-1] - columns[0] < 11 * length


@pytest.mark.slow
def test_held_out_digits_are_read():
    pytest.importorskip("sklearn")
    assert example("digits_ctc").main() < 0.02
