"""Learns to translate character by character, the Keras example lstm_seq2seq whole, and then translates.

Sutskever, Vinyals, Le (2014), https://arxiv.org/abs/1409.3215; Cho et al. (2014),
https://arxiv.org/abs/1406.1078.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, overload

import numpy as np

import fastseq
from fastseq import layers, metrics
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
from fastseq.text import CharacterTable

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["TranslationResult", "read_pairs", "train_translation"]

START, END = "\t", "\n"  # of a target, as in the example
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


class _Data(NamedTuple):
    """One-hot texts, 0 after their ends. Targets are one character later than the decoder's inputs."""

    encoder: NDArray[np.bool_]
    decoder: NDArray[np.bool_]
    target: NDArray[np.bool_]


def _encoded(
    pairs: Sequence[tuple[str, str]], source: CharacterTable, target: CharacterTable, ragged: bool
) -> _Data:
    """The pairs as arrays; where ``ragged``, the end of a target is not fed: nothing is wanted after it."""
    spelled = [START + text + END for _, text in pairs]
    encoder = source.encode([text for text, _ in pairs], max(len(a) for a, _ in pairs))
    decoder = target.encode(spelled, max(map(len, spelled)))
    later = np.zeros_like(decoder)
    later[:, :-1] = decoder[:, 1:]
    if ragged:
        decoder[:, :, target.char_indices[END]] = False
    return _Data(encoder, decoder, later)


class _Network:
    """The training model, and the two that translate, of the same layers.

    Args:
        cell: The class of the recurrent layers.
        units: Of each.
        source: Number of source characters.
        target: Number of target characters.
        ragged: Whether steps without a character do not count.
    """

    def __init__(self, cell: Any, units: int, source: int, target: int, ragged: bool) -> None:
        encoder_input, decoder_input = layers.Input((None, source)), layers.Input((None, target))
        encoder = cell(units, return_state=True)
        decoder = cell(units, return_sequences=True, return_state=True)
        dense = layers.Dense(target, activation="softmax")
        read = [layers.Masking(0.0)(x) if ragged else x for x in (encoder_input, decoder_input)]
        _, *states = encoder(read[0])
        sequence, *_ = decoder(read[1], initial_state=states)
        self.training = Model([encoder_input, decoder_input], dense(sequence))
        self.encoder = Model(encoder_input, states)
        one = layers.Input((1, target))
        before = [layers.Input((units,)) for _ in states]
        output, *after = decoder(one, initial_state=before)
        self.step = Model([one, *before], [dense(output), *after])

    def search(
        self, encoded: NDArray[np.bool_], table: CharacterTable, beam_width: int, longest: int
    ) -> list[str]:
        """The most probable target of each source that a beam search finds; width 1 is the greedy one.

        All sources and all beams take each step together.
        """
        batch, classes = len(encoded), len(table)
        rows = np.arange(batch)[:, None]
        states = [
            np.repeat(state, beam_width, axis=0) for state in self.encoder.predict(encoded, verbose=0)
        ] if batch else []  # fmt: skip
        end = table.char_indices[END]
        scores = np.full((batch, beam_width), -np.inf)
        scores[:, 0] = 0
        spelled = np.full((batch, beam_width, 1), table.char_indices[START])
        ended = np.zeros((batch, beam_width), bool)
        one_hot = np.eye(classes, dtype=np.float32)
        while batch and spelled.shape[2] <= longest and not ended.all():
            last = one_hot[spelled[:, :, -1].reshape(-1, 1)]
            probabilities, *states = self.step.predict_on_batch([last, *states])
            with np.errstate(divide="ignore"):
                gains = np.log(probabilities.reshape(batch, beam_width, classes).astype(np.float64))
            gains[ended] = -np.inf  # what has ended stays as it is
            gains[ended, end] = 0
            totals = (scores[:, :, None] + gains).reshape(batch, -1)
            best = np.argsort(-totals, axis=1, kind="stable")[:, :beam_width]
            parents, chosen = np.divmod(best, classes)
            scores = np.take_along_axis(totals, best, axis=1)
            spelled = np.concatenate([spelled[rows, parents], chosen[:, :, None]], axis=2)
            ended = ended[rows, parents] | (chosen == end)
            kept = (rows * beam_width + parents).reshape(-1)
            states = [state[kept] for state in states]
        texts = table.decode(spelled[:, 0, 1:], calc_argmax=False) if batch else []
        return [text.split(END, 1)[0] for text in texts]


@dataclass
class TranslationResult:
    """What ``train_translation`` learnt.

    Attributes:
        model: The trained model: one-hot sources and targets so far, to probabilities of what comes next.
        history: Its History: loss, accuracy, val_loss and val_accuracy of each epoch.
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
    _network: Any = None

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
        encoded = self.source.encode(listed, max(longest, 1))
        found = self._network.search(encoded, self.target, width, c["longest_target"])
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
        network = _Network(cell_class(name, c["cell"]), c["units"], len(source), len(target), c["ragged"])
        history = restore(network.training, weights, kept)
        return cls(network.training, history, source, target, _network=network, **kept)

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
            f"{c['path'] or 'dates'}, {c['cell']} {c['units']}: "
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
    ragged: bool = True,
    training_size: int | None = None,
    batch_size: int = 64,
    epochs: int = 100,
    target_exact_match: float | None = None,
    seed: int | None = 0,
    verbose: int = 1,
    *,
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
        ragged: Steps after a text's end are not computed, and count in no loss. False is the Keras
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
    data = _encoded(pairs, source, target, bool(ragged))
    say(f"Pairs: {len(pairs)}, such as {pairs[-1][0]!r} -> {pairs[-1][1]!r}")
    say(f"Sources: {data.encoder.shape[1]} characters at most, of {len(source)}")
    say(f"Targets: {data.decoder.shape[1] - 1} characters at most, of {len(target)}, both ends among them")
    if seed is not None:
        fastseq.set_seed(seed)
    network = _Network(recurrent, units, len(source), len(target), bool(ragged))
    model = network.training
    model.compile(
        optimizer=fastseq.optimizers.RMSprop(learning_rate),
        loss="categorical_crossentropy",
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
            "ragged": bool(ragged),
            "training_size": len(pairs),
            "batch_size": batch_size,
            "epochs": epochs,
            "target_exact_match": target_exact_match,
            "seed": seed,
            "learning_rate": learning_rate,
            "longest_source": data.encoder.shape[1],
            "longest_target": data.decoder.shape[1],
            "example": pairs[-1][0],
        },
        _network=network,
    )  # fmt: skip
    after_epoch = _AfterEpoch(result, pairs[held:], samples if verbose else 0, target_exact_match, seed)
    result.history, result.seconds, result.interrupted = fitted(
        model,
        say,
        [data.encoder[:held], data.decoder[:held]],
        data.target[:held],
        batch_size=batch_size,
        epochs=epochs,
        validation_data=([data.encoder[held:], data.decoder[held:]], data.target[held:]),
        callbacks=[after_epoch],
        verbose=verbose,
    )
    result.epochs = len(result.history.epoch)
    _score(result, pairs[held:], [part[held:] for part in data])
    say(result)
    return result


def _score(result: TranslationResult, pairs: Sequence[tuple[str, str]], data: Sequence[Any]) -> None:
    """Fills in how good the model is on the validation pairs."""
    encoder, decoder, target = data
    loss, _ = result.model.evaluate([encoder, decoder], target, batch_size=256, verbose=0)
    if not result.configuration["ragged"]:  # its mean is over padding too
        loss *= target.shape[0] * target.shape[1] / target.sum()
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
