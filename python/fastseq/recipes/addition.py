"""Learns to add numbers written in characters: "535+61" -> "596", the Keras example addition_rnn whole.

Sutskever, Vinyals, Le (2014), https://arxiv.org/abs/1409.3215, whose reversed input helps;
Zaremba and Sutskever (2014), "Learning to Execute", https://arxiv.org/abs/1410.4615.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, overload

import numpy as np

import fastseq
from fastseq import layers as keras_layers
from fastseq.callbacks import Callback, History, SwapEMAWeights
from fastseq.models import Sequential
from fastseq.recipes.common import (
    cell_class,
    fitted,
    integer,
    load_result,
    plot_history,
    positive,
    restore,
    save_result,
    share,
    silent,
    texts_of,
    tick,
    verbosity,
)
from fastseq.text import CharacterTable

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["AdditionData", "AdditionResult", "addition_data", "addition_model", "train_addition"]

CHARS = "0123456789+ "

# Published for 2 to 5 digits; one digit has 55 questions in all, and beyond five the largest is kept.
TRAINING_SIZES = {1: 55, 2: 5_000, 3: 50_000, 4: 400_000, 5: 550_000}
LARGEST_TRAINING_SIZE = 550_000

# Questions per step and Adam's rate: the example's, but for few questions. The 4,500 of two digits make only
# 36 steps of 128, and an epoch learns little: Keras stands at 92 % after 80 of them. Twice the steps, ten
# times as long, reach 99 % in 14 to 20 epochs (four seeds; 22 to 44 at 0.004). Plain RNNs lose their way so.
BATCH_SIZE, LEARNING_RATE = 128, 0.001
FEW_BATCH_SIZE, FEW_LEARNING_RATE = 64, {"gru": 0.01, "lstm": 0.01, "simple_rnn": 0.001}

MOST_DIGITS = 18  # the sum of two such numbers still fits 64 bits


class AdditionData(NamedTuple):
    """One-hot questions and answers, the last tenth of them set apart for validation."""

    x_train: NDArray[np.bool_]
    y_train: NDArray[np.bool_]
    x_val: NDArray[np.bool_]
    y_val: NDArray[np.bool_]
    table: CharacterTable


def addition_data(
    digits: int = 3, training_size: int | None = None, *, invert: bool = True, seed: int | None = 0
) -> AdditionData:
    """Questions such as ``"16+535 "`` and answers such as ``"596 "``, one-hot, shuffled and split.

    A number has a length drawn uniformly from 1 to ``digits`` and that many random digits (leading
    zeros fall away); no two questions are equal up to order; both sides are padded with spaces.

    Args:
        digits: The most digits a number has, 1 to 18.
        training_size: Number of questions, validation included; None for the published one.
        invert: Reverse the questions, which shortens the way from a digit to its place in the sum.
        seed: Of the draw; None for a new one each time.

    Returns:
        ``x`` (questions, 2 * digits + 1, 12) and ``y`` (questions, digits + 1, 12), bool, for
        training and for validation, and the table that made them.

    Raises:
        TypeError: ``digits`` or ``training_size`` is not an integer.
        ValueError: They are out of range, or fewer questions exist than were asked for.
    """
    digits = integer("addition_data", "digits", digits, 1, MOST_DIGITS)
    return _data("addition_data", digits, training_size, invert, seed)


def addition_model(digits: int = 3, cell: str = "lstm", units: int = 128, layers: int = 1) -> Sequential:
    """The model of the example, not compiled: an encoder, and ``layers`` decoders that read its last state.

    Args:
        digits: The most digits a number has.
        cell: "gru", "lstm" or "simple_rnn".
        units: Of the encoder and of each decoder.
        layers: Number of decoders.

    Returns:
        A model of (batch, 2 * digits + 1, 12) to probabilities (batch, digits + 1, 12).

    Raises:
        TypeError: A number is not an integer.
        ValueError: A number is out of range, or ``cell`` is unknown.
    """
    name = "addition_model"
    digits = integer(name, "digits", digits, 1, MOST_DIGITS)
    return _model(
        digits, cell_class(name, cell), integer(name, "units", units, 1), integer(name, "layers", layers, 1)
    )


@dataclass
class AdditionResult:
    """What ``train_addition`` learnt.

    Attributes:
        model: The trained model, its weights running means where those were used.
        history: Its History: loss, accuracy, val_loss and val_accuracy of each epoch.
        table: The CharacterTable of questions and answers.
        accuracy: Share of the validation answers' characters that are right, as the example counts.
        exact_match: Share of the validation answers that are right as a whole.
        epochs: Epochs finished.
        seconds: What they took, validation included.
        interrupted: Whether Ctrl-C ended the training.
        configuration: The arguments of ``train_addition``, defaults filled in.
    """

    model: Sequential
    history: History
    table: CharacterTable
    accuracy: float
    exact_match: float
    epochs: int
    seconds: float
    interrupted: bool = False
    configuration: dict[str, Any] = field(default_factory=dict)

    @overload
    def predict(self, questions: str) -> str: ...  # type: ignore[overload-overlap]  # str is a Sequence too

    @overload
    def predict(self, questions: Sequence[str]) -> list[str]: ...

    def predict(self, questions: str | Sequence[str]) -> str | list[str]:
        """The model's answer to a question such as "535+61", or to each of a list of them.

        Raises:
            TypeError: ``questions`` is neither a string nor a list of strings.
            ValueError: A question is not two numbers of at most the trained digits and a plus.
        """
        answers = self._answers(texts_of("AdditionResult.predict", "questions", questions))
        return answers[0] if isinstance(questions, str) else answers

    def _answers(self, questions: list[str]) -> list[str]:
        if not questions:
            return []
        digits, invert = self.configuration["digits"], self.configuration["invert"]
        asked = [_question("AdditionResult.predict", q, digits) for q in questions]
        rows = _padded(asked, 2 * digits + 1, invert)
        answers = self.table.decode(self.model.predict(self.table.encode(rows, 2 * digits + 1), verbose=0))
        return [answer.strip() for answer in answers]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the weights, the history and the configuration into one safetensors file."""
        kept = {name: getattr(self, name) for name in _KEPT}
        save_result(path, "addition", self.model, kept)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> AdditionResult:
        """The result that ``save`` wrote, ready to predict.

        Raises:
            OSError: The file cannot be read.
            ValueError: It holds no addition model.
        """
        weights, kept = load_result("AdditionResult.load", path, "addition")
        c = kept["configuration"]
        model = _model(c["digits"], cell_class("AdditionResult.load", c["cell"]), c["units"], c["layers"])
        history = restore(model, weights, kept)
        return cls(model=model, history=history, table=CharacterTable(CHARS), **kept)

    def plot(self, path: str | os.PathLike[str]) -> None:
        """Draws accuracy and loss over the epochs into an image file.

        Raises:
            RuntimeError: matplotlib is not installed.
        """
        c = self.configuration
        title = f"Addition, {c['digits']} digits, {c['cell']} {c['units']}"
        plot_history("AdditionResult.plot", self.history, ("accuracy", "loss"), title, path)

    def __str__(self) -> str:
        c = self.configuration
        return (
            f"{c['digits']} digit{'s' * (c['digits'] > 1)}, {c['cell']} {c['units']}: "
            f"{100 * self.accuracy:.2f} % of characters and {100 * self.exact_match:.2f} % of answers right "
            f"after {self.epochs} epoch{'s' * (self.epochs != 1)}, {self.seconds:.1f} s"
        )


_KEPT = ("accuracy", "configuration", "epochs", "exact_match", "interrupted", "seconds")


def train_addition(
    digits: int = 3,
    cell: str = "lstm",
    units: int = 128,
    layers: int = 1,
    training_size: int | None = None,
    invert: bool = True,
    batch_size: int | None = None,
    epochs: int = 200,
    target_accuracy: float | None = 0.99,
    seed: int | None = 0,
    verbose: int = 1,
    *,
    learning_rate: float | None = None,
    use_ema: bool = True,
    samples: int = 10,
) -> AdditionResult:
    """Trains a model to add two numbers, character by character.

    After each epoch a few random validation questions are printed with the right answer (T), a tick
    and the guess. Ctrl-C ends the training early and returns what was learnt so far.

    What answers, and what is kept, is a running mean of the weights over about a hundred steps (Polyak and
    Juditsky 1992, https://doi.org/10.1137/0330046): at a constant rate the weights themselves swing about
    it, and reach the target some epochs later.

    Args:
        digits: The most digits a number has, 1 to 18.
        cell: "gru", "lstm" or "simple_rnn".
        units: Of the encoder and of each decoder layer.
        layers: Number of decoder layers.
        training_size: Number of questions, a tenth of them for validation; None for the published
            one (2 digits: 5,000; 3: 50,000; 4: 400,000; 5 and more: 550,000).
        invert: Reverse the questions, which makes them easier to learn.
        batch_size: Questions per step; None for 128, or 64 up to two digits, whose questions are few.
        epochs: The most epochs to train.
        target_accuracy: Validation accuracy per character at which to stop; None to use every epoch.
        seed: Of questions, initial weights and shuffling; None for a new one each time.
        verbose: 0 prints nothing, 1 a progress bar for each epoch, 2 one line for each epoch.
        learning_rate: Of Adam; None for 0.001, or 0.01 up to two digits (but not for "simple_rnn").
        use_ema: False has the weights themselves answer, as in the example.
        samples: How many questions to show after each epoch.

    Returns:
        An AdditionResult: ``.model``, ``.history``, ``.accuracy``, ``.exact_match``, and
        ``.predict("535+61")``, which answers "596".

    Raises:
        TypeError: An argument is of the wrong kind.
        ValueError: An argument is out of range, ``cell`` is unknown, or more questions are asked
            for than exist (one digit has 55).
    """
    name = "train_addition"
    digits = integer(name, "digits", digits, 1, MOST_DIGITS)
    units = integer(name, "units", units, 1)
    layers = integer(name, "layers", layers, 1)
    epochs = integer(name, "epochs", epochs, 0)
    verbose = verbosity(name, verbose)
    samples = integer(name, "samples", samples, 0)
    recurrent = cell_class(name, cell)
    few = digits <= 2
    if batch_size is None:
        batch_size = FEW_BATCH_SIZE if few else BATCH_SIZE
    if learning_rate is None:
        learning_rate = FEW_LEARNING_RATE[cell] if few else LEARNING_RATE
    batch_size = integer(name, "batch_size", batch_size, 1)
    share(name, "target_accuracy", target_accuracy)
    positive(name, "learning_rate", learning_rate)
    size = _training_size(name, digits, training_size)

    say = print if verbose else silent
    say("Generating data...")
    data = _data(name, digits, size, invert, seed)
    say(f"Total addition questions: {size}")
    say(f"Training data: {data.x_train.shape} -> {data.y_train.shape}")
    say(f"Validation data: {data.x_val.shape} -> {data.y_val.shape}")

    if seed is not None:
        fastseq.set_seed(seed)
    model = _model(digits, recurrent, units, layers)
    model.compile(
        loss="categorical_crossentropy",
        optimizer=fastseq.optimizers.Adam(learning_rate=learning_rate, use_ema=use_ema),
        metrics=["accuracy"],
    )
    if verbose:
        model.summary()

    after_epoch = _AfterEpoch(data, invert, samples if verbose else 0, target_accuracy, seed)
    answering = [SwapEMAWeights(swap_on_epoch=True)] if use_ema else []
    history, seconds, interrupted = fitted(
        model,
        say,
        data.x_train,
        data.y_train,
        batch_size=batch_size,
        epochs=epochs,
        validation_data=(data.x_val, data.y_val),
        callbacks=[*answering, after_epoch],
        verbose=verbose,
    )

    accuracy, exact = _score(model, data)
    result = AdditionResult(
        model=model,
        history=history,
        table=data.table,
        accuracy=accuracy,
        exact_match=exact,
        epochs=len(history.epoch),
        seconds=seconds,
        interrupted=interrupted,
        configuration={
            "digits": digits,
            "cell": cell,
            "units": units,
            "layers": layers,
            "training_size": size,
            "invert": bool(invert),
            "batch_size": batch_size,
            "epochs": epochs,
            "target_accuracy": target_accuracy,
            "seed": seed,
            "learning_rate": learning_rate,
            "use_ema": bool(use_ema),
        },
    )
    say(result)
    return result


def _training_size(name: str, digits: int, training_size: int | None) -> int:
    if training_size is None:
        return TRAINING_SIZES.get(digits, LARGEST_TRAINING_SIZE)
    size = integer(name, "training_size", training_size, 10)  # fewer would leave nothing to validate on
    numbers = 10**digits
    existing = numbers * (numbers + 1) // 2
    if size > existing:
        raise ValueError(
            f"{name}: training_size must be at most {existing}, all the questions that "
            f"{digits} digit{'s' * (digits > 1)} can ask, got {size}"
        )
    return size


def _data(name: str, digits: int, training_size: int | None, invert: bool, seed: int | None) -> AdditionData:
    size = _training_size(name, digits, training_size)
    rng = np.random.default_rng(seed)
    pairs = _pairs(size, digits, rng)
    pairs = pairs[rng.permutation(size)]  # late questions are almost all long ones
    table = CharacterTable(CHARS)
    asked = [f"{a}+{b}" for a, b in pairs.tolist()]
    sums = [str(s) for s in pairs.sum(axis=1).tolist()]
    x = table.encode(_padded(asked, 2 * digits + 1, invert), 2 * digits + 1)
    y = table.encode(_padded(sums, digits + 1, False), digits + 1)
    split = size - size // 10
    return AdditionData(x[:split], y[:split], x[split:], y[split:], table)


def _pairs(size: int, digits: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """The first ``size`` different pairs of an endless draw, (size, 2), in the order they came."""
    return _raced(size, digits, rng) if digits <= 3 else _drawn(size, digits, rng)


def _drawn(size: int, digits: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """By drawing until there are enough."""
    powers = 10 ** np.arange(1, digits + 1, dtype=np.int64)
    pairs = np.empty((0, 2), np.int64)
    while len(pairs) < size:
        draw = min(2 * size, 4_000_000)
        # a uniform number below 10**n is n random digits with their leading zeros gone
        fresh = rng.integers(0, powers[rng.integers(0, digits, (draw, 2))])
        pairs = np.concatenate([pairs, fresh])
        small, large = pairs.min(axis=1), pairs.max(axis=1)
        order = np.lexsort((large, small))  # stable: of equal pairs the earliest comes first
        small, large = small[order], large[order]
        first = np.ones(len(order), bool)
        first[1:] = (small[1:] != small[:-1]) | (large[1:] != large[:-1])
        pairs = pairs[np.sort(order[first])]
    return pairs[:size]


def _raced(size: int, digits: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """By the same law without drawing, which would take ages to meet the last of few questions.

    In a draw at random times, a pair of chance p is first met after an exponential time of mean 1/p.
    """
    numbers = np.arange(10**digits)
    powers = 10 ** np.arange(1, digits + 1)
    chance = ((numbers[:, None] < powers) / powers).sum(axis=1) / digits
    small, large = np.triu_indices(len(numbers))
    chances = chance[small] * chance[large] * np.where(small == large, 1, 2)
    first_met = rng.exponential(size=len(small)) / chances
    pairs = np.stack([small, large], axis=1)[np.argsort(first_met)[:size]]
    return rng.permuted(pairs, axis=1)  # either order is as likely


def _padded(texts: list[str], length: int, invert: bool) -> list[str]:
    step = -1 if invert else 1
    return [text.ljust(length)[::step] for text in texts]


def _model(digits: int, recurrent: Any, units: int, layers: int) -> Sequential:
    chars = len(set(CHARS))
    model = Sequential()
    model.add(keras_layers.Input((2 * digits + 1, chars)))
    model.add(recurrent(units))
    model.add(keras_layers.RepeatVector(digits + 1))
    for _ in range(layers):
        model.add(recurrent(units, return_sequences=True))
    model.add(keras_layers.TimeDistributed(keras_layers.Dense(chars)))
    model.add(keras_layers.Activation("softmax"))
    return model


def _score(model: Sequential, data: AdditionData) -> tuple[float, float]:
    right = model.predict(data.x_val, verbose=0).argmax(axis=-1) == data.y_val.argmax(axis=-1)
    return float(right.mean()), float(right.all(axis=-1).mean())


class _AfterEpoch(Callback):
    """Shows a few validation questions and what the model answers; ends the training at the target."""

    def __init__(
        self, data: AdditionData, invert: bool, samples: int, target: float | None, seed: int | None
    ) -> None:
        super().__init__()
        self.data, self.invert, self.samples, self.target = data, invert, samples, target
        self.random = np.random.default_rng(seed)  # its own: showing questions must not change the training

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if self.samples:
            self.show(self.random.integers(0, len(self.data.x_val), self.samples))
        if self.target is not None and logs and logs["val_accuracy"] >= self.target:
            self.model.stop_training = True

    def show(self, which: NDArray[np.int64]) -> None:
        x, y = self.data.x_val[which], self.data.y_val[which]
        decode = self.data.table.decode
        guesses = decode(self.model.predict(x, verbose=0))
        for question, answer, guess in zip(decode(x), decode(y), guesses, strict=True):
            asked = question[::-1] if self.invert else question
            print("Q", asked, "T", answer, tick(answer == guess, sys.stdout), guess)


def _question(name: str, question: str, digits: int) -> str:
    """The question as the model was trained on it: no spaces, no leading zeros."""
    match = re.fullmatch(r"\s*([0-9]+)\s*\+\s*([0-9]+)\s*", question)
    if not match or max(len(n.lstrip("0")) for n in match.groups()) > digits:
        raise ValueError(
            f"{name}: questions must be two numbers of at most {digits} "
            f"digit{'s' * (digits > 1)} and a plus, such as '{10**digits - 1}+1', got {question!r}"
        )
    return "+".join(n.lstrip("0") or "0" for n in match.groups())
