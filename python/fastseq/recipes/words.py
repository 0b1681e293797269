"""Texts to paint: pronounceable words made up from a seed, or those of a file, alone and in pairs."""

from __future__ import annotations

import os
import random
import re
from collections.abc import Iterator, Sequence

__all__ = ["LETTERS", "made_words", "read_words", "texts_to_read"]

LETTERS = "abcdefghijklmnopqrstuvwxyz"

# Syllables as English builds them; every letter begins or ends some.
ONSETS = (
    "b c d f g h j k l m n p r s t v w y z x bl br ch cl cr dr fl fr gl gr kn ph pl pr qu qu qu qu sc sh sk"
)
ONSETS += " sl sm sn sp st sw th tr tw wh wr"
NUCLEI = "a a e e i i o o u u y ai au ay ea ee ei eu ia ie io oa oi oo ou oy ue"
CODAS = (
    "b c d f g h j k l m n p q q r s t v w x y z ck ct ff ft ld lf lk ll lm lp ls lt mp nd ng nk ns nt pt rd"
)
CODAS += " rk rl rm rn rp rs rt sh sk sp ss st th"
SYLLABLE = (["", *ONSETS.split()], NUCLEI.split(), ["", "", *CODAS.split()])

MISSES = 1000  # draws, and ten for every text there is, that bring nothing new: then there is no more


def made_words(count: int, longest: int, seed: int | None = 0) -> list[str]:
    """Different pronounceable words of 1 to ``longest`` letters, the same for the same seed everywhere.

    Args:
        count: How many.
        longest: The most letters a word has.
        seed: Of the draw; None for a new one each time.
    Raises:
        ValueError: There are not that many.
    """
    return list(_first(count, _endless_words(random.Random(seed), longest), "made_words", "count"))


def read_words(path: str | os.PathLike[str]) -> list[str]:
    """The different words of a text file in UTF-8, in small letters; those with other signs are left out.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is no text in UTF-8, or has no word of the letters a to z.
    """
    try:
        with open(path, encoding="utf-8") as file:
            found = file.read().lower().split()
    except UnicodeDecodeError as error:
        raise ValueError(f"read_words: path must hold text in UTF-8, got {error.reason}") from None
    words = [word for word in dict.fromkeys(found) if re.fullmatch("[a-z]+", word)]
    if not words:
        raise ValueError(f"read_words: path must hold words of the letters a to z, got none in {path}")
    return words


def texts_to_read(
    count: int, longest: int, pairs: float = 0.0, seed: int | None = 0, words: Sequence[str] | None = None
) -> list[str]:
    """Different words, and pairs of words with a space between, in random order.

    Args:
        count: How many texts; fewer where ``words`` does not give as many.
        longest: The most characters a text has.
        pairs: The share of texts that are two words, from 0 to 1.
        seed: Of the draw; None for a new one each time.
        words: The words to draw from; None for made-up ones.
    Raises:
        ValueError: Not one of ``words`` fits, or so many words cannot be made up.
    """
    draw = random.Random(seed)
    alone = count - round(count * pairs)
    single: Sequence[str]
    if words is None:
        single = list(_first(alone, _endless_words(draw, longest), "texts_to_read", "count"))
        parts = made_words(min(alone, 2000), max(longest - 2, 1), seed) if alone < count else []
    else:
        parts = [word for word in dict.fromkeys(words) if len(word) <= longest]
        if not parts:
            rule = f"hold words of at most {longest} letters"
            raise ValueError(f"texts_to_read: words must {rule}, got none")
        single = draw.sample(parts, min(alone, len(parts)))
    double = _first(count - alone, _endless_pairs(draw, parts, longest), "texts_to_read", None)
    texts = [*single, *double]
    draw.shuffle(texts)
    return texts


def _first(count: int, endless: Iterator[str], function: str, argument: str | None) -> Iterator[str]:
    """The first ``count`` different texts of an endless draw; fewer, or an error, where it runs dry."""
    seen: set[str] = set()
    misses = 0
    while len(seen) < count and misses < MISSES + 10 * len(seen):
        text = next(endless)
        misses += 1
        if text and text not in seen:
            misses = 0
            seen.add(text)
            yield text
    if argument is not None and len(seen) < count:
        raise ValueError(f"{function}: {argument} must be at most what can be made up, got {count}")


def _endless_words(draw: random.Random, longest: int) -> Iterator[str]:
    """Words of one syllable or more, short and long."""
    while True:
        length = draw.randint((longest + 2) // 3, longest)
        word = ""
        while len(word) < length:
            word += "".join(map(draw.choice, SYLLABLE))
        if len(word) <= longest:
            yield word


def _endless_pairs(draw: random.Random, parts: Sequence[str], longest: int) -> Iterator[str]:
    while True:
        pair = f"{draw.choice(parts)} {draw.choice(parts)}"
        yield pair if len(pair) <= longest else ""  # nothing: so that the draw ends though none fits
