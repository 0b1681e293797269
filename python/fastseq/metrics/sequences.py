"""Metrics of whole sequences: what a model's outputs spell, held against what was to be spelt."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from fastseq._arrays import Array, describe, floating, integer, message, number
from fastseq.losses import Loss
from fastseq.metrics.base import Metric
from fastseq.metrics.edits import Spelt, as_text, cut, distances, lengths, quotient
from fastseq.text import CharacterTable

__all__ = ["CharacterErrorRate", "EditDistance", "ExactMatch", "SequenceMetric", "WordErrorRate"]

DECODES = ("argmax", "ctc")
NO_LABEL = -1  # stands in arrays of labels where there is none


class SequenceMetric(Metric):
    """Common to the metrics below; not one itself.

    ``y_pred`` is (batch, steps, classes), probabilities or logits: only which class of a step is largest
    counts. With ``decode="argmax"`` each step spells one label, and ``y_true`` is one-hot (batch, steps,
    classes) or integer labels (batch, steps). With ``decode="ctc"`` repeats are merged and blanks
    dropped (the greedy path), and ``y_true`` is integer labels (batch, longest), blanks being dropped too.

    ``sample_weight`` is (batch,), what each sample counts; or (batch, steps), as a mask makes it: steps of
    weight 0 might not be there, and a sample counts with the mean of its other steps' weights, or not at
    all where it has none.

    What is left at None is as the model's loss has it when given to ``compile``, else as said below.

    Args:
        name: Its key in the logs; the class's name in snake_case by default.
        dtype: Ignored.
        decode: "argmax" or "ctc"; by default "argmax".
        blank: The class of the blank, negative ones counting from the end; by default 0.
        skip_steps: How many first steps of ``y_pred`` spell nothing, for "ctc"; by default 0.
        padding: The label that stands in integer ``y_true`` where there is none; by default -1. In
            one-hot ``y_true`` that is a step of zeros. With "argmax" such a step counts on neither side.
        ignore: A class, or several, dropped from both sides: the character that answers are padded with.
        tokens: What each class reads as: a string, a list of strings, a dict by class, or a
            CharacterTable. Then everything is counted on the text; without it each label is a character.
    Raises:
        TypeError: An argument, or what is counted, is of the wrong kind.
        ValueError: It is out of range, shapes do not fit, or a class has no token.
    """

    order_only = True

    def __init__(
        self,
        name: str | None = None,
        dtype: Any = None,
        *,
        decode: str | None = None,
        blank: int | None = None,
        skip_steps: int | None = None,
        padding: int | None = None,
        ignore: int | Iterable[int] | None = None,
        tokens: str | Sequence[str] | Mapping[int, str] | CharacterTable | None = None,
    ) -> None:
        super().__init__(name, dtype)
        function = type(self).__name__
        self._asked = {"decode": decode, "blank": blank, "skip_steps": skip_steps, "padding": padding}
        self.ignore = _classes(function, ignore)
        self.tokens = _tokens(function, tokens)
        self.follow(None)

    def follow(self, loss: Loss | None) -> None:
        function = type(self).__name__
        spelling = {"decode": "argmax", "blank": 0, "skip_steps": 0, "padding": -1}
        spelling.update((loss.spelling if loss is not None else None) or {})
        spelling.update((key, value) for key, value in self._asked.items() if value is not None)
        self.decode = spelling["decode"]
        if self.decode not in DECODES:
            rule = f"be one of {', '.join(DECODES)}"
            raise ValueError(message(function, "decode", rule, describe(self.decode)))
        self.blank: int = number(spelling["blank"], function, "blank", whole=True)
        self.skip_steps: int = number(spelling["skip_steps"], function, "skip_steps", low=0, whole=True)
        self.padding: int = number(spelling["padding"], function, "padding", whole=True)

    def measure(self, references: list[str], hypotheses: list[str]) -> tuple[Array, Array]:
        """What each pair adds to the number, and to what that is divided by: (batch,) each."""
        raise NotImplementedError

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        function = type(self).__name__
        prediction = floating(y_pred, function, "y_pred", ndim=3)
        labels = self._labels(y_true, prediction.shape)
        counted, weights = _steps_and_weights(function, sample_weight, prediction.shape[:2])
        if self.decode == "ctc":
            blank = self._blank(prediction.shape[-1])
            labels = np.where(labels == blank, NO_LABEL, labels)
            used = prediction[:, self.skip_steps :], counted[:, self.skip_steps :]
            spelt = greedy_labels(*used, blank)
        else:
            counted = counted & (labels != NO_LABEL)
            labels = np.where(counted, labels, NO_LABEL)
            spelt = np.where(counted, prediction.argmax(axis=-1), NO_LABEL)
        values, sizes = self.measure(self._texts(labels), self._texts(spelt))
        self.total += float(values @ weights)
        self.count += float(sizes @ weights)

    def result(self) -> float:
        return quotient(self.total, self.count)

    def reset_state(self) -> None:
        self.total = 0.0
        self.count = 0.0

    def get_config(self) -> dict[str, Any]:
        tokens: Any = self.tokens
        if tokens is not None and list(tokens) == list(range(len(tokens))):
            tokens = list(tokens.values())
        return {**super().get_config(), **self._asked, "ignore": list(self.ignore), "tokens": tokens}

    def _blank(self, classes: int) -> int:
        if not -classes <= self.blank < classes:
            rule = f"be in [{-classes}, {classes})"
            raise ValueError(message(type(self).__name__, "blank", rule, str(self.blank)))
        return self.blank % classes

    def _labels(self, y_true: Any, shape: tuple[int, ...]) -> Array:
        """The targets as labels (batch, steps or longest), NO_LABEL where there is none."""
        function = type(self).__name__
        batch, steps, classes = shape
        by_step = self.decode == "argmax"
        if by_step and np.shape(y_true) == shape and classes > 1:
            rows = floating(y_true, function, "y_true").reshape(-1, classes)
            largest = rows.argmax(axis=-1)
            there = rows[np.arange(len(rows)), largest] > 0
            return np.where(there, largest, NO_LABEL).reshape(batch, steps)
        labels = integer(y_true, function, "y_true")
        if labels.ndim == 3 and labels.shape[-1] == 1:
            labels = labels.reshape(labels.shape[:-1])
        if labels.ndim != 2 or len(labels) != batch or (by_step and labels.shape[1] != steps):
            rule = f"have shape {(batch, steps)} or {shape}" if by_step else f"have shape ({batch}, labels)"
            raise ValueError(message(function, "y_true", rule, str(labels.shape)))
        padded = labels == self.padding
        wrong = ~padded & ((labels < 0) | (labels >= classes))
        if wrong.any():
            rule = f"hold classes in [0, {classes}) or the padding {self.padding}"
            raise ValueError(message(function, "y_true", rule, str(labels[wrong][0])))
        return np.where(padded, NO_LABEL, labels)

    def _texts(self, labels: Array) -> list[str]:
        """Each row as text: of tokens, or of one code point for each label."""
        present = labels != NO_LABEL
        for ignored in self.ignore:
            present &= labels != ignored
        flat = labels[present]
        ends = np.cumsum(present.sum(axis=1)).tolist()
        if self.tokens is None:
            return cut(as_text(flat), ends)
        try:
            parts = list(map(self.tokens.__getitem__, flat.tolist()))
        except KeyError as missing:
            rule, got = "name every class that occurs", f"none for class {missing}"
            raise ValueError(message(type(self).__name__, "tokens", rule, got)) from None
        return ["".join(parts[begin:end]) for begin, end in zip([0, *ends], ends, strict=False)]


class CharacterErrorRate(SequenceMetric):
    """All edits over the length of all targets since the last reset: ``character_error_rate``.

    Arguments as for ``SequenceMetric``. Weighted, both sums are.
    """

    def measure(self, references: list[str], hypotheses: list[str]) -> tuple[Array, Array]:
        return distances(references, hypotheses), lengths(references)


class WordErrorRate(SequenceMetric):
    """``CharacterErrorRate`` counted in words: ``word_error_rate``.

    Args:
        name: Its key in the logs; "word_error_rate" by default.
        dtype: Ignored.
        tokens: What each class reads as; words are split at its white space. Or:
        word_delimiter: The class that stands between words.
        options: The others of ``SequenceMetric``.
    """

    def __init__(
        self,
        name: str | None = None,
        dtype: Any = None,
        *,
        tokens: Any = None,
        word_delimiter: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(name, dtype, tokens=tokens, **options)
        if (tokens is None) == (word_delimiter is None):
            got = "neither" if tokens is None else "both"
            raise ValueError(message("WordErrorRate", "tokens", "be given, or else word_delimiter", got))
        if word_delimiter is not None:
            word_delimiter = number(word_delimiter, "WordErrorRate", "word_delimiter", low=0, whole=True)
        self.word_delimiter = word_delimiter

    def measure(self, references: list[str], hypotheses: list[str]) -> tuple[Array, Array]:
        first: list[Spelt] = [self._words(text) for text in references]
        second: list[Spelt] = [self._words(text) for text in hypotheses]
        return distances(first, second), lengths(first)

    def _words(self, text: str) -> list[str]:
        if self.word_delimiter is None:
            return text.split()
        return [word for word in text.split(chr(self.word_delimiter)) if word]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "word_delimiter": self.word_delimiter}


class ExactMatch(SequenceMetric):
    """The share of samples whose whole sequence is right: ``exact_match``.

    Arguments as for ``SequenceMetric``.
    """

    def measure(self, references: list[str], hypotheses: list[str]) -> tuple[Array, Array]:
        right = np.array([a == b for a, b in zip(references, hypotheses, strict=True)], np.int64)
        return right, np.ones_like(right)


class EditDistance(SequenceMetric):
    """The mean edit distance of the samples: ``mean_edit_distance``.

    Args:
        name: Its key in the logs; "edit_distance" by default.
        dtype: Ignored.
        normalize: Divide each distance by its target's length, or by 1 where that is empty.
        options: Those of ``SequenceMetric``.
    """

    def __init__(
        self, name: str | None = None, dtype: Any = None, *, normalize: bool = False, **options: Any
    ) -> None:
        super().__init__(name, dtype, **options)
        self.normalize = bool(normalize)

    def measure(self, references: list[str], hypotheses: list[str]) -> tuple[Array, Array]:
        edits = distances(references, hypotheses)
        values = edits / np.maximum(lengths(references), 1) if self.normalize else edits
        return values, np.ones(len(edits))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "normalize": self.normalize}


# --- steps and labels -----------------------------------------------------------------------------


def greedy_labels(prediction: Array, counted: Array, blank: int) -> Array:
    """The labels that the largest class of each step spells once repeats are merged and blanks dropped.

    Args:
        prediction: (batch, steps, classes).
        counted: Bool (batch, steps): the steps that are there.
        blank: The class of the blank, from 0.
    Returns:
        (batch, steps): a label where it is spelt, NO_LABEL elsewhere.
    """
    labels = prediction.argmax(axis=-1)
    if not counted.all():
        # A missing step repeats the one before it, or is blank where there is none: it spells nothing.
        steps = np.where(counted, np.arange(labels.shape[1]), NO_LABEL)
        last = np.maximum.accumulate(steps, axis=1)
        labels = np.where(last < 0, blank, np.take_along_axis(labels, np.maximum(last, 0), axis=1))
    spelt = labels != blank
    spelt[:, 1:] &= labels[:, 1:] != labels[:, :-1]
    return np.where(spelt, labels, NO_LABEL)


def _steps_and_weights(function: str, sample_weight: Any, shape: tuple[int, ...]) -> tuple[Array, Array]:
    """Which steps count, bool (batch, steps), and what each sample does, float64 (batch,)."""
    batch, _ = shape
    counted = np.ones(shape, np.bool_)
    if sample_weight is None:
        return counted, np.ones(batch)
    weights = floating(sample_weight, function, "sample_weight", dtype=np.float64)
    if weights.shape in ((batch,), (batch, 1)):
        return counted, weights.reshape(batch)
    if weights.shape != shape:
        rule = f"have shape {(batch,)} or {shape}"
        raise ValueError(message(function, "sample_weight", rule, str(weights.shape)))
    counted = weights != 0
    return counted, weights.sum(axis=1) / np.maximum(counted.sum(axis=1), 1)


def _classes(function: str, ignore: Any) -> tuple[int, ...]:
    if ignore is None:
        return ()
    listed = list(ignore) if isinstance(ignore, Iterable) else [ignore]
    return tuple(number(entry, function, "ignore", low=0, whole=True) for entry in listed)


def _tokens(function: str, tokens: Any) -> dict[int, str] | None:
    """Tokens by class."""
    if tokens is None:
        return None
    if isinstance(tokens, CharacterTable):
        return dict(tokens.indices_char)
    rule = "be a string, a list of strings, a dict by class or a CharacterTable"
    if not isinstance(tokens, (str, Sequence, Mapping)):
        raise TypeError(message(function, "tokens", rule, describe(tokens)))
    named = dict(tokens) if isinstance(tokens, Mapping) else dict(enumerate(tokens))
    for label, token in named.items():
        if not isinstance(token, str) or isinstance(label, bool) or not isinstance(label, (int, np.integer)):
            raise TypeError(message(function, "tokens", rule, f"{token!r} for class {label!r}"))
    return {int(label): token for label, token in named.items()}
