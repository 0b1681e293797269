"""What every loss has: how the losses of rows become one number, and what targets it takes.

A row is everything but the last axis: a sample, or a step of a sample.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from fastseq import data
from fastseq._arrays import Array, column, describe, floating, integer, message, total
from fastseq._names import FromArguments, snake
from fastseq._symbol import is_traced
from fastseq.losses.symbolic import joined, same_rank

__all__ = ["REDUCTIONS", "FunctionLoss", "Loss", "row_weights", "widened"]

REDUCTIONS = ("sum_over_batch_size", "mean", "sum", "mean_with_sample_weight", "none")


def row_weights(
    rows: tuple[int, ...],
    weights: Array | None,
    mask: Array | None,
    reduction: str,
    dtype: np.dtype[Any],
) -> float | Array:
    """What each row's loss is multiplied with, so that their sum is the reduced loss.

    As in Keras: the mean is over all rows, those of weight 0 too, but over unmasked rows only.

    Args:
        rows: (batch,) or (batch, steps): the shape of the losses.
        weights: (batch,) or the shape of ``rows``; None for 1.
        mask: Bool, the shape of ``rows``; None for all.
        reduction: One of ``REDUCTIONS``.
        dtype: Of the result.
    Returns:
        One number for all rows, or an array of shape ``rows``.
    """
    size = 1
    for n in rows:
        size *= n
    if weights is None and mask is None:
        return 1.0 if reduction in ("sum", "none") else 1.0 / max(size, 1)
    factor: Array = np.ones(rows, dtype) if mask is None else widened(mask, rows).astype(dtype)
    if weights is not None:
        factor = factor * widened(weights, rows).astype(dtype, copy=False)
    if reduction in ("sum_over_batch_size", "mean"):
        divisor: float = size if mask is None else int(widened(mask, rows).sum())
    elif reduction == "mean_with_sample_weight":
        divisor = total(factor)
    else:
        divisor = 1
    # nothing valid: loss 0 and gradient 0
    return np.ascontiguousarray(factor * (1.0 / divisor if divisor else 0.0), dtype=dtype)


def widened(values: Array, rows: tuple[int, ...]) -> Array:
    """(batch,) values against (batch, steps) rows stand for every step."""
    if values.ndim < len(rows):
        values = values.reshape(values.shape + (1,) * (len(rows) - values.ndim))
    elif values.ndim == len(rows) + 1 and values.shape[-1] == 1:
        values = values.reshape(values.shape[:-1])
    return np.broadcast_to(values, rows)


class Loss(FromArguments):
    """A loss: ``loss(y_true, y_pred, sample_weight=None)`` is a number (an array for reduction "none").

    A loss of one's own is a subclass with ``call(self, y_true, y_pred)``, written with ``fastseq.ops``,
    operators and slices; a model traces it, and takes its gradient from the graph.

    Attributes:
        absorbs: The activation whose input it can take instead of its output ("softmax", "sigmoid").
        sparse: Whether targets are integer labels, one fewer axis than the prediction.
        sequences: Whether a whole sequence has one loss, its targets being labels of another number
            than its steps.
        spelling: How predictions spell labels where it is not one per step: options of the metrics of
            sequences (decode, blank, skip_steps, padding).
    """

    absorbs: str | None = None
    sparse = False
    sequences = False
    spelling: Mapping[str, Any] | None = None

    def __init__(self, name: str | None = None, reduction: str | None = "sum_over_batch_size") -> None:
        reduction = "none" if reduction is None else reduction
        if reduction not in REDUCTIONS:
            rule = f"be one of {', '.join(REDUCTIONS)}"
            raise ValueError(message(type(self).__name__, "reduction", rule, describe(reduction)))
        self.name = name or snake(type(self).__name__)
        self.reduction = reduction

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """The losses (batch, ...) of arrays or Symbols: what a subclass may define."""
        raise NotImplementedError

    @property
    def traced(self) -> bool:
        """Whether ``call`` says what the losses are, rather than ``rows``."""
        return type(self).call is not Loss.call

    def absorbed(self, activation: str) -> str | None:
        """Which activation the loss takes in where ``activation`` has made the predictions."""
        return self.absorbs if activation == self.absorbs else None

    def compared(self, prediction: Array) -> tuple[int, ...]:
        """The shape of the losses."""
        shape: tuple[int, ...] = prediction.shape
        return shape[:1] if self.sequences else shape[:-1]

    def rows(
        self, prediction: Array, target: Array, weights: float | Array, logits: bool, gradient: bool
    ) -> tuple[Array, Array | None]:
        """(the losses of the rows times their weights, the gradient of their sum or None)."""
        raise NotImplementedError

    def counted(self, target: Array) -> Array | None:
        """Which rows count by their targets: bool, or None for all."""
        return None

    def _mask(self, target: Array, mask: Array | None) -> Array | None:
        """The rows that count, both by their targets and by ``mask``."""
        counted = self.counted(target)
        if counted is None or mask is None:
            return mask if counted is None else counted
        return counted & widened(mask, counted.shape)

    def measure(
        self,
        prediction: Array,
        target: Array,
        weights: Array | None,
        mask: Array | None,
        logits: bool,
        gradient: bool,
    ) -> tuple[float, Array | None]:
        """The reduced loss and its gradient; what a plan's head calls, with arrays it trusts.

        Args:
            prediction: (..., classes); logits where ``logits`` says so.
            target: Like ``prediction``, or (...) labels of a sparse loss.
            weights: Weights of samples or rows, or None.
            mask: Bool, of rows, or None.
            logits: Whether the activation this loss absorbs has been left to it.
            gradient: Whether the gradient is wanted.
        """
        mask = self._mask(target, mask)
        each = row_weights(self.compared(prediction), weights, mask, self.reduction, prediction.dtype)
        losses, dprediction = self.rows(prediction, target, each, logits, gradient)
        return total(losses), dprediction

    def measure_traced(
        self,
        values: Array,
        target: Array,
        weights: Array | None,
        mask: Array | None,
        logits: bool,
        gradient: bool,
    ) -> tuple[float, Array | None]:
        """``measure`` of losses that the graph has computed: ``values`` (batch, ...) in place of predictions.

        One number for the batch, (), is multiplied with the mean of the weights (of "sum", their sum).

        A mask of more axes than they have says nothing of them.

        Raises:
            ValueError: Weights of more axes.
        """
        each = self._weights_of(values, weights, mask)
        with np.errstate(invalid="ignore"):  # inf or NaN of weight 0
            losses = values * each if np.ndim(each) == 0 else np.where(each == 0, 0, values * each)
        return total(losses), np.full(values.shape, each, values.dtype) if gradient else None

    def _weights_of(self, values: Array, weights: Array | None, mask: Array | None) -> float | Array:
        if weights is not None and weights.ndim > values.ndim > 0 and weights.shape[values.ndim :] != (1,):
            rule = f"have the shape {values.shape} of the losses"
            raise ValueError(message(self.name, "sample_weight", rule, str(weights.shape)))
        if values.ndim == 0 and weights is not None:  # one number for the batch: all its weights are of it
            return float(weights.sum() if self.reduction == "sum" else weights.mean())
        if mask is not None and mask.ndim > values.ndim:
            mask = None
        return row_weights(values.shape, weights, mask, self.reduction, values.dtype)

    def each(self, y_true: Any, y_pred: Any) -> Array:
        """The losses of arrays, not reduced."""
        prediction = floating(y_pred, self.name, "y_pred")
        if self.traced:
            target = floating(y_true, self.name, "y_true", dtype=prediction.dtype)
            return np.asarray(self.call(*same_rank(target, prediction)))
        target = self.target(y_true, prediction, self.name, "y_true")
        return self.rows(prediction, target, 1.0, False, False)[0]

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """The loss of arrays; of Symbols, the same as part of a graph.

        Args:
            y_true: Targets; for a sparse loss integer labels.
            y_pred: Predictions, (..., classes).
            sample_weight: One weight per sample or per row; None for 1.
        Raises:
            TypeError: Not numbers.
            ValueError: Shapes do not fit.
        """
        if is_traced((y_true, y_pred)):
            return joined(self, y_true, y_pred, sample_weight)
        weights = None if sample_weight is None else floating(sample_weight, self.name, "sample_weight")
        if self.traced:
            values = self.each(y_true, y_pred)
            losses = values * self._weights_of(values, weights, None)
            return losses if self.reduction == "none" else losses.dtype.type(total(losses))
        prediction = floating(y_pred, self.name, "y_pred")
        target = self.target(y_true, prediction, self.name, "y_true")
        mask = self._mask(target, None)
        each = row_weights(self.compared(prediction), weights, mask, self.reduction, prediction.dtype)
        losses, _ = self.rows(prediction, target, each, False, False)
        if self.reduction == "none":
            return losses
        return losses.dtype.type(total(losses))

    def column(self, y_true: Any, prediction: Any, function: str, argument: str) -> Array:
        """Targets as a dataset's column: in the type that came where the batches convert it.

        Arguments are those of ``target``.
        """
        if self.sparse:
            return self.target(y_true, prediction, function, argument)
        return data.fits(column(y_true, function, argument), prediction, function, argument)

    def for_metrics(self, prediction: Array, target: Array, mask: Array | None) -> tuple[Array, Array]:
        """(targets, predictions) as metrics see them, of a loss whose own form of them is another."""
        raise NotImplementedError

    def target(self, y_true: Any, prediction: Any, function: str, argument: str) -> Array:
        """Targets in the type and shape that ``rows`` takes.

        Args:
            y_true: What came.
            prediction: Anything with the shape and dtype of the predictions, the batch possibly None.
            function: Who asks, for the error's text.
            argument: The argument's name, for the error's text.
        """
        shape = prediction.shape
        if self.sparse:
            labels = integer(y_true, function, argument)
            if labels.ndim == len(shape) and labels.shape[-1] == 1:
                labels = labels.reshape(labels.shape[:-1])
            _fits(labels.shape, shape[:-1], function, argument)
            return labels
        target = floating(y_true, function, argument, dtype=prediction.dtype)
        if target.ndim == len(shape) - 1 and shape[-1] == 1:
            target = target.reshape((*target.shape, 1))
        _fits(target.shape, shape, function, argument)
        return target

    def get_config(self) -> dict[str, Any]:
        """The arguments that make this loss again."""
        return {"name": self.name, "reduction": self.reduction}


class FunctionLoss(Loss):
    """A function of (y_true, y_pred) as a loss.

    Args:
        function: Written with ``fastseq.ops``, operators and slices; gives losses (batch, ...).
        reduction: As of other losses.
        name: The function's by default.
    """

    def __init__(
        self,
        function: Callable[[Any, Any], Any],
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
    ) -> None:
        super().__init__(name or getattr(function, "__name__", type(function).__name__), reduction)
        self.function = function

    def call(self, y_true: Any, y_pred: Any) -> Any:
        return self.function(y_true, y_pred)


def _fits(shape: tuple[int, ...], wanted: tuple[int | None, ...], function: str, argument: str) -> None:
    if not data.agree(shape, wanted):
        raise ValueError(message(function, argument, f"have shape {tuple(wanted)}", str(shape)))
