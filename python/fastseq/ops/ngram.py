"""N-gram language models, read from ARPA files, for the probability of sentences and for CTC decoding."""

from __future__ import annotations

import gzip
import math
import os
import re
import zlib
from collections.abc import Iterable
from typing import Any, BinaryIO

from fastseq import _core
from fastseq._arrays import describe, message

__all__ = ["NgramModel"]

PIECE = 1 << 20  # bytes of a file that are read at a time


class NgramModel:
    """A back-off n-gram language model of words or characters, read from an ARPA file.

    P(word | history) is the file's where it lists the history's end with the word; else it is the
    back-off weight of that end, 1 where the file gives none, times P(word | one word less of it).

    Words that the file does not list are its ``<unk>`` (or ``<UNK>``). Where it has none, they have
    probability 1e-100 times back-off weights, as in KenLM, and what follows them has no context.
    Numbers are kept in single precision.

    Args:
        path: The file, text in UTF-8; one whose name ends in ``.gz`` is unpacked as it is read.

    Attributes:
        order: The length of the longest n-grams.
        counts: How many n-grams of 1, 2, ..., ``order`` words the file lists.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is not what an ARPA file must be; the text names the rule and the line.

    Source:
        Katz (1987), https://doi.org/10.1109/TASSP.1987.1165125; the format is SRILM's ngram-format(5).
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        try:
            name = os.fspath(path)
        except TypeError:
            name = None
        if not isinstance(name, str):
            raise TypeError(message("NgramModel", "path", "be a path", describe(path)))
        size = os.path.getsize(name)
        with open(name, "rb") as file:
            if name.endswith(".gz"):  # text shrinks to a quarter or so
                self._model = _read(gzip.GzipFile(fileobj=file), 4 * size)
            else:
                self._model = _read(file, size)
        self._words: tuple[str, ...] | None = None

    @property
    def order(self) -> int:
        return self._model.order

    @property
    def counts(self) -> tuple[int, ...]:
        return tuple(self._model.counts)

    @property
    def words(self) -> tuple[str, ...]:
        """All words, in the order of the file, with ``<s>``, ``</s>`` and ``<unk>`` where it lists them."""
        if self._words is None:
            self._words = tuple(self._model.words())
        return self._words

    def __contains__(self, word: object) -> bool:
        return isinstance(word, str) and self._model.find(word) >= 0

    def __repr__(self) -> str:
        return f"NgramModel(order={self.order}, counts={self.counts})"

    def score(self, words: str | Iterable[str], *, bos: bool = True, eos: bool = True) -> float:
        """The natural logarithm of a sentence's probability.

        Args:
            words: The words, or a string of them with blanks between. A character model takes
                ``list(text)``.
            bos: The sentence begins here: the first word follows ``<s>``, if the model lists it.
            eos: The sentence ends here: ``</s>`` counts too, if the model lists it.
        Raises:
            TypeError: Not a string or strings.
        """
        return self._model.score(_sentence(words), bos, eos)

    def perplexity(self, sentences: Iterable[str | Iterable[str]]) -> float:
        """exp of minus the mean log-probability of a word, ``</s>`` of every sentence included.

        Args:
            sentences: What ``score`` takes, any number of them.
        Raises:
            TypeError: A sentence is neither a string nor strings, or all together are one string.
            ValueError: There is no word in them.
        """
        function = "NgramModel.perplexity"
        if isinstance(sentences, str):
            raise TypeError(message(function, "sentences", "be a list of sentences", describe(sentences)))
        ends = "</s>" in self
        total, count = 0.0, 0
        for sentence in sentences:
            words = _sentence(sentence)
            total += self._model.score(words, True, True)
            count += len(words) + ends
        if count == 0:
            raise ValueError(message(function, "sentences", "hold a word", "none"))
        return math.exp(-total / count)


def _read(file: BinaryIO | gzip.GzipFile, size: int) -> _core.Ngram:
    reader = _core.ArpaReader(size)
    try:
        while (piece := file.read(PIECE)) and not reader.feed(piece):
            pass
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(message("NgramModel", "file", "be whole as a .gz", str(error))) from None
    return reader.finish()


def _sentence(words: Any) -> list[str]:
    if isinstance(words, str):
        return re.findall(r"[^ \t\r\n]+", words)  # as in the file, where a no-break space is a letter
    try:
        return list(words)
    except TypeError:
        raise TypeError(message("NgramModel", "words", "be strings", describe(words))) from None
