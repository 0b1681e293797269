"""Connectionist temporal classification: the loss of a batch and its gradient, in one pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastseq import _core
from fastseq._arrays import INT64, Array, describe, floating, integer, message, number

__all__ = ["ctc_loss", "ctc_loss_and_gradient"]

INPUTS = ("logits", "log_probs", "probs")  # the kernel's enumeration, in its order
INFEASIBLE = ("inf", "zero", "raise")  # likewise


def ctc_loss(
    logits: Any,
    labels: Any,
    logit_lengths: Any = None,
    label_lengths: Any = None,
    *,
    blank: int = 0,
    input: str = "logits",
    infeasible: str = "inf",
) -> Array:
    """Connectionist temporal classification loss, one value per sequence.

    The negative log-probability, in nats, of ``labels`` summed over every alignment that spells them
    once repeats are merged and blanks removed.

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
        infeasible: What becomes of a sequence whose labels no alignment of positive probability
            spells: a loss of "inf" or "zero", or "raise".
    Returns:
        (batch,), dtype of ``logits``. NaN where a frame that is used holds NaN or inf; a logit or a
        log-probability of -inf is a class that cannot be. Log-probabilities below -2.5e6 count as -inf.
    Raises:
        TypeError: Something is not an array of real numbers.
        ValueError: A shape, label or length is outside the ranges above; with "raise", a sequence is
            infeasible, and the text names it.
    Source:
        Graves et al. (2006), https://doi.org/10.1145/1143844.1143891
    """
    return _ctc("ctc_loss", logits, labels, logit_lengths, label_lengths, blank, input, infeasible, False)[0]


def ctc_loss_and_gradient(
    logits: Any,
    labels: Any,
    logit_lengths: Any = None,
    label_lengths: Any = None,
    *,
    blank: int = 0,
    input: str = "logits",
    infeasible: str = "inf",
) -> tuple[Array, Array]:
    """``ctc_loss`` with the gradient of its sum.

    Arguments and errors are those of ``ctc_loss``.

    Returns:
        The losses (batch,) and the gradient with respect to ``logits`` as they are declared, like
        ``logits``: 0 in frames at or after the length, and in all frames of an infeasible sequence.
        That of probabilities is formed without dividing by them, so it is right where one is 0.
    """
    function = "ctc_loss_and_gradient"
    losses, gradient = _ctc(
        function, logits, labels, logit_lengths, label_lengths, blank, input, infeasible, True
    )
    assert gradient is not None
    return losses, gradient


def _ctc(
    function: str, logits: Any, labels: Any, logit_lengths: Any, label_lengths: Any, blank: Any, input: str,
    infeasible: str, gradient: bool,
) -> tuple[Array, Array | None]:  # fmt: skip
    logits = floating(logits, function, "logits", ndim=3)
    batch, steps, _ = logits.shape
    rows, found = _rows(function, labels, label_lengths)
    return _core.ctc(
        function,
        logits,
        rows,
        _lengths(function, "logit_lengths", logit_lengths, batch, steps),
        _lengths(function, "label_lengths", label_lengths, len(rows), rows.shape[1])
        if found is None
        else found,
        number(blank, function, "blank", whole=True),
        _choice(function, "input", input, INPUTS),
        _choice(function, "infeasible", infeasible, INFEASIBLE),
        gradient,
    )


def _choice(function: str, argument: str, name: Any, known: Sequence[str]) -> int:
    if not isinstance(name, str) or name not in known:
        raise ValueError(message(function, argument, f"be one of {', '.join(known)}", describe(name)))
    return known.index(name)


def _lengths(function: str, argument: str, lengths: Any, batch: int, full: int) -> Array:
    if lengths is None:
        return np.full(batch, full, INT64)
    given: Array = integer(lengths, function, argument)
    if given.ndim == 2 and given.shape[1] == 1:  # Keras's (batch, 1)
        given = given.reshape(-1)
    return given.astype(INT64, copy=False)


def _rows(function: str, labels: Any, lengths: Any) -> tuple[Array, Array | None]:
    """Labels as (batch, longest), and their lengths where they come as sequences."""
    if lengths is None and isinstance(labels, (list, tuple)) and all(np.ndim(row) == 1 for row in labels):
        found = np.array([len(row) for row in labels], INT64)
        rows = np.zeros((len(labels), int(found.max(initial=0))), INT64)
        for n, row in enumerate(labels):
            if len(row):
                rows[n, : len(row)] = integer(row, function, "labels")
        return rows, found
    rows = integer(labels, function, "labels", ndim=2)
    return rows.astype(INT64, copy=False), None
