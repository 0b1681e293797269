"""N-gram language models, read from ARPA files or trained, for the probability of text and CTC decoding."""

from __future__ import annotations

import gzip
import io
import math
import os
import re
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

from fastseq import _core
from fastseq._arrays import describe, message, number

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

    @classmethod
    def train(
        cls,
        sentences: Iterable[str | Iterable[str]],
        order: int = 3,
        *,
        path: str | os.PathLike[str] | None = None,
    ) -> NgramModel:
        """A model of these sentences, by Witten and Bell's estimate, interpolated.

        P(w | h) = (c(h w) + t(h) P(w | h')) / (c(h) + t(h)), where c counts, t(h) is how many different
        words follow h, h' is h without its first word, and the words alone are interpolated with all
        words, ``</s>`` and ``<unk>`` being equally probable. Its tables are Python's: for texts of
        millions of words, not of billions.

        Args:
            sentences: Words, or strings of words with blanks between. A character model takes
                ``list(text)``, with another character in place of the blank, which ARPA cannot hold.
            order: The length of the longest n-grams, in [1, 64]; no longer than the longest sentence
                with its two ends.
            path: Where to write the model too, as an ARPA file.
        Raises:
            TypeError: A sentence is neither a string nor strings, or all together are one string.
            ValueError: No sentences, ``order`` outside its range, or a word that ARPA cannot hold.
        Source:
            Witten & Bell (1991), https://doi.org/10.1109/18.87000
        """
        function = "NgramModel.train"
        order = number(order, function, "order", low=1, high=64, whole=True)
        text = "".join(_witten_bell(function, _sentences(function, sentences), order)).encode()
        if path is not None:
            with open(path, "wb") as file:
                file.write(text)
        model = cls.__new__(cls)
        model._model = _read(io.BytesIO(text), len(text))
        model._words = None
        return model

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
        ends = "</s>" in self
        total, count = 0.0, 0
        for words in _sentences(function, sentences):
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


def _sentences(function: str, sentences: Any) -> Iterator[list[str]]:
    if isinstance(sentences, str):
        raise TypeError(message(function, "sentences", "be a list of sentences", describe(sentences)))
    return (_sentence(each) for each in sentences)


def _witten_bell(function: str, sentences: Iterator[list[str]], order: int) -> Iterator[str]:
    """The lines of the ARPA file, every number as exact as its float64."""
    followers: list[dict[tuple[str, ...], Counter[str]]] = [defaultdict(Counter) for _ in range(order)]
    known: set[str] = set()
    for sentence in sentences:
        for word in sentence:
            if type(word) is not str or word not in known:
                _check_word(function, word)
                known.add(word)
        words = ["<s>", *sentence, "</s>"]
        for at in range(1, len(words)):
            for n in range(min(order, at + 1)):  # the words before it
                followers[n][tuple(words[at - n : at])][words[at]] += 1
    if not followers[0]:
        raise ValueError(message(function, "sentences", "hold a sentence", "none"))
    followers = [each for each in followers if each]

    ngrams: dict[tuple[str, ...], float] = dict.fromkeys([("<unk>",), *((w,) for w in followers[0][()])], 0.0)
    ngrams = dict.fromkeys(sorted(ngrams), 1 / len(ngrams))  # P(w | nothing at all)
    yield "\\data\\\n"
    yield f"ngram 1={len(ngrams) + 1}\n"
    for n in range(1, len(followers)):
        yield f"ngram {n + 1}={sum(map(len, followers[n].values()))}\n"
    for n, contexts in enumerate(followers):
        shorter, ngrams = ngrams, {}
        for context in sorted(contexts):
            counts = contexts[context]
            seen, kinds = counts.total(), len(counts)
            for word in sorted(counts) if n else [words[0] for words in shorter]:
                ngram, end = (*context, word), (*context[1:], word)
                ngrams[ngram] = (counts[word] + kinds * shorter[end]) / (seen + kinds)
        yield f"\n\\{n + 1}-grams:\n"
        if n == 0:
            yield _line(-99.0, ("<s>",), followers)
        for ngram, p in ngrams.items():
            yield _line(math.log10(p), ngram, followers)
    yield "\n\\end\\\n"


def _line(
    log10_p: float, ngram: tuple[str, ...], followers: list[dict[tuple[str, ...], Counter[str]]]
) -> str:
    counts = followers[len(ngram)].get(ngram) if len(ngram) < len(followers) else None
    text = f"{log10_p!r}\t{' '.join(ngram)}"
    if counts is None:
        return text + "\n"
    return f"{text}\t{math.log10(len(counts) / (counts.total() + len(counts)))!r}\n"


def _check_word(function: str, word: Any) -> None:
    if not isinstance(word, str):
        raise TypeError(message(function, "words", "be strings", type(word).__name__))
    if not word or word in ("<s>", "</s>") or re.search(r"[\0- \ud800-\udfff]", word):
        raise ValueError(
            message(function, "words", "be words that ARPA can hold, no ends, no blanks", repr(word))
        )
