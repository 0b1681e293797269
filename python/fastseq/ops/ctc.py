"""Connectionist temporal classification: the loss of a batch and its gradient, in one pass."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastseq import _core
from fastseq._arrays import INT64, Array, floating, integer, message, number
from fastseq._symbol import Op, Shape, apply
from fastseq.ops._ctc import INPUTS, choice, label_counts, read_labels, read_lengths
from fastseq.ops._saved import Saved, check_wanted, opened

__all__ = [
    "ctc_batch_cost",
    "ctc_loss",
    "ctc_loss_and_gradient",
    "ctc_loss_backward",
    "ctc_loss_forward",
]

INFEASIBLE = ("inf", "zero", "raise")  # the kernel's enumeration, in its order


# --- the loss -------------------------------------------------------------------------------------


def ctc_loss(
    logits: Any,
    labels: Any,
    logit_lengths: Any = None,
    label_lengths: Any = None,
    *,
    weights: Any = None,
    blank: int = 0,
    skip_steps: int = 0,
    input: str = "logits",
    infeasible: str = "inf",
) -> Any:
    """Connectionist temporal classification loss, one value per sequence; on arrays or Symbols.

    The negative log-probability, in nats, of ``labels`` summed over every alignment that spells them
    once repeats are merged and blanks removed.

    Args:
        logits: (batch, steps, classes), float32 or float64: what ``input`` says. Steps at or after
            ``logit_lengths[n]`` are ignored.
        labels: (batch, longest) whole numbers, each in [0, classes) and not the blank; or a list of
            sequences of them. Entries at or after ``label_lengths[n]`` are ignored.
        logit_lengths: (batch,) in [0, steps - skip_steps]; None for all steps.
        label_lengths: (batch,) in [0, longest]; None for all of each row or sequence.
        weights: (batch,) numbers that the losses are multiplied with; None for 1. A sequence of
            weight 0 has loss 0, whatever its frames hold.
        blank: The class of the blank; negative ones count from the end.
        skip_steps: How many steps at the start of every sequence are ignored; ``logit_lengths``
            counts those after them.
        input: "logits": unnormalised; "log_probs": logarithms of probabilities; "probs":
            probabilities. The last two are taken as they are, not normalised.
        infeasible: What becomes of a sequence whose labels no alignment of positive probability
            spells: a loss of "inf" or "zero", or "raise".
    Returns:
        (batch,), dtype of ``logits``. NaN where a frame that is used holds NaN or inf - for log_probs and
        probs: in a class that can be used there; a logit or a log-probability of -inf, or a probability
        below 0, is a class that cannot be. Log-probabilities below -2.5e6 count as -inf.
    Raises:
        TypeError: Something is not an array of real numbers.
        ValueError: A shape, label or length is outside the ranges above; with "raise", a sequence is
            infeasible, and the text names it.
    Source:
        Graves et al. (2006), https://doi.org/10.1145/1143844.1143891
    """
    options = {"blank": blank, "skip_steps": skip_steps, "input": input, "infeasible": infeasible}
    return apply(CTC_LOSS, (logits, labels, logit_lengths, label_lengths, weights), options)


def ctc_loss_and_gradient(
    logits: Any,
    labels: Any,
    logit_lengths: Any = None,
    label_lengths: Any = None,
    *,
    weights: Any = None,
    blank: int = 0,
    skip_steps: int = 0,
    input: str = "logits",
    infeasible: str = "inf",
) -> tuple[Array, Array]:
    """``ctc_loss`` with the gradient of its sum.

    Arguments and errors are those of ``ctc_loss``.

    Returns:
        The losses (batch,) and the gradient with respect to ``logits`` as they are declared, like
        ``logits``: 0 in skipped frames, in those at or after the length, and in all frames of an
        infeasible sequence. That of probabilities is formed without dividing by them, so it is right
        where one is 0.
    """
    function = "ctc_loss_and_gradient"
    losses, gradient = _ctc(
        function, True, logits, labels, logit_lengths, label_lengths, weights,
        blank, skip_steps, input, infeasible,
    )  # fmt: skip
    assert gradient is not None
    return losses, gradient


def ctc_loss_forward(
    logits: Any,
    labels: Any,
    logit_lengths: Any = None,
    label_lengths: Any = None,
    weights: Any = None,
    *,
    blank: int = 0,
    skip_steps: int = 0,
    input: str = "logits",
    infeasible: str = "inf",
    training: bool = True,
) -> tuple[Array, Saved | None]:
    """``ctc_loss``, and what its backward needs where ``training``.

    Arguments, losses and errors are those of ``ctc_loss``.
    """
    losses, gradient = _ctc(
        "ctc_loss", training, logits, labels, logit_lengths, label_lengths, weights,
        blank, skip_steps, input, infeasible,
    )  # fmt: skip
    return losses, Saved("ctc_loss_forward", gradient) if training else None


_Logits = namedtuple("_Logits", "logits")


def ctc_loss_backward(
    saved: Any, dlosses: Any, *, wanted: Sequence[str] = ("logits",), into: Any = None, keep: bool = False
) -> _Logits:
    """The gradient for the logits, from those of the losses.

    Args:
        saved: What ``ctc_loss_forward`` returned; used up unless ``keep``.
        dlosses: (batch,).
        wanted: ("logits",).
        into: Unused.
        keep: Leave ``saved`` usable for another backward.
    Returns:
        .logits, like the logits.
    Raises:
        TypeError: ``saved`` is something else.
        RuntimeError: ``saved`` was used up.
    """
    check_wanted(wanted, ("logits",), "ctc_loss_backward")
    (gradient,) = opened(saved, "ctc_loss_forward", "ctc_loss_backward", keep)
    return _Logits(_scaled("ctc_loss_backward", gradient, dlosses))


def _scaled(function: str, gradient: Array, dlosses: Any) -> Array:
    """The gradient of a sum of losses, each sequence times its own."""
    each = floating(dlosses, function, "dlosses", dtype=gradient.dtype)
    if each.size != len(gradient):
        rule = f"have shape ({len(gradient)},)"
        raise ValueError(message(function, "dlosses", rule, str(each.shape)))
    return np.asarray(gradient * each.reshape(-1, 1, 1))


_Infer = tuple[tuple[Shape, Any], ...]


def _loss_infer(logits: Any, *_: Any, **__: Any) -> _Infer:
    return ((logits.shape[:1], logits.dtype),)


CTC_LOSS = Op(
    "ctc_loss", ("logits", "labels", "logit_lengths", "label_lengths", "weights"),
    ctc_loss_forward, _loss_infer, ctc_loss_backward, ("logits",),
    whole=("labels", "logit_lengths", "label_lengths"),
)  # fmt: skip


def _ctc(
    function: str, gradient: bool, logits: Any, labels: Any, logit_lengths: Any, label_lengths: Any,
    weights: Any, blank: Any, skip_steps: Any, input: str, infeasible: str,
) -> tuple[Array, Array | None]:  # fmt: skip
    logits = floating(logits, function, "logits", ndim=3)
    batch, steps, _ = logits.shape
    rows, label_lengths = read_labels(function, labels, label_lengths)
    skipped = number(skip_steps, function, "skip_steps", low=0, whole=True)
    return _core.ctc(
        function,
        logits,
        rows,
        read_lengths(function, "logit_lengths", logit_lengths, batch, max(steps - skipped, 0)),
        label_lengths,
        None if weights is None else floating(weights, function, "weights", dtype=logits.dtype),
        skipped,
        number(blank, function, "blank", whole=True),
        choice(function, "input", input, INPUTS),
        choice(function, "infeasible", infeasible, INFEASIBLE),
        gradient,
    )


# --- the cost as Keras's backend defines it -------------------------------------------------------

EPSILON = 1e-7  # keras.backend.epsilon()


def ctc_batch_cost(y_true: Any, y_pred: Any, input_length: Any, label_length: Any) -> Any:
    """CTC of softmax outputs as ``keras.backend.ctc_batch_cost`` defines it; on arrays or Symbols.

    ``-log P(labels)`` where the probabilities of a frame are softmax(log(y_pred + 1e-7)), that is,
    ``y_pred + 1e-7`` normalised again. The blank is the last class.

    Args:
        y_true: (batch, longest) whole numbers. A row's labels end at its first blank, so that a row
            of one blank is empty, or at its length.
        y_pred: (batch, steps, classes) probabilities, float32 or float64.
        input_length: (batch,) or (batch, 1): steps that count.
        label_length: (batch,) or (batch, 1): entries of ``y_true`` that count.
    Returns:
        (batch, 1), dtype of ``y_pred``; inf, with gradient 0, where no alignment exists.
    Raises:
        TypeError: Something is not an array of real numbers.
        ValueError: Shapes do not fit, a length or label is out of range, or a label follows a blank.
    """
    return apply(CTC_BATCH_COST, (y_true, y_pred, input_length, label_length), {})


def _batch_cost_forward(
    y_true: Any, y_pred: Any, input_length: Any, label_length: Any, *, training: bool
) -> tuple[Any, ...]:
    function = "ctc_batch_cost"
    probabilities = floating(y_pred, function, "y_pred", ndim=3)
    labels = integer(y_true, function, "y_true", ndim=2).astype(INT64, copy=False)
    ends = labels == probabilities.shape[-1] - 1
    counts = label_counts(function, "y_true", labels, ends, "a blank", label_length)
    shifted = probabilities + probabilities.dtype.type(EPSILON)
    with np.errstate(divide="ignore", invalid="ignore"):  # of what is no probability
        logs = np.log(shifted)
    losses, gradient = _ctc(
        function, training, logs, labels, input_length, counts, None, -1, 0, "logits", "inf"
    )
    return losses[:, None], (gradient, shifted)


_YPred = namedtuple("_YPred", "y_pred")


def _batch_cost_backward(saved: Any, dcost: Array, **_: Any) -> _YPred:
    gradient, shifted = saved
    dlogs = _scaled("ctc_batch_cost", gradient, dcost)
    # 0 stays 0 in steps that do not count, whatever they hold
    return _YPred(np.divide(dlogs, shifted, out=np.zeros_like(dlogs), where=dlogs != 0))


def _batch_cost_infer(y_true: Any, y_pred: Any, *_: Any) -> _Infer:
    return (((y_pred.shape[0], 1), y_pred.dtype),)


CTC_BATCH_COST = Op(
    "ctc_batch_cost", ("y_true", "y_pred", "input_length", "label_length"),
    _batch_cost_forward, _batch_cost_infer, _batch_cost_backward, ("y_pred",),
    whole=("y_true", "input_length", "label_length"),
)  # fmt: skip
