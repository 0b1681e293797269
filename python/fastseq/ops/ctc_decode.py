"""CTC decoding: the best path, and prefix beam search of batches or streams, with language models."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from fastseq import _core
from fastseq._arrays import Array, describe, floating, message, number
from fastseq.ops._ctc import INPUTS, choice, read_lengths
from fastseq.ops.ngram import NgramModel

__all__ = ["CtcBeamSearch", "CtcDecoded", "ctc_beam_search", "ctc_greedy_decode"]

UNITS = ("word", "token")
WIDEST = 2**24  # beams: more than any memory holds
INF = float("inf")


class CtcDecoded(NamedTuple):
    """What a sequence says; of a beam search every array has an axis (paths,) after the batch's, best first.

    Attributes:
        labels: (batch, longest) int64, -1 beyond the length.
        lengths: (batch,) int64; -1 where a search has fewer paths than were asked for.
        scores: (batch,) float64, log-probability in nats: of the best path, or of the labels over all
            alignments that the search kept. NaN, with no labels, where a frame that is used holds NaN, inf
            or a negative probability; -inf where there is no such path.
        starts: (batch, longest) int64, the step in which each label starts on the best path, or on the
            labels' most likely alignment of those that the search kept; -1 beyond the length.
        totals: (batch,) float64, what paths are ranked by: the score, and what a language model, hotwords
            and bonuses add.
    """

    labels: Array
    lengths: Array
    scores: Array
    starts: Array
    totals: Array


def ctc_greedy_decode(
    logits: Any, logit_lengths: Any = None, *, blank: int = 0, input: str = "logits"
) -> CtcDecoded:
    """The labels of the best path: the likeliest class of each step, repeats merged and blanks removed.

    Args:
        logits: (batch, steps, classes), float32 or float64: what ``input`` says. Steps at or after
            ``logit_lengths[n]`` are ignored. Of equal classes the first counts.
        logit_lengths: (batch,) in [0, steps]; None for all steps.
        blank: The class of the blank; negative ones count from the end.
        input: "logits": unnormalised; "log_probs": logarithms of probabilities; "probs":
            probabilities. The last two are taken as they are, not normalised: logits given as
            "log_probs" have the same labels without a softmax, and the sum of the largest logits for a
            score, as TensorFlow has it.
    Returns:
        Arrays without an axis for paths; the score is that of the one best path.
    Raises:
        TypeError: Something is not an array of real numbers.
        ValueError: A shape, length or class is outside the ranges above.
    Source:
        Graves et al. (2006), https://doi.org/10.1145/1143844.1143891
    """
    function = "ctc_greedy_decode"
    logits, lengths = _frames(function, logits, logit_lengths)
    labels, found, scores, starts = _core.ctc_greedy_decode(
        function,
        logits,
        lengths,
        number(blank, function, "blank", whole=True),
        choice(function, "input", input, INPUTS),
    )
    return CtcDecoded(labels, found, scores, starts, scores)


def ctc_beam_search(
    logits: Any,
    logit_lengths: Any = None,
    *,
    blank: int = 0,
    input: str = "logits",
    beam_width: int = 100,
    top_paths: int = 1,
    token_threshold: float | None = None,
    beam_threshold: float | None = None,
    max_tokens: int | None = None,
    tokens: Sequence[str] | None = None,
    word_delimiter: str = " ",
    language_model: NgramModel | None = None,
    lm_unit: str = "word",
    lm_weight: float = 0.5,
    unknown_score: float = -10.0,
    word_bonus: float = 0.0,
    token_bonus: float = 0.0,
    hotwords: Mapping[str, float] | Iterable[str] | None = None,
    hotword_weight: float = 10.0,
    words: Iterable[str] | None = None,
) -> CtcDecoded:
    """The likeliest labels of each sequence by prefix beam search: of many alignments, not of one.

    After each step the ``beam_width`` best prefixes are kept, ranked by

        total = score + lm_weight * log P(words) + word_bonus * (number of words)
                + token_bonus * (number of labels) + (boosts of the hotwords among the words)

    where ``score`` is the log-probability of the prefix over all its alignments through kept prefixes, and
    log P is the language model's. A word counts once it is complete: where a token that begins with
    ``word_delimiter`` follows, or at the end. A hotword earns its boost letter by letter, and loses it again
    where it becomes another word. Of equal totals the prefix that comes from the better one goes first;
    of that, as it was before grown by a label; and the lower label before the higher.

    Args:
        logits: (batch, steps, classes), float32 or float64: what ``input`` says. Steps at or after
            ``logit_lengths[n]`` are ignored.
        logit_lengths: (batch,) in [0, steps]; None for all steps.
        blank: The class of the blank; negative ones count from the end.
        input: "logits": unnormalised; "log_probs": logarithms of probabilities; "probs":
            probabilities. The last two are taken as they are, not normalised.
        beam_width: How many prefixes are kept. The one limit there is unless another is asked for.
        top_paths: How many to return, at most ``beam_width``.
        token_threshold: No prefix grows by a class whose log-probability in the step is lower.
        beam_threshold: Prefixes whose total is lower than the best by more than this are dropped.
        max_tokens: No prefix grows by a class that is not among so many likeliest of the step, the blank not
            counted.
        tokens: The text of each class, the blank's being ignored; needed for all that follows but
            ``token_bonus``. The delimiter may stand at the beginning of a token only ("▁the" with "▁").
        word_delimiter: What begins a new word. "" if all labels together are one word.
        language_model: An n-gram model.
        lm_unit: What its words are: "word", or "token" (each token is one).
        lm_weight: At least 0.
        unknown_score: At most 0, added to the model's log-probability of a word that is not in it.
        word_bonus: For each word.
        token_bonus: For each label.
        hotwords: Words, or a mapping from words to their boosts, each at least 0.
        hotword_weight: The boost of hotwords that come without one.
        words: The only words that may be; no prefix is kept that is not the beginning of some.
    Returns:
        Arrays with an axis (paths,). Fewer paths than ``top_paths``: lengths of -1 and scores of -inf.
    Raises:
        TypeError: Something is not of its kind.
        ValueError: A shape, length, class or number is outside the ranges above.
    Source:
        Graves (2012), https://doi.org/10.1007/978-3-642-24797-2, section 7.5; Hannun et al. (2014),
        https://arxiv.org/abs/1408.2873. A prefix that was dropped has no probability from before.
    """
    function = "ctc_beam_search"
    logits, lengths = _frames(function, logits, logit_lengths)
    search = _open(
        function, len(logits), logits.shape[2], blank, input, beam_width, token_threshold, beam_threshold,
        max_tokens, tokens, word_delimiter, language_model, lm_unit, lm_weight, unknown_score, word_bonus,
        token_bonus, hotwords, hotword_weight, words,
    )  # fmt: skip
    count = _paths(function, top_paths, beam_width)
    search.push(function, logits, lengths)
    return _decoded(search.paths(function, count, True))


class CtcBeamSearch:
    """``ctc_beam_search`` of sequences that come in pieces; however they are cut, the result is the same.

        search = ops.CtcBeamSearch(classes=29)
        for logits in pieces:                       # each (1, steps, 29)
            search.push(logits)
            print(search.result().labels)           # so far
        decoded = search.finish()

    Memory grows with ``beam_width`` and with the labels found, not with the steps. One thread at a time.

    Args:
        classes: How many, the blank among them.
        batch: How many sequences.
        others: As of ``ctc_beam_search``.
    Raises:
        TypeError, ValueError: As of ``ctc_beam_search``.
    """

    def __init__(
        self,
        classes: int,
        *,
        batch: int = 1,
        blank: int = 0,
        input: str = "logits",
        beam_width: int = 100,
        token_threshold: float | None = None,
        beam_threshold: float | None = None,
        max_tokens: int | None = None,
        tokens: Sequence[str] | None = None,
        word_delimiter: str = " ",
        language_model: NgramModel | None = None,
        lm_unit: str = "word",
        lm_weight: float = 0.5,
        unknown_score: float = -10.0,
        word_bonus: float = 0.0,
        token_bonus: float = 0.0,
        hotwords: Mapping[str, float] | Iterable[str] | None = None,
        hotword_weight: float = 10.0,
        words: Iterable[str] | None = None,
    ) -> None:
        function = "CtcBeamSearch"
        batch = number(batch, function, "batch", low=0, whole=True)
        classes = number(classes, function, "classes", low=1, high=2**31 - 1, whole=True)
        self._beam_width = beam_width
        self._search = _open(
            function, batch, classes, blank, input, beam_width, token_threshold, beam_threshold, max_tokens,
            tokens, word_delimiter, language_model, lm_unit, lm_weight, unknown_score, word_bonus,
            token_bonus, hotwords, hotword_weight, words,
        )  # fmt: skip
        self._ended = False

    def push(self, logits: Any, logit_lengths: Any = None) -> None:
        """Takes the next steps of every sequence.

        Args:
            logits: (batch, steps, classes), float32 or float64.
            logit_lengths: (batch,) in [0, steps], how many of them are each sequence's; None for all.
        Raises:
            RuntimeError: ``finish`` has ended the sequences.
        """
        function = "CtcBeamSearch.push"
        if self._ended:
            raise RuntimeError(message(function, "the search", "be open", "one that finish() has ended"))
        self._search.push(function, *_frames(function, logits, logit_lengths))

    def result(self, top_paths: int = 1) -> CtcDecoded:
        """The best so far, begun words as they are: without what the end of the sequences will add."""
        function = "CtcBeamSearch.result"
        return _decoded(
            self._search.paths(function, _paths(function, top_paths, self._beam_width), self._ended)
        )

    def finish(self, top_paths: int = 1) -> CtcDecoded:
        """Ends the sequences: what ``ctc_beam_search`` returns of all steps together."""
        function = "CtcBeamSearch.finish"
        count = _paths(function, top_paths, self._beam_width)
        self._ended = True
        return _decoded(self._search.paths(function, count, True))

    def reset(self) -> None:
        """Begins new sequences."""
        self._search.reset("CtcBeamSearch.reset")
        self._ended = False


def _frames(function: str, logits: Any, lengths: Any) -> tuple[Array, Array]:
    logits = floating(logits, function, "logits", ndim=3)
    return logits, read_lengths(function, "logit_lengths", lengths, *logits.shape[:2])


def _paths(function: str, top_paths: Any, beam_width: int) -> int:
    count: int = number(top_paths, function, "top_paths", low=1, high=beam_width, whole=True)
    return count


def _decoded(arrays: tuple[Array, Array, Array, Array, Array]) -> CtcDecoded:
    labels, lengths, scores, totals, starts = arrays
    return CtcDecoded(labels, lengths, scores, starts, totals)


def _open(
    function: str, batch: int, classes: int, blank: Any, input: Any, beam_width: Any, token_threshold: Any,
    beam_threshold: Any, max_tokens: Any, tokens: Any, word_delimiter: Any, language_model: Any,
    lm_unit: Any, lm_weight: Any, unknown_score: Any, word_bonus: Any, token_bonus: Any, hotwords: Any,
    hotword_weight: Any, words: Any,
) -> _core.CtcBeamSearch:  # fmt: skip
    def real(argument: str, value: Any, low: float | None = None, high: float | None = None) -> float:
        found: float = number(value, function, argument, low=low, high=high)
        if abs(found) == INF:
            raise ValueError(message(function, argument, "be finite", repr(found)))
        return found

    if language_model is not None and not isinstance(language_model, NgramModel):
        raise TypeError(message(function, "language_model", "be an NgramModel", describe(language_model)))
    boosts = _boosts(function, hotwords, real("hotword_weight", hotword_weight, low=0))
    spoken = None if words is None else _texts(function, "words", words)
    settings = (
        _text(function, "word_delimiter", word_delimiter),
        None if language_model is None else language_model._model,
        choice(function, "lm_unit", lm_unit, UNITS) == UNITS.index("token"),
        real("lm_weight", lm_weight, low=0),
        real("unknown_score", unknown_score, high=0),
        real("token_bonus", token_bonus),
        real("word_bonus", word_bonus),
        boosts,
        spoken,
    )
    scorer = None
    if tokens is None:
        for argument, is_used in (
            ("language_model", language_model is not None),
            ("hotwords", bool(boosts)),
            ("words", spoken is not None),
            ("word_bonus", word_bonus != 0),
        ):
            if is_used:
                raise ValueError(message(function, "tokens", f"be given with {argument}", "None"))
        if token_bonus != 0:
            scorer = _core.CtcScorer(function, [""] * classes, *settings)
    else:
        scorer = _core.CtcScorer(function, _texts(function, "tokens", list(tokens)), *settings)
    return _core.CtcBeamSearch(
        function,
        batch,
        classes,
        number(blank, function, "blank", whole=True),
        choice(function, "input", input, INPUTS),
        number(beam_width, function, "beam_width", low=1, high=WIDEST, whole=True),
        -INF if token_threshold is None else number(token_threshold, function, "token_threshold"),
        INF if beam_threshold is None else number(beam_threshold, function, "beam_threshold", low=0),
        classes if max_tokens is None else number(max_tokens, function, "max_tokens", low=1, whole=True),
        scorer,
    )


def _text(function: str, argument: str, value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(message(function, argument, "be a string", describe(value)))
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(message(function, argument, "be text that UTF-8 can hold", repr(value))) from None
    return value


def _texts(function: str, argument: str, values: Any) -> list[str]:
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise TypeError(message(function, argument, "be a list of strings", describe(values)))
    return [_text(function, argument, value) for value in values]


def _boosts(function: str, hotwords: Any, weight: float) -> list[tuple[str, float]]:
    if hotwords is None:
        return []
    if isinstance(hotwords, Mapping):
        return [
            (_text(function, "hotwords", word), number(boost, function, "hotwords", low=0, high=1e6))
            for word, boost in hotwords.items()
        ]
    return [(word, weight) for word in _texts(function, "hotwords", hotwords)]
