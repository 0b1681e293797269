"""Alignment by CTC: in which frames the tokens of a batch lie, and the utterances of a long recording."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from fastseq import _core
from fastseq._arrays import BOOL, INT64, Array, floating, message, number
from fastseq.ops._ctc import INPUTS, choice, read_labels, read_lengths

__all__ = ["CtcAlignment", "CtcSegments", "ctc_align", "ctc_segment"]

INFEASIBLE = ("inf", "raise")


class CtcAlignment(NamedTuple):
    """The best path of every sequence.

    Attributes:
        starts: (batch, longest) int64, the first frame of each token; -1 at or after the label's length,
            and where the sequence has no path.
        ends: (batch, longest) int64, the frame after its last one; -1 likewise.
        confidences: (batch, longest), dtype of the logits: the geometric mean of the token's probability
            over its frames; 0 where there is no token or no path.
        scores: (batch,), dtype of the logits: the log-probability of the path, in nats. -inf where no path
            is possible, NaN where a frame that is used holds NaN or inf.
        path: (batch, steps) int64, the class of each frame, blanks included; -1 at or after the length of
            the sequence, and where it has no path.
    """

    starts: Array
    ends: Array
    confidences: Array
    scores: Array
    path: Array


class CtcSegments(NamedTuple):
    """The utterances of a recording, and their tokens.

    Attributes:
        starts: (utterances,), the first frame of each; -1 for one without labels, as in all that follows
            of frames.
        ends: (utterances,), the frame after its last one.
        confidences: (utterances,), the least mean log-probability, in nats per frame, of any ``window``
            consecutive frames of the utterance on the path, or of all of them where they are fewer. NaN
            for one without labels.
        token_starts: (utterances, longest), the first frame of each token, padded with -1.
        token_ends: (utterances, longest), the frame after its last one.
        token_confidences: (utterances, longest), the geometric mean of its probability over its frames,
            padded with 0.
        score: The log-probability of the whole path, in nats, with what gaps cost.
    """

    starts: Array
    ends: Array
    confidences: Array
    token_starts: Array
    token_ends: Array
    token_confidences: Array
    score: float


def ctc_align(
    logits: Any,
    labels: Any,
    logit_lengths: Any = None,
    label_lengths: Any = None,
    *,
    blank: int = 0,
    input: str = "logits",
    infeasible: str = "inf",
) -> CtcAlignment:
    """The most probable alignment of each sequence with its labels (forced alignment, Viterbi).

    Of the paths that spell the labels once repeats are merged and blanks removed, the one of the largest
    probability. Among equals it is the one furthest along, compared from the last frame back: tokens come
    as early as they can. For logits and log-probabilities the path is the same on every machine, as no
    exponential decides it; with any number of threads all results are the same bits.

    Memory, beyond the arrays returned, is for one sequence about 1 byte per label and frame while labels
    times frames are below half a million; beyond that about 16 bytes per label times the square root of
    the frames (12 MB for 100,000 frames and 2,000 labels).

    Args:
        logits: (batch, steps, classes), float32 or float64: what ``input`` says. Steps at or after
            ``logit_lengths[n]`` are ignored.
        labels: (batch, longest) whole numbers, each in [0, classes) and not the blank; or a list of
            sequences of them. Entries at or after ``label_lengths[n]`` are ignored.
        logit_lengths: (batch,) in [0, steps]; None for all steps.
        label_lengths: (batch,) in [0, longest]; None for all of each row or sequence.
        blank: The class of the blank; negative ones count from the end.
        input: "logits": unnormalised; "log_probs": logarithms of probabilities; "probs":
            probabilities. The last two are taken as they are, not normalised.
        infeasible: What becomes of a sequence whose labels no path of positive probability spells: "inf"
            gives it a score of -inf, "raise" is an error.
    Returns:
        CtcAlignment: starts, ends, confidences, scores, path. An empty label has a path of blanks. A
        sequence that has NaN or inf in a frame that is used - for log_probs and probs: in a class that
        can be used there - has NaN as score and confidences; a logit or log-probability of -inf is a class
        that cannot be.
    Raises:
        TypeError: Something is not an array of real numbers.
        ValueError: A shape, label or length is outside the ranges above; with "raise", a sequence is
            infeasible, and the text names it.
    Source:
        Graves et al. (2006), https://doi.org/10.1145/1143844.1143891, with the largest in place of the sum.
    """
    function = "ctc_align"
    logits = floating(logits, function, "logits", ndim=3)
    batch, steps, _ = logits.shape
    rows, label_lengths = read_labels(function, labels, label_lengths)
    *alignment, _ = _core.ctc_align(
        function,
        logits,
        rows,
        read_lengths(function, "logit_lengths", logit_lengths, batch, steps),
        label_lengths,
        number(blank, function, "blank", whole=True),
        choice(function, "input", input, INPUTS),
        INFEASIBLE[choice(function, "infeasible", infeasible, INFEASIBLE)] == "raise",
        None,
        0.0,
    )
    return CtcAlignment(*alignment)


def ctc_segment(
    logits: Any,
    utterances: Sequence[Any],
    *,
    blank: int = 0,
    input: str = "logits",
    gap: float = 0.0,
    window: int = 30,
    frame_duration: float | None = None,
) -> CtcSegments:
    """Finds utterances, given as labels in their order, in one long recording (CTC segmentation).

    The alignment of all utterances in a row, where the blanks before, between and after them are gaps: a
    gap takes any frame - silence, noise, speech that nobody wrote down - at the log-probability of the
    blank or at ``gap``, whichever is larger, and may take none. With 0, as in the paper, it costs nothing
    to begin anywhere and to leave out what is between; the tokens at both ends of an utterance are then
    drawn together to their best frames. Below 0 a gap must pay: tokens and blanks more probable than
    exp(gap) keep their frames, and -inf leaves the plain alignment of ``ctc_align``.

    Args:
        logits: (steps, classes), float32 or float64: what ``input`` says.
        utterances: One sequence of labels each, whole numbers in [0, classes) and not the blank.
        blank: The class of the blank; negative ones count from the end.
        input: "logits", "log_probs" or "probs", as for ``ctc_align``.
        gap: The least log-probability, in nats per frame, at which a gap takes a frame; at most 0.
        window: Frames over which the confidence takes means; the paper has 30.
        frame_duration: Seconds from one frame to the next: times come as float64 seconds, NaN for -1. None
            leaves them whole frames, int64.
    Returns:
        CtcSegments: starts, ends, confidences, token_starts, token_ends, token_confidences, score. The
        lower the confidence, the less the recording seems to have the utterance there. A recording that
        has NaN or inf has NaN as score, and says nothing of frames.
    Raises:
        TypeError: Something is not an array of real numbers.
        ValueError: A shape, label or number is outside the ranges above; no path of positive
            probability spells the utterances.
    Source:
        Kürzinger et al. (2020), https://arxiv.org/abs/2007.09127
    """
    function = "ctc_segment"
    logits = floating(logits, function, "logits", ndim=2)
    gap = number(gap, function, "gap", high=0)
    window = number(window, function, "window", low=1, whole=True)
    if frame_duration is not None:
        frame_duration = number(frame_duration, function, "frame_duration", low=0, open_low=True)
    blank = number(blank, function, "blank", whole=True)
    labels, counts = read_labels(function, utterances, None, argument="utterances")
    there = np.arange(labels.shape[1]) < counts[:, None]
    _check_utterances(function, labels, there, logits.shape[1], blank)
    ends_at = np.cumsum(counts)
    joined = labels[there]
    gaps = np.zeros((1, len(joined) + 1), BOOL)
    gaps[0, np.append(0, ends_at)] = True
    starts, ends, confidences, scores, _, log_probs = _core.ctc_align(
        function,
        logits[None],
        joined[None],
        np.array([len(logits)], INT64),
        np.array([len(joined)], INT64),
        blank,
        choice(function, "input", input, INPUTS),
        False,
        gaps,
        gap,
    )
    if scores[0] == -np.inf:
        rule = "have a path of positive probability that spells the utterances"
        raise ValueError(message(function, "logits", rule, f"none in {len(logits)} frames"))

    token_starts, token_ends = np.full(there.shape, -1, INT64), np.full(there.shape, -1, INT64)
    token_confidences = np.zeros(there.shape, logits.dtype)
    token_starts[there], token_ends[there], token_confidences[there] = starts[0], ends[0], confidences[0]
    first, last = np.full(len(counts), -1, INT64), np.full(len(counts), -1, INT64)
    some = counts > 0
    first[some], last[some] = starts[0, (ends_at - counts)[some]], ends[0, ends_at[some] - 1]
    means = [_least_mean(log_probs[0, a:b], window) for a, b in zip(first, last, strict=True)]
    first, last, token_starts, token_ends = (
        _times(frames, frame_duration) for frames in (first, last, token_starts, token_ends)
    )
    return CtcSegments(
        first, last, np.array(means, logits.dtype), token_starts, token_ends, token_confidences,
        float(scores[0]),
    )  # fmt: skip


def _check_utterances(function: str, labels: Array, there: Array, classes: int, blank: int) -> None:
    blank = blank + classes if blank < 0 else blank
    wrong = np.argwhere(there & ((labels < 0) | (labels >= classes) | (labels == blank)))
    if len(wrong):
        rule = f"lie in [0, {classes}) and differ from the blank, {blank}"
        at = tuple(wrong[0].tolist())
        raise ValueError(message(function, "utterances", rule, f"{labels[at]} at index {at}"))


def _least_mean(log_probs: Array, window: int) -> float:
    """The least mean of `window` neighbours, or of all where they are fewer; NaN of none."""
    if len(log_probs) == 0:
        return float("nan")
    width = min(window, len(log_probs))
    sums = np.append(0.0, np.cumsum(log_probs, dtype=np.float64))
    return float((sums[width:] - sums[:-width]).min() / width)


def _times(frames: Array, duration: float | None) -> Array:
    return frames if duration is None else np.where(frames < 0, np.nan, frames * duration)
