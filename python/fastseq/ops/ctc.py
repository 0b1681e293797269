"""Connectionist temporal classification: the loss of a batch and its gradient, in one pass."""

from __future__ import annotations

from typing import Any

from fastseq import _core
from fastseq._arrays import Array, floating, number
from fastseq.ops._ctc import INPUTS, choice, read_labels, read_lengths

__all__ = ["ctc_loss", "ctc_loss_and_gradient"]

INFEASIBLE = ("inf", "zero", "raise")  # the kernel's enumeration, in its order


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
    rows, label_lengths = read_labels(function, labels, label_lengths)
    return _core.ctc(
        function,
        logits,
        rows,
        read_lengths(function, "logit_lengths", logit_lengths, batch, steps),
        label_lengths,
        number(blank, function, "blank", whole=True),
        choice(function, "input", input, INPUTS),
        choice(function, "infeasible", infeasible, INFEASIBLE),
        gradient,
    )
