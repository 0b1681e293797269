"""The networks of the translation recipe, what they read, and the search for what they write."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastseq import layers
from fastseq.models import Model
from fastseq.text import CharacterTable
from fastseq.utils import PyDataset

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["END", "START", "Buckets", "Texts", "Translator", "texts_of_pairs"]

START, END = "\t", "\n"  # of a target, as in the Keras example
POOL = 16  # batches whose pairs are drawn together: few steps of padding are left, and the order stays random


class Texts(NamedTuple):
    """Texts as the network reads them; targets are a character later than the decoder's inputs."""

    encoder: NDArray[Any]
    decoder: NDArray[Any]
    target: NDArray[Any]


def _read(table: CharacterTable, texts: Sequence[str], longest: int, embedding: int) -> NDArray[Any]:
    """One-hot characters, 0 after a text's end; for an Embedding ids from 1, and 0 there."""
    return table.indices(texts, longest) + 1 if embedding else table.encode(texts, longest)


def texts_of_pairs(
    pairs: Sequence[tuple[str, str]],
    source: CharacterTable,
    target: CharacterTable,
    ragged: bool,
    embedding: int = 0,
) -> Texts:
    """The pairs as arrays, padded to the longest.

    Where ``ragged``, the end of a target is not fed: nothing is wanted after it. Targets are one-hot then,
    or classes.
    """
    spelled = [START + text + END for _, text in pairs]
    fed = [text[:-1] for text in spelled] if ragged else spelled
    longest = max(map(len, fed))
    later = [text[1:] for text in spelled]
    return Texts(
        _read(source, [text for text, _ in pairs], max(1, *(len(text) for text, _ in pairs)), embedding),
        _read(target, fed, longest, embedding),
        target.indices(later, longest, fill=0) if ragged else np.asarray(target.encode(later, longest)),
    )


class Buckets(PyDataset):
    """Ragged pairs in batches of similar lengths, each padded to its own longest.

    Batches are weighted by their characters, so that the mean of their losses is that of all characters.

    Args:
        pairs: The pairs.
        source: The characters of sources.
        target: The characters of targets.
        embedding: As of the Translator.
        batch_size: Pairs in a batch.
        seed: Of the draw of batches, another one each epoch; None for one that cannot be repeated.
    """

    def __init__(
        self,
        pairs: Sequence[tuple[str, str]],
        source: CharacterTable,
        target: CharacterTable,
        embedding: int,
        batch_size: int,
        seed: int | None,
    ) -> None:
        super().__init__()
        self._pairs, self._tables = list(pairs), (source, target)
        self._embedding, self._batch_size = embedding, batch_size
        self._random = np.random.default_rng(seed)
        # a target's length first: that of its end included
        self._lengths = np.array([(len(text) + 1, len(asked)) for asked, text in pairs])
        self._batches: list[NDArray[np.intp]] = []
        self.on_epoch_begin()

    def on_epoch_begin(self) -> None:
        """Draws new batches."""
        order = self._random.permutation(len(self._pairs))
        pool = POOL * self._batch_size
        parts = [order[begin : begin + pool] for begin in range(0, len(order), pool)]
        parts = [part[np.lexsort(self._lengths[part].T[::-1])] for part in parts]
        cuts = [np.arange(self._batch_size, len(part), self._batch_size) for part in parts]
        self._batches = [
            batch for part, cut in zip(parts, cuts, strict=True) for batch in np.split(part, cut)
        ]

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, index: int) -> tuple[list[Any], Any, Any]:
        rows = self._batches[index]
        texts = texts_of_pairs([self._pairs[row] for row in rows], *self._tables, True, self._embedding)
        weight = self._lengths[rows, 0].mean() / self._lengths[:, 0].mean()
        return [texts.encoder, texts.decoder], texts.target, np.full(len(rows), weight, np.float32)


class Translator:
    """The training model, and the two that translate, of the same layers.

    Args:
        cell: The class of the recurrent layers.
        units: Of each.
        source: The characters of sources.
        target: The characters of targets, ``START`` and ``END`` among them.
        ragged: Whether steps without a character do not count.
        attention: Whether the decoder's outputs attend to all of the encoder's (Luong et al., 2015,
            https://arxiv.org/abs/1508.04025: dot products, and a tanh layer over both).
        embedding: How many features a character is embedded in; 0 for one-hot characters.
    """

    def __init__(
        self,
        cell: Any,
        units: int,
        source: CharacterTable,
        target: CharacterTable,
        ragged: bool,
        attention: bool = False,
        embedding: int = 0,
    ) -> None:
        self.source, self.target = source, target
        self._embedding = embedding
        encoder = cell(
            units,
            return_sequences=attention,
            return_state=True,
            zero_output_for_mask=attention and ragged,  # by which the step's model knows them
        )
        decoder = cell(units, return_sequences=True, return_state=True)
        attend, join = layers.Attention(), layers.Concatenate()
        attentional = layers.Dense(units, activation="tanh")
        dense = layers.Dense(len(target), activation="softmax")
        embed = [
            layers.Embedding(1 + len(table), embedding, mask_zero=ragged) if embedding
            else layers.Masking(0.0) if ragged
            else None
            for table in (source, target)
        ]  # fmt: skip

        def read(which: int, steps: int | None) -> tuple[Any, Any]:
            table = (source, target)[which]
            given = layers.Input((steps,) if embedding else (steps, len(table)))
            layer = embed[which]
            return given, given if layer is None or (steps == 1 and not embedding) else layer(given)

        def probabilities(written: Any, memory: Sequence[Any]) -> Any:
            if memory:
                written = attentional(join([written, attend([written, *memory])]))
            return dense(written)

        (sources, characters), (targets, spelled) = read(0, None), read(1, None)
        sequence, *states = encoder(characters)
        memory = [sequence] if attention else []
        written, *_ = decoder(spelled, initial_state=states)
        self.training = Model([sources, targets], probabilities(written, memory))
        self.encoder = Model(sources, [*states, *memory])
        one, character = read(1, 1)
        before = [layers.Input((units,)) for _ in states]
        remembered = [layers.Input((None, units)) for _ in memory]
        written, *after = decoder(character, initial_state=before)
        seen = [layers.Masking(0.0)(sequence) if ragged else sequence for sequence in remembered]
        self.step = Model([one, *before, *remembered], [probabilities(written, seen), *after])

    def read(self, texts: Sequence[str], longest: int) -> NDArray[Any]:
        """Sources as the network reads them, (texts, longest, ...)."""
        return _read(self.source, texts, longest, self._embedding)

    def search(self, encoded: NDArray[Any], beam_width: int, longest: int) -> list[str]:
        """The most probable target of each source that a beam search finds; width 1 is the greedy one.

        All sources and all beams take each step together.

        Args:
            encoded: What ``read`` gave.
            beam_width: How many beginnings are followed.
            longest: The most characters of a target.
        """
        batch, classes = len(encoded), len(self.target)
        if not batch:
            return []
        rows = np.arange(batch)[:, None]
        found = self.encoder.predict(encoded, verbose=0)
        found = [np.repeat(part, beam_width, axis=0) for part in found]
        count = len(self.step.outputs) - 1
        states, memory = found[:count], found[count:]
        end = self.target.char_indices[END]
        scores = np.full((batch, beam_width), -np.inf)
        scores[:, 0] = 0
        spelled = np.full((batch, beam_width, 1), self.target.char_indices[START])
        ended = np.zeros((batch, beam_width), bool)
        fed = np.arange(1, classes + 1)[:, None] if self._embedding else np.eye(classes, dtype=np.float32)
        while spelled.shape[2] <= longest and not ended.all():
            last = fed[spelled[:, :, -1].reshape(-1)]
            last = last if self._embedding else last[:, None]
            probabilities, *states = self.step.predict_on_batch([last, *states, *memory])
            with np.errstate(divide="ignore"):
                gains = np.log(probabilities.reshape(batch, beam_width, classes).astype(np.float64))
            gains[ended] = -np.inf  # what has ended stays as it is
            gains[ended, end] = 0
            totals = (scores[:, :, None] + gains).reshape(batch, -1)
            if beam_width == 1:
                best = totals.argmax(axis=1)[:, None]
            else:
                best = np.argsort(-totals, axis=1, kind="stable")[:, :beam_width]
            parents, chosen = np.divmod(best, classes)
            scores = np.take_along_axis(totals, best, axis=1)
            spelled = np.concatenate([spelled[rows, parents], chosen[:, :, None]], axis=2)
            ended = ended[rows, parents] | (chosen == end)
            if beam_width > 1:  # else every row is its own parent
                kept = (rows * beam_width + parents).reshape(-1)
                states = [state[kept] for state in states]
        texts = self.target.decode(spelled[:, 0, 1:], calc_argmax=False)
        return [text.split(END, 1)[0] for text in texts]
