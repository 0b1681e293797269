"""Painted texts as a dataset: batches of images and labels, harder from one lesson to the next."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastseq.recipes.painter import DRAWS, Painter, style_of
from fastseq.recipes.words import LETTERS, texts_to_read
from fastseq.utils import PyDataset

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["ALPHABET", "LONGEST", "Curriculum", "TextImages", "labels_of", "texts_from"]

ALPHABET = LETTERS + " "  # the class of each character is its place; the blank is the class after the last
SHORT, LONGEST = 4, 12  # characters of a text, at first and in the long texts
LONG_FROM = 21  # the epoch from which texts are long, twice as many, and every other one two words
HELD_OUT = 5  # one text of so many is for validation
LESSONS = (0, 3, 6, 9, LONG_FROM)  # epochs in which something changes
EMPTY = 3 / 32  # share of a batch's images that show nothing

TRAINING, VALIDATION = 1, 2  # what random numbers are drawn for


def labels_of(texts: Sequence[str]) -> NDArray[np.int64]:
    """(texts, LONGEST): the class of each character, -1 after the last."""
    labels = np.full((len(texts), LONGEST), -1, np.int64)
    for row, text in zip(labels, texts, strict=True):
        row[: len(text)] = [ALPHABET.index(character) for character in text]
    return labels


def texts_from(labels: NDArray[np.int64]) -> list[str]:
    """What rows of classes spell; negative ones spell nothing."""
    return ["".join(ALPHABET[k] for k in row if k >= 0) for row in labels.tolist()]


class Curriculum:
    """The texts of every epoch.

    Args:
        count: How many there are at first, the last fifth of them for validation.
        words: The words they are made of; None for made-up ones.
        seed: Of the draw.
    """

    def __init__(self, count: int, words: Sequence[str] | None, seed: int) -> None:
        self.count, self.words, self.seed = count, words, seed
        self._texts: dict[bool, list[str]] = {}

    def texts(self, epoch: int) -> tuple[list[str], list[str]]:
        """Those to train on and those for validation.

        Raises:
            ValueError: There are fewer than ten.
        """
        long = epoch >= LONG_FROM
        if long not in self._texts:
            size, longest, pairs = (2 * self.count, LONGEST, 0.5) if long else (self.count, SHORT, 0.0)
            found = texts_to_read(size, longest, pairs, self.seed, self.words)
            if len(found) < 10:
                rule = f"hold at least 10 words of at most {longest} letters"
                raise ValueError(f"train_ocr: words must {rule}, got {len(found)}")
            self._texts[long] = found
        found = self._texts[long]
        split = len(found) - len(found) // HELD_OUT
        return found[:split], found[split:]

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_texts": {}}  # made again where they are needed, sooner than sent


class TextImages(PyDataset):
    """Batches of (images, labels); the last images of each are empty, so that nothing is read into noise.

    Args:
        painter: Paints them.
        curriculum: Says what is painted.
        batch_size: Images in a batch.
        seed: Of what is left to chance.
        epoch: The number of the epoch it begins with, from 0.
        cache: Whether an image is painted once for all epochs of a lesson, where memory allows it, and not
            anew in each.
        workers: How many processes paint ahead; none: batches are painted when asked for.
    """

    def __init__(
        self, painter: Painter, curriculum: Curriculum, batch_size: int, *, seed: int, epoch: int = 0,
        cache: bool = False, workers: int = 1,
    ) -> None:  # fmt: skip
        size = curriculum.count - curriculum.count // HELD_OUT
        self.cached = cache and size * painter.width * painter.height < _free_memory() // 4
        ahead = workers > 0 and not self.cached
        super().__init__(workers=max(workers, 1) if ahead else 1, use_multiprocessing=ahead)
        self.painter, self.curriculum, self.batch_size = painter, curriculum, batch_size
        self.seed, self.epoch = seed, epoch
        self.empty = round(batch_size * EMPTY)
        self._size = max(size // batch_size, 1) * batch_size
        self._kept: tuple[int, NDArray[np.uint8]] | None = None

    def __len__(self) -> int:
        return self._size // self.batch_size

    def __getitem__(self, index: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        rows = np.arange(index * self.batch_size, (index + 1) * self.batch_size)
        lesson = self.epoch
        if self.cached:
            lesson = max(first for first in LESSONS if first <= self.epoch)
            rows = _order(self.seed, self.epoch, self._size)[rows]
        texts, draws = self._chosen(lesson)
        chosen = [texts[row] for row in rows]
        shown = len(chosen) - self.empty
        chosen[shown:] = [""] * self.empty
        if not self.cached:
            images = self.painter.paint(chosen, draws[rows], style_of(lesson))
        else:
            empty = self.painter.paint(chosen[shown:], draws[rows[shown:]], style_of(lesson))
            images = np.concatenate([self._painted(lesson)[rows[:shown]], empty])
        return inputs_of(images), labels_of(chosen)

    def on_epoch_end(self) -> None:
        self.epoch += 1

    def validation(self, count: int, epoch: int) -> tuple[NDArray[np.float32], list[str]]:
        """The first ``count`` texts held out, painted in the style of the epoch, and they themselves."""
        _, texts = self.curriculum.texts(epoch)
        texts = texts[:count]
        draws = _draws(self.seed, VALIDATION, epoch, len(texts))
        return inputs_of(self.painter.paint(texts, draws, style_of(epoch))), texts

    def _chosen(self, lesson: int) -> tuple[list[str], NDArray[np.float64]]:
        """The text of every image, each about as often as any other, and its random numbers."""
        texts, _ = self.curriculum.texts(lesson)
        places = _order(self.seed, lesson, -(-self._size // len(texts)) * len(texts)) % len(texts)
        draws = _draws(self.seed, TRAINING, lesson, self._size)
        return [texts[k] for k in places[: self._size]], draws

    def _painted(self, lesson: int) -> NDArray[np.uint8]:
        """All images of a lesson."""
        if self._kept is None or self._kept[0] != lesson:
            texts, draws = self._chosen(lesson)
            images = np.empty((self._size, self.painter.height, self.painter.width), np.uint8)
            for at in range(0, self._size, self.batch_size):
                part = slice(at, at + self.batch_size)
                images[part] = self.painter.paint(texts[part], draws[part], style_of(lesson))
            self._kept = lesson, images
        return self._kept[1]


def inputs_of(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Images (count, height, width) as the model takes them: (count, width, height, 1), white is 1."""
    turned = np.ascontiguousarray(images.transpose(0, 2, 1))
    return np.asarray(np.multiply(turned, np.float32(1 / 255), dtype=np.float32)[..., None])


@functools.lru_cache(maxsize=4)
def _draws(seed: int, purpose: int, epoch: int, count: int) -> NDArray[np.float64]:
    return np.random.default_rng([seed, purpose, epoch]).random((count, len(DRAWS)))


@functools.lru_cache(maxsize=4)
def _order(seed: int, epoch: int, count: int) -> NDArray[np.int64]:
    return np.random.default_rng([seed, 0, epoch]).permutation(count)


def _free_memory() -> int:
    """In bytes; where the system does not say, that of a small machine."""
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return 2**32
