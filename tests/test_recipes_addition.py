"""The addition recipe: questions by the seed program's law, model, training, answers, exact errors."""

import os
import re
import signal
import threading
import time

import numpy as np
import pytest

import fastseq
from fastseq.recipes import addition, common
from fastseq.recipes.addition import AdditionResult, addition_data, addition_model, train_addition

# small enough to train in a blink
SMALL = {"digits": 1, "units": 8, "epochs": 1, "verbose": 0}


def spelled(data, x, invert=True):
    return [q[::-1] if invert else q for q in data.table.decode(x)]


def seed_program_pairs(size, digits, rng):
    """The seed program's loop."""
    seen, pairs = set(), []
    while len(pairs) < size:
        a, b = (
            int("".join(rng.choice(list("0123456789")) for _ in range(rng.integers(1, digits + 1))))
            for _ in range(2)
        )
        key = tuple(sorted((a, b)))
        if key not in seen:
            seen.add(key)
            pairs.append((a, b))
    return np.array(pairs)


@pytest.mark.parametrize("digits", [1, 2, 3, 4])
@pytest.mark.parametrize("invert", [True, False])
def test_questions(digits, invert):
    size = {1: 40, 2: 3000}.get(digits, 5000)
    data = addition_data(digits, size, invert=invert, seed=1)
    assert data.x_train.dtype == data.y_val.dtype == bool
    assert data.x_train.shape == (size - size // 10, 2 * digits + 1, 12)
    assert data.y_train.shape == (size - size // 10, digits + 1, 12)
    assert data.x_val.shape == (size // 10, 2 * digits + 1, 12)
    assert data.y_val.shape == (size // 10, digits + 1, 12)
    x, y = np.concatenate([data.x_train, data.x_val]), np.concatenate([data.y_train, data.y_val])
    assert (x.sum(-1) == 1).all()
    assert (y.sum(-1) == 1).all()
    seen = set()
    for question, answer in zip(spelled(data, x, invert), data.table.decode(y), strict=True):
        match = re.fullmatch(r"(0|[1-9]\d*)\+(0|[1-9]\d*) *", question)
        assert match, question
        a, b = map(int, match.groups())
        assert max(a, b) < 10**digits
        assert answer == str(a + b).ljust(digits + 1)
        seen.add((min(a, b), max(a, b)))
    assert len(seen) == size  # unique up to order


@pytest.mark.parametrize("draw", [addition._raced, addition._drawn])
def test_law_is_the_seed_programs(draw):
    # 400 of the 5050 questions of two digits: which come early, and in which order their numbers stand
    ours = np.stack([draw(400, 2, np.random.default_rng(s)) for s in range(30)])
    seed = np.stack([seed_program_pairs(400, 2, np.random.default_rng(s)) for s in range(30)])
    for part in (slice(0, 50), slice(0, 400), slice(350, 400)):
        for measure in (
            lambda p: p < 10,
            lambda p: p == 0,
            lambda p: p[..., 0] == p[..., 1],
            lambda p: p[..., 0] < p[..., 1],
            lambda p: p.sum(-1) >= 100,
        ):
            a, b = (measure(pairs[:, part]).reshape(30, -1).mean(1) for pairs in (ours, seed))
            error = np.sqrt((a.var() + b.var()) / 30)
            assert abs(a.mean() - b.mean()) < 5 * error + 1e-9


def test_all_the_questions_there_are():
    pairs = addition._pairs(55, 1, np.random.default_rng(0))
    assert {tuple(sorted(p)) for p in pairs.tolist()} == {(a, b) for a in range(10) for b in range(a, 10)}
    assert len(addition._drawn(5050, 2, np.random.default_rng(0))) == 5050


def test_same_seed_same_questions():
    a, b, c = (addition_data(4, 300, seed=s) for s in (5, 5, 6))
    for one, two, other in zip(a[:4], b[:4], c[:4], strict=True):
        np.testing.assert_array_equal(one, two)
        assert (one != other).any()


def test_published_sizes():
    assert len(addition_data(1).x_train) == 50
    assert len(addition_data(2).x_train) == 4_500
    assert len(addition_data(3).x_train) == 45_000


@pytest.mark.slow
def test_half_a_million_in_seconds():
    start = time.perf_counter()
    data = addition_data(5)
    assert time.perf_counter() - start < 30  # about two seconds, on a busy machine a few more
    assert data.x_train.shape == (495_000, 11, 12)
    assert data.y_val.shape == (55_000, 6, 12)


def test_largest_numbers():
    data = addition_data(18, 2000)
    question, answer = spelled(data, data.x_train)[0].strip(), data.table.decode(data.y_train)[0].strip()
    assert sum(map(int, question.split("+"))) == int(answer)


@pytest.mark.parametrize(
    ("cell", "parameters"), [("lstm", 205_324), ("gru", 155_148), ("simple_rnn", 52_492)]
)
def test_model_has_the_seeds_parameters(cell, parameters):
    model = addition_model(3, cell)
    assert model.count_params() == parameters
    assert model.output_shape == (None, 4, 12)
    assert len(model.layers) == 5


def test_more_layers():
    assert addition_model(3, layers=2).count_params() == 205_324 + 131_584


def test_result():
    result = train_addition(digits=2, units=16, training_size=200, epochs=2, verbose=0, batch_size=32)
    assert isinstance(result, AdditionResult)
    assert result.epochs == 2
    assert result.seconds > 0
    assert not result.interrupted
    assert result.history.epoch == [0, 1]
    assert result.history is result.model.history
    for key in ("loss", "accuracy", "val_loss", "val_accuracy"):
        assert len(result.history.history[key]) == 2
    assert result.history.history["loss"][1] < result.history.history["loss"][0]
    # the epoch's validation accuracy is that of the final weights
    assert result.accuracy == pytest.approx(result.history.history["val_accuracy"][-1], abs=1e-6)
    assert 0 <= result.exact_match <= result.accuracy <= 1
    assert result.configuration["batch_size"] == 32
    assert re.fullmatch(
        r"2 digits, lstm 16: \d+\.\d\d % of characters and \d+\.\d\d % of answers right after 2 epochs, .* s",
        str(result),
    )


def test_score_is_counted_as_the_seed_does():
    result = train_addition(**{**SMALL, "seed": 3})
    data = addition_data(1, seed=3)
    guesses = result.model.predict_classes(data.x_val, verbose=0)
    answers = data.y_val.argmax(-1)
    assert result.accuracy == pytest.approx((guesses == answers).mean())
    assert result.exact_match == pytest.approx((guesses == answers).all(-1).mean())


def test_predict_reads_questions_as_trained():
    result = train_addition(**SMALL)
    answers = result.predict(["3+4", "03+004", " 3 + 4 "])
    assert len(set(answers)) == 1
    assert result.predict("3+4") == answers[0]
    assert result.predict(("3+4",)) == answers[:1]
    assert result.predict([]) == []
    x = result.table.encode("3+4"[::-1], 3)[None]
    assert answers[0] == result.table.decode(result.model.predict(x, verbose=0))[0].strip()


def test_predict_errors():
    result = train_addition(**SMALL)
    rule = (
        "AdditionResult.predict: questions must be two numbers of at most 1 digit and a plus, such as '9+1'"
    )
    for wrong in ("", "3", "3-4", "+3", "3+", "3+4+5", "10+1", "1+10", "٣+1", "9" * 5000 + "+1"):
        with pytest.raises(ValueError) as error:
            result.predict(wrong)
        assert str(error.value) == f"{rule}, got {wrong!r}"
    with pytest.raises(TypeError) as error:
        result.predict([3])
    assert (
        str(error.value)
        == "AdditionResult.predict: questions must be a string or a list of strings, got int in it"
    )


def test_it_learns_and_stops_at_the_target():
    result = train_addition(
        digits=1, units=32, epochs=300, target_accuracy=0.6, batch_size=8, verbose=0, learning_rate=0.01
    )
    values = result.history.history["val_accuracy"]
    assert values[-1] >= 0.6
    assert all(value < 0.6 for value in values[:-1])
    assert result.epochs == len(values) < 300


def test_what_answers():
    """The means of the weights, unless told otherwise; training is the same."""
    mean, own = (train_addition(**{**SMALL, "epochs": 3}, use_ema=use) for use in (True, False))
    assert mean.history.history["loss"] == own.history.history["loss"]
    assert mean.history.history["val_loss"] != own.history.history["val_loss"]
    for result, same in ((mean, True), (own, False)):
        assert (result.model.optimizer.state_names[-1] == "average") == same
        data = addition_data(1, seed=0)
        values = result.model.evaluate(data.x_val, data.y_val, verbose=0)
        assert values == pytest.approx([result.history.history[k][-1] for k in ("val_loss", "val_accuracy")])
    means = mean.model.objective.optimizer_state()["average"]
    for weight, kept in zip(mean.model.get_weights(), means, strict=True):
        np.testing.assert_array_equal(weight, kept)


def test_defaults_by_digits():
    chosen = {}
    for digits, cell in ((1, "lstm"), (2, "lstm"), (2, "gru"), (2, "simple_rnn"), (3, "lstm"), (4, "gru")):
        c = train_addition(digits, cell, units=1, training_size=50, epochs=0, verbose=0).configuration
        chosen[digits, cell] = c["batch_size"], c["learning_rate"]
    assert chosen == {
        (1, "lstm"): (64, 0.01),
        (2, "lstm"): (64, 0.01),
        (2, "gru"): (64, 0.01),
        (2, "simple_rnn"): (64, 0.001),
        (3, "lstm"): (128, 0.001),  # the example's
        (4, "gru"): (128, 0.001),
    }


def test_no_target_uses_every_epoch():
    result = train_addition(**{**SMALL, "epochs": 3, "target_accuracy": None})
    assert result.epochs == 3


def test_no_epochs():
    result = train_addition(**{**SMALL, "epochs": 0})
    assert result.epochs == 0
    assert result.history.history == {}
    assert 0 <= result.accuracy < 1


@pytest.mark.parametrize("cell", ["lstm", "gru", "simple_rnn"])
def test_same_seed_same_bits(cell):
    results = [train_addition(**SMALL, cell=cell, seed=s) for s in (1, 1, 2)]
    one, two, other = ([w.tobytes() for w in r.model.get_weights()] for r in results)
    assert one == two
    assert one != other


def test_showing_questions_does_not_change_the_training(capsys):
    quiet = train_addition(**{**SMALL, "epochs": 2})
    loud = train_addition(**{**SMALL, "epochs": 2, "verbose": 2})
    capsys.readouterr()
    for a, b in zip(quiet.model.get_weights(), loud.model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_what_it_prints(capsys):
    result = train_addition(**{**SMALL, "epochs": 2, "verbose": 2})
    out = capsys.readouterr().out
    assert "Total addition questions: 55\n" in out
    assert "Training data: (50, 3, 12) -> (50, 2, 12)\n" in out
    assert "Validation data: (5, 3, 12) -> (5, 2, 12)\n" in out
    shown = re.findall(r"^Q (\d\+\d) T (..) (\S+) (.*)$", out, re.MULTILINE)
    assert len(shown) == 20  # ten after each epoch
    for question, answer, tick, guess in shown:
        assert sum(map(int, question.split("+"))) == int(answer)
        assert tick == ("☑" if guess == answer else "☒")
    assert "\033[9" not in out  # not a terminal
    assert out.endswith(f"{result}\n")


def test_quiet_prints_nothing(capsys):
    train_addition(**SMALL)
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""


class Stream:
    def __init__(self, terminal, encoding="utf-8"):
        self.terminal, self.encoding = terminal, encoding

    def isatty(self):
        return self.terminal


def test_ticks(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert common.tick(True, Stream(True)) == "\033[92m☑\033[0m"
    assert common.tick(False, Stream(True)) == "\033[91m☒\033[0m"
    assert common.tick(True, Stream(False)) == "☑"
    assert common.tick(False, Stream(False)) == "☒"
    assert common.tick(True, Stream(True, "ascii")) == "\033[92mv\033[0m"
    assert common.tick(False, Stream(False, "cp1252")) == "x"
    monkeypatch.setenv("NO_COLOR", "1")
    assert common.tick(True, Stream(True)) == "☑"


@pytest.mark.skipif(os.name != "posix", reason="sends a signal to itself")
def test_interrupt_returns_what_was_learnt(ctrl_c):
    timer = threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    try:
        result = train_addition(
            digits=2, units=32, training_size=500, epochs=100_000, target_accuracy=None, verbose=0
        )
    finally:
        timer.cancel()
    assert result.interrupted
    assert result.epochs == len(result.history.epoch) == len(result.history.history["val_accuracy"])
    assert result.epochs < 100_000
    assert result.predict("7+5") is not None


def test_save_and_load(tmp_path):
    result = train_addition(digits=2, units=8, layers=2, cell="gru", training_size=100, epochs=2, verbose=0)
    result.save(tmp_path / "adder.safetensors")
    loaded = AdditionResult.load(tmp_path / "adder.safetensors")
    questions = ["1+2", "98+7", "55+44"]
    assert loaded.predict(questions) == result.predict(questions)
    for a, b in zip(result.model.get_weights(), loaded.model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert loaded.configuration == result.configuration
    assert loaded.history.history == result.history.history
    assert loaded.history.epoch == [0, 1]
    assert str(loaded) == str(result)


def test_load_refuses_other_files(tmp_path):
    from fastseq.weights import write_weights

    path = tmp_path / "other"
    write_weights(path, {"0": np.zeros(3)}, {"recipe": "translation"})
    with pytest.raises(ValueError) as error:
        AdditionResult.load(path)
    assert str(error.value) == f"AdditionResult.load: path must hold an addition model, got {str(path)!r}"


def test_plot(tmp_path):
    pytest.importorskip("matplotlib")
    train_addition(**SMALL).plot(tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_plot_without_matplotlib(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    with pytest.raises(RuntimeError) as error:
        train_addition(**SMALL).plot(tmp_path / "curves.png")
    assert str(error.value) == (
        "AdditionResult.plot: matplotlib must be installed (pip install 'fastseq[plot]'), got no such module"
    )


def test_public_names():
    assert fastseq.train_addition is train_addition
    assert fastseq.recipes.train_addition is train_addition


@pytest.mark.parametrize(
    ("kind", "text", "arguments"),
    [
        (ValueError, "cell must be one of gru, lstm, simple_rnn, got 'rnn'", {"cell": "rnn"}),
        (ValueError, "cell must be one of gru, lstm, simple_rnn, got None", {"cell": None}),
        (ValueError, "digits must be from 1 to 18, got 0", {"digits": 0}),
        (ValueError, "digits must be from 1 to 18, got 19", {"digits": 19}),
        (TypeError, "digits must be an integer, got 3.0", {"digits": 3.0}),
        (TypeError, "digits must be an integer, got True", {"digits": True}),
        (ValueError, "units must be at least 1, got 0", {"units": 0}),
        (ValueError, "layers must be at least 1, got 0", {"layers": 0}),
        (ValueError, "batch_size must be at least 1, got -1", {"batch_size": -1}),
        (TypeError, "batch_size must be an integer, got '128'", {"batch_size": "128"}),
        (ValueError, "epochs must be at least 0, got -1", {"epochs": -1}),
        (ValueError, "verbose must be from 0 to 2, got 3", {"verbose": 3}),
        (ValueError, "samples must be at least 0, got -1", {"samples": -1}),
        (ValueError, "training_size must be at least 10, got 9", {"training_size": 9}),
        (
            ValueError,
            "training_size must be at most 55, all the questions that 1 digit can ask, got 56",
            {"digits": 1, "training_size": 56},
        ),
        (
            ValueError,
            "training_size must be at most 5050, all the questions that 2 digits can ask, got 5051",
            {"digits": 2, "training_size": 5051},
        ),
        (
            ValueError,
            "target_accuracy must be above 0 and at most 1, got 99",
            {"target_accuracy": 99},
        ),
        (ValueError, "learning_rate must be above 0, got 0", {"learning_rate": 0}),
    ],
)
def test_errors(kind, text, arguments):
    with pytest.raises(kind) as error:
        train_addition(**arguments)
    assert str(error.value) == f"train_addition: {text}"


def test_unknown_option():
    with pytest.raises(TypeError) as error:
        train_addition(digit=3)
    assert str(error.value).startswith("train_addition() got an unexpected keyword argument 'digit'")


def test_errors_of_data_and_model():
    with pytest.raises(ValueError) as error:
        addition_data(1, 56)
    assert str(error.value) == (
        "addition_data: training_size must be at most 55, all the questions that 1 digit can ask, got 56"
    )
    with pytest.raises(ValueError) as error:
        addition_model(3, "rnn")
    assert str(error.value) == "addition_model: cell must be one of gru, lstm, simple_rnn, got 'rnn'"
