"""Learns to translate character by character, the Keras example lstm_seq2seq whole, and then translates.

Sutskever, Vinyals, Le (2014), https://arxiv.org/abs/1409.3215; Cho et al. (2014),
https://arxiv.org/abs/1406.1078.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, overload

import numpy as np

import fastseq
from fastseq import metrics
from fastseq.callbacks import Callback, History
from fastseq.models import Model
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
from fastseq.recipes.dates import date_pairs
from fastseq.recipes.translator import END, START, Buckets, Translator, texts_of_pairs
from fastseq.text import CharacterTable

__all__ = ["TranslationResult", "read_pairs", "train_translation"]

SCORED = 256  # padded pairs scored at once
EXAMPLE_SIZE = 10_000  # pairs the example reads


def read_pairs(path: str | os.PathLike[str], most: int | None = None) -> list[tuple[str, str]]:
    """Pairs of texts from a UTF-8 file: one a line, split by a tab; further columns are left out.

    Args:
        path: The file.
        most: Lines to read; None for all.
    Raises:
        OSError: The file cannot be read.
        ValueError: It is no text in UTF-8, or a line has no tab.
    """
    pairs: list[tuple[str, str]] = []
    try:
        with open(path, encoding="utf-8", newline="\n") as lines:
            for number, line in enumerate(lines, start=1):
                if len(pairs) == most:
                    break
                columns = line.rstrip("\r\n").split("\t")
                if columns == [""]:
                    continue
                if len(columns) < 2:
                    rule = "have two texts a line, split by a tab"
                    raise ValueError(f"read_pairs: path must {rule}, got one in line {number}")
                pairs.append((columns[0], columns[1]))
    except UnicodeDecodeError as error:
        raise ValueError(f"read_pairs: path must hold text in UTF-8, got {error.reason}") from None
    return pairs


@dataclass
class TranslationResult:
    """What ``train_translation`` learnt.

    Attributes:
        model: The trained model: one-hot sources and targets so far, to probabilities of what comes next.
        history: Its History: loss, accuracy, val_loss and val_accuracy of each epoch; where the texts are
            ragged, the losses are means over all characters that are there.
        source: The CharacterTable of sources.
        target: That of targets, with a character before the first and one after the last.
        loss_per_character: Validation loss, in nats, over the characters that are there.
        character_error_rate: Of the greedy translations of the validation sources.
        exact_match: Share of them that are right as a whole.
        epochs: Epochs finished.
        seconds: What they took, validation included.
        interrupted: Whether Ctrl-C ended the training.
        configuration: The arguments of ``train_translation``, defaults filled in, and the longest texts.
    """

    model: Model
    history: History
    source: CharacterTable
    target: CharacterTable
    loss_per_character: float
    character_error_rate: float
    exact_match: float
    epochs: int
    seconds: float
    interrupted: bool = False
    configuration: dict[str, Any] = field(default_factory=dict)
    _translator: Any = None

    @overload
    def translate(self, texts: str, beam_width: int = 1) -> str: ...  # type: ignore[overload-overlap]

    @overload
    def translate(self, texts: Sequence[str], beam_width: int = 1) -> list[str]: ...

    def translate(self, texts: str | Sequence[str], beam_width: int = 1) -> str | list[str]:
        """The translation of a text, or of each of a list of them, all at once.

        Args:
            texts: One string or a list of them.
            beam_width: How many beginnings are followed; 1 takes the most probable character each time.
        Raises:
            TypeError: ``texts`` is neither a string nor a list of strings.
            ValueError: A text holds a character that was never seen, or, of a model that is not ragged,
                is longer than any that was.
        """
        name = "TranslationResult.translate"
        width = integer(name, "beam_width", beam_width, 1)
        listed = texts_of(name, "texts", texts)
        for text in listed:
            self._check(name, text)
        c = self.configuration
        longest = c["longest_source"]
        if c["ragged"]:
            longest = max(map(len, listed), default=0)
        encoded = self._translator.read(listed, max(longest, 1))
        found = self._translator.search(encoded, width, c["longest_target"])
        return found[0] if isinstance(texts, str) else list(found)

    @property
    def example(self) -> str:
        """A source it was not trained on."""
        return str(self.configuration["example"])

    def _check(self, name: str, text: str) -> None:
        for character in text:
            if character not in self.source.char_indices:
                rule = f"hold only {''.join(self.source.chars)!r}"
                raise ValueError(f"{name}: texts must {rule}, got {character!r}")
        most = self.configuration["longest_source"]
        if not self.configuration["ragged"] and len(text) > most:
            rule = f"be at most {most} characters long, as in training"
            raise ValueError(f"{name}: texts must {rule}, got {text!r} with {len(text)}")

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the weights, the history and the configuration into one safetensors file."""
        kept = {name: getattr(self, name) for name in _KEPT}
        tables = {"source": "".join(self.source.chars), "target": "".join(self.target.chars)}
        save_result(path, "translation", self.model, {**kept, **tables})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> TranslationResult:
        """The result that ``save`` wrote, ready to translate.

        Raises:
            OSError: The file cannot be read.
            ValueError: It holds no translation model.
        """
        name = "TranslationResult.load"
        weights, kept = load_result(name, path, "translation")
        c = kept["configuration"]
        source, target = CharacterTable(kept.pop("source")), CharacterTable(kept.pop("target"))
        translator = Translator(
            cell_class(name, c["cell"]),
            c["units"],
            source,
            target,
            c["ragged"],
            c["attention"],
            c["embedding"],
        )
        history = restore(translator.training, weights, kept)
        return cls(translator.training, history, source, target, _translator=translator, **kept)

    def plot(self, path: str | os.PathLike[str]) -> None:
        """Draws loss and accuracy over the epochs into an image file.

        Raises:
            RuntimeError: matplotlib is not installed.
        """
        c = self.configuration
        title = f"Translation of {c['path'] or 'dates'}, {c['cell']} {c['units']}"
        plot_history("TranslationResult.plot", self.history, ("loss", "accuracy"), title, path)

    def __str__(self) -> str:
        c = self.configuration
        return (
            f"{c['path'] or 'dates'}, {c['cell']} {c['units']}{' with attention' * c['attention']}: "
            f"loss {self.loss_per_character:.3f} a character, "
            f"{100 * self.character_error_rate:.2f} % of characters wrong and "
            f"{100 * self.exact_match:.2f} % of translations right after {self.epochs} "
            f"epoch{'s' * (self.epochs != 1)}, {self.seconds:.1f} s"
        )


_KEPT = (
    "character_error_rate", "configuration", "epochs", "exact_match", "interrupted", "loss_per_character",
    "seconds",
)  # fmt: skip


def train_translation(
    path: str | os.PathLike[str] | None = None,
    units: int = 256,
    cell: str = "lstm",
    attention: bool = False,
    ragged: bool = True,
    training_size: int | None = None,
    batch_size: int = 64,
    epochs: int = 100,
    target_exact_match: float | None = None,
    seed: int | None = 0,
    verbose: int = 1,
    *,
    embedding: int = 0,
    learning_rate: float = 0.001,
    samples: int = 5,
) -> TranslationResult:
    """Trains an encoder and a decoder of characters on pairs of texts, with teacher forcing.

    After each epoch a few validation sources are printed with their translation and a tick. Ctrl-C ends
    the training early and returns what was learnt so far.

    Args:
        path: A file of pairs, one a line, split by a tab; None for dates as people write them, to be
            written as in ISO 8601.
        units: Of the encoder and of the decoder.
        cell: "gru", "lstm" or "simple_rnn".
        attention: Whether the decoder attends to all outputs of the encoder instead of its last states
            alone, from which it still starts.
        ragged: Steps after a text's end are not computed, and count in no loss; batches are of texts of
            similar lengths, drawn anew for each epoch. False is the Keras
            example to the letter: padded sources are read to their end, and padded targets add nothing
            to the loss but count in its mean.
        training_size: Pairs, the last fifth of them for validation; None for the example's 10,000, or as
            many as the file has.
        batch_size: Pairs per step.
        epochs: The most epochs to train.
        target_exact_match: Share of validation translations right as a whole at which to stop; None for
            0.99 for dates, and for using every epoch with a file.
        seed: Of dates, initial weights and shuffling; None for a new one each time.
        verbose: 0 prints nothing, 1 a progress bar for each epoch, 2 one line for each epoch.
        embedding: How many features a character is embedded in; 0 for one-hot characters.
        learning_rate: Of RMSprop.
        samples: How many translations to show after each epoch.

    Returns:
        A TranslationResult: ``.model``, ``.history``, ``.exact_match``, ``.loss_per_character``, and
        ``.translate("the 3rd of May 1994")``, which answers "1994-05-03".

    Raises:
        OSError: The file cannot be read.
        TypeError: An argument is of the wrong kind.
        ValueError: An argument is out of range, ``cell`` is unknown, or the file holds fewer than 10
            pairs or a line without a tab.
    """
    name = "train_translation"
    units = integer(name, "units", units, 1)
    batch_size = integer(name, "batch_size", batch_size, 1)
    epochs = integer(name, "epochs", epochs, 0)
    verbose = verbosity(name, verbose)
    samples = integer(name, "samples", samples, 0)
    recurrent = cell_class(name, cell)
    embedding = integer(name, "embedding", embedding, 0)
    attention, ragged = bool(attention), bool(ragged)
    positive(name, "learning_rate", learning_rate)
    if target_exact_match is None and path is None:
        target_exact_match = 0.99
    share(name, "target_exact_match", target_exact_match)
    size = EXAMPLE_SIZE if training_size is None else integer(name, "training_size", training_size, 10)
    pairs = date_pairs(size, seed) if path is None else read_pairs(path, size)
    if len(pairs) < 10:
        raise ValueError(f"{name}: path must hold at least 10 pairs, got {len(pairs)}")

    say = print if verbose else silent
    source = CharacterTable({c for text, _ in pairs for c in text} or " ")
    target = CharacterTable({c for _, text in pairs for c in text} | {START, END})
    longest_source = max(1, *(len(text) for text, _ in pairs))
    longest_target = max(len(START + text + END) for _, text in pairs)
    say(f"Pairs: {len(pairs)}, such as {pairs[-1][0]!r} -> {pairs[-1][1]!r}")
    say(f"Sources: {longest_source} characters at most, of {len(source)}")
    say(f"Targets: {longest_target - 1} characters at most, of {len(target)}, both ends among them")
    if seed is not None:
        fastseq.set_seed(seed)
    translator = Translator(recurrent, units, source, target, ragged, attention, embedding)
    model = translator.training
    model.compile(
        optimizer=fastseq.optimizers.RMSprop(learning_rate),
        loss="sparse_categorical_crossentropy" if ragged else "categorical_crossentropy",
        metrics=["accuracy"],
    )
    if verbose:
        model.summary()
    held = len(pairs) - len(pairs) // 5
    result = TranslationResult(
        model, History(), source, target, float("nan"), float("nan"), 0.0, 0, 0.0,
        configuration={
            "path": None if path is None else os.fspath(path),
            "units": units,
            "cell": cell,
            "attention": attention,
            "embedding": embedding,
            "ragged": ragged,
            "training_size": len(pairs),
            "batch_size": batch_size,
            "epochs": epochs,
            "target_exact_match": target_exact_match,
            "seed": seed,
            "learning_rate": learning_rate,
            "longest_source": longest_source,
            "longest_target": longest_target,
            "example": pairs[-1][0],
        },
        _translator=translator,
    )  # fmt: skip
    trained, scored = _batches(pairs, held, translator, ragged, embedding, batch_size, seed)
    after_epoch = _AfterEpoch(result, pairs[held:], samples if verbose else 0, target_exact_match, seed)
    result.history, result.seconds, result.interrupted = fitted(
        model,
        say,
        *trained,
        batch_size=None if ragged else batch_size,
        epochs=epochs,
        validation_data=scored[0] if ragged else scored,
        callbacks=[after_epoch],
        verbose=verbose,
    )
    result.epochs = len(result.history.epoch)
    _score(result, pairs[held:], *scored)
    say(result)
    return result


def _batches(
    pairs: Sequence[tuple[str, str]], held: int, translator: Translator, ragged: bool, embedding: int,
    batch_size: int, seed: int | None,
) -> list[tuple[Any, Any]]:  # fmt: skip
    """(x, y) as ``fit`` takes them, of the pairs before ``held`` and of those from there on."""
    tables = translator.source, translator.target
    if ragged:
        return [(Buckets(part, *tables, embedding, batch_size, seed), None)
                for part in (pairs[:held], pairs[held:])]  # fmt: skip
    texts = texts_of_pairs(pairs, *tables, False, embedding)  # padded to the longest of all
    return [([texts.encoder[part], texts.decoder[part]], texts.target[part])
            for part in (slice(None, held), slice(held, None))]  # fmt: skip


def _score(result: TranslationResult, pairs: Sequence[tuple[str, str]], x: Any, y: Any) -> None:
    """Fills in how good the model is on the validation pairs, which ``x`` and ``y`` were made of."""
    batch_size = None if y is None else SCORED
    loss = result.model.evaluate(x, y, batch_size=batch_size, verbose=0)[0]
    if y is not None:  # the mean is over padding too
        loss *= y.shape[0] * y.shape[1] / y.sum()
    result.loss_per_character = float(loss)
    wanted = [text for _, text in pairs]
    found = result.translate([text for text, _ in pairs])
    result.character_error_rate = float(metrics.character_error_rate(wanted, found))
    result.exact_match = float(metrics.exact_match(wanted, found))


class _AfterEpoch(Callback):
    """Shows a few validation pairs and what the model makes of them; ends the training at the target."""

    def __init__(
        self,
        result: TranslationResult,
        pairs: Sequence[tuple[str, str]],
        samples: int,
        target: float | None,
        seed: int | None,
    ) -> None:
        super().__init__()
        self.result, self.pairs, self.samples, self.target = result, pairs, samples, target
        self.random = np.random.default_rng(seed)  # its own: showing pairs must not change the training

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if self.target is not None:
            found = self.result.translate([text for text, _ in self.pairs])
            right = [a == b for a, (_, b) in zip(found, self.pairs, strict=True)]
            if np.mean(right) >= self.target:
                self.model.stop_training = True
        if self.samples:
            chosen = [self.pairs[k] for k in self.random.integers(0, len(self.pairs), self.samples)]
            answers = self.result.translate([text for text, _ in chosen])
            for (text, wanted), answer in zip(chosen, answers, strict=True):
                print(f"{text}  T {wanted}", tick(wanted == answer, sys.stdout), answer)
