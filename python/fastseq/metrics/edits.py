"""How far sequences are from the truth: edit distance, character and word error rate, exact match.

Everywhere a sequence is a string, whose characters are its code points, or a list of words, or a row of
integer labels, of which negative ones are padding and do not count.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np

from fastseq._arrays import Array, describe, integer, message

__all__ = [
    "as_text",
    "character_error_rate",
    "cut",
    "distances",
    "edit_distance",
    "exact_match",
    "lengths",
    "mean_edit_distance",
    "quotient",
    "word_error_rate",
]

Spelt = str | list[str]

KINDS = ("text", "words", "labels")


def edit_distance(reference: Any, hypothesis: Any, normalize: bool = False) -> float:
    """Levenshtein's distance of two sequences: the fewest insertions, deletions and substitutions.

    Args:
        reference: The truth: a string, a list of words or a row of labels.
        hypothesis: What is held against it, of the same kind.
        normalize: Divide by the length of ``reference``; by 1 where it is empty.
    Returns:
        An int, or a float where ``normalize``.
    Raises:
        TypeError: Neither strings, words nor labels, or of two kinds.
        ValueError: Labels are not whole numbers, or have more than one axis.
    Source:
        Levenshtein (1966), "Binary codes capable of correcting deletions, insertions, and reversals"
    """
    first, second, _ = _pairs("edit_distance", [reference], [hypothesis], ("reference", "hypothesis"))
    edits = int(distances(first, second)[0])
    return edits / max(len(first[0]), 1) if normalize else edits


def mean_edit_distance(references: Any, hypotheses: Any, normalize: bool = False) -> float:
    """The mean of ``edit_distance`` over pairs; each pair counts the same, however long. 0 for no pairs.

    Args:
        references: The truths: a list of strings, of lists of words or of rows of labels, or an integer
            array (rows, longest).
        hypotheses: What is held against them, one each.
        normalize: Divide each distance by its reference's length, or by 1 where that is empty.
    Raises:
        TypeError: Neither strings, words nor labels, or of several kinds.
        ValueError: Another number of hypotheses; labels are not whole numbers.
    """
    first, second, _ = _pairs("mean_edit_distance", references, hypotheses)
    edits = distances(first, second)
    values = edits / np.maximum(lengths(first), 1) if normalize else edits
    return quotient(float(values.sum()), len(first))


def character_error_rate(references: Any, hypotheses: Any) -> float:
    """All edits over the length of all references: of a corpus, not the mean over its pairs.

    Not bounded by 1. References that are all empty count as one character together, so that the rate is
    the number of characters that should not be there.

    Args:
        references: The truths: a list of strings, or of rows of labels, each then counting as a character.
        hypotheses: What is held against them, one each.
    Raises:
        TypeError: Neither strings, words nor labels, or of several kinds.
        ValueError: Another number of hypotheses; labels are not whole numbers.
    """
    first, second, _ = _pairs("character_error_rate", references, hypotheses)
    return _rate(first, second)


def word_error_rate(references: Any, hypotheses: Any) -> float:
    """``character_error_rate`` counted in words.

    Args:
        references: The truths: a list of strings, split into words at white space; or of lists of words
            or rows of labels, each of them then counting as a word.
        hypotheses: What is held against them, one each.
    Raises:
        TypeError: Neither strings, words nor labels, or of several kinds.
        ValueError: Another number of hypotheses; labels are not whole numbers.
    """
    first, second, kind = _pairs("word_error_rate", references, hypotheses)
    if kind == "text":
        first, second = [text.split() for text in first], [text.split() for text in second]
    return _rate(first, second)


def exact_match(references: Any, hypotheses: Any) -> float:
    """The share of hypotheses that equal their reference; 0 for none.

    Args:
        references: The truths: a list of strings, of lists of words or of rows of labels.
        hypotheses: What is held against them, one each.
    Raises:
        TypeError: Neither strings, words nor labels, or of several kinds.
        ValueError: Another number of hypotheses; labels are not whole numbers.
    """
    first, second, _ = _pairs("exact_match", references, hypotheses)
    right = sum(a == b or not (a or b) for a, b in zip(first, second, strict=True))  # empty is of any kind
    return quotient(right, len(first))


# --- what the metrics share -----------------------------------------------------------------------


def distances(references: Sequence[Spelt], hypotheses: Sequence[Spelt]) -> Array:
    """The edit distance of each pair, int64. Strings are quickest."""
    from rapidfuzz.distance import Levenshtein  # here: importing fastseq brings numpy only

    return np.fromiter(map(Levenshtein.distance, references, hypotheses), np.int64, len(references))


def lengths(sequences: Sequence[Spelt]) -> Array:
    """The length of each, int64."""
    return np.fromiter(map(len, sequences), np.int64, len(sequences))


def as_text(labels: Array) -> str:
    """Labels (count,) as a string of the code points of these numbers, which is what is compared quickest."""
    return labels.astype("<u4").tobytes().decode("utf-32-le", "surrogatepass")


def cut(whole: str, ends: list[int]) -> list[str]:
    """The pieces of a string that end there, each beginning where the one before ends."""
    return [whole[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]


def quotient(total: float, count: float) -> float:
    """``total / count``; where nothing was to be counted, as if it had been 1."""
    return total / (count or 1)


def _rate(references: Sequence[Spelt], hypotheses: Sequence[Spelt]) -> float:
    return quotient(int(distances(references, hypotheses).sum()), int(lengths(references).sum()))


# --- what users give ------------------------------------------------------------------------------


def _pairs(
    function: str, references: Any, hypotheses: Any, names: tuple[str, str] = ("references", "hypotheses")
) -> tuple[list[Any], list[Any], str | None]:
    """References and hypotheses, as many of one as of the other, and their kind; None where all are empty."""
    kinds: set[str] = set()
    first = _sequences(function, names[0], references, kinds)
    second = _sequences(function, names[1], hypotheses, kinds)
    if len(first) != len(second):
        rule = f"have {len(first)} entries, as {names[0]} has"
        raise ValueError(message(function, names[1], rule, str(len(second))))
    if len(kinds) > 1:
        got = " and ".join(kind for kind in KINDS if kind in kinds)
        raise TypeError(message(function, names[1], f"be, with {names[0]}, of one kind", got))
    return first, second, next(iter(kinds), None)


def _sequences(function: str, argument: str, value: Any, kinds: set[str]) -> list[Any]:
    """A list of sequences, labels written as strings; adds their kind to ``kinds`` unless all are empty."""
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiub":
        rows = integer(value, function, argument, ndim=2)
        if rows.size:
            kinds.add("labels")
        return _of_labels(function, argument, rows.reshape(-1), [rows.shape[1]] * len(rows))
    try:
        listed = [value] if isinstance(value, str) else list(value)
    except TypeError:
        rule = "be a list of strings or of label sequences"
        raise TypeError(message(function, argument, rule, describe(value))) from None
    if all(isinstance(entry, str) for entry in listed):
        if any(listed):
            kinds.add("text")
        return listed
    for entry in listed:
        if not isinstance(entry, (list, tuple, np.ndarray)):
            rule = "be all strings, all lists of words or all rows of labels"
            raise TypeError(message(function, argument, rule, f"{describe(entry)} among them"))
    every = list(chain.from_iterable(listed))
    if every and all(isinstance(entry, str) for entry in every):
        kinds.add("words")
        return [list(entry) for entry in listed]
    if every:
        kinds.add("labels")
    return _of_labels(function, argument, integer(every, function, argument, ndim=1), list(map(len, listed)))


def _of_labels(function: str, argument: str, flat: Array, sizes: list[int]) -> list[Any]:
    """Rows of ``sizes`` labels, one after the other, as strings without the negative ones."""
    if flat.max(initial=0) > sys.maxunicode:
        rule = f"hold labels below {sys.maxunicode + 1}"
        raise ValueError(message(function, argument, rule, str(flat.max())))
    present = flat >= 0
    ends = np.concatenate([[0], np.cumsum(present)])[np.cumsum(sizes, dtype=np.int64)]
    return cut(as_text(flat[present]), ends.tolist())
