"""Losses: Keras's names, one value per row from ``ops``, and how rows become the number that is trained on.

A row is everything but the last axis: a sample, or a step of a sample.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastseq import ops
from fastseq._arrays import Array, describe, floating, integer, message, number, total
from fastseq._names import known_as, snake

__all__ = [
    "BinaryCrossentropy",
    "CategoricalCrossentropy",
    "Loss",
    "MeanAbsoluteError",
    "MeanSquaredError",
    "SparseCategoricalCrossentropy",
    "binary_crossentropy",
    "categorical_crossentropy",
    "get",
    "mean_absolute_error",
    "mean_squared_error",
    "sparse_categorical_crossentropy",
]

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
    factor: Array = np.ones(rows, dtype) if mask is None else _widened(mask, rows).astype(dtype)
    if weights is not None:
        factor = factor * _widened(weights, rows).astype(dtype, copy=False)
    if reduction in ("sum_over_batch_size", "mean"):
        divisor: float = size if mask is None else int(_widened(mask, rows).sum())
    elif reduction == "mean_with_sample_weight":
        divisor = total(factor)
    else:
        divisor = 1
    # nothing valid: loss 0 and gradient 0
    return np.ascontiguousarray(factor * (1.0 / divisor if divisor else 0.0), dtype=dtype)


def _widened(values: Array, rows: tuple[int, ...]) -> Array:
    """(batch,) values against (batch, steps) rows stand for every step."""
    if values.ndim < len(rows):
        values = values.reshape(values.shape + (1,) * (len(rows) - values.ndim))
    elif values.ndim == len(rows) + 1 and values.shape[-1] == 1:
        values = values.reshape(values.shape[:-1])
    return np.broadcast_to(values, rows)


class Loss:
    """A loss: ``loss(y_true, y_pred, sample_weight=None)`` is a number (an array for reduction "none").

    Attributes:
        absorbs: The activation whose input it can take instead of its output ("softmax", "sigmoid").
        sparse: Whether targets are integer labels, one fewer axis than the prediction.
    """

    absorbs: str | None = None
    sparse = False

    def __init__(self, name: str | None = None, reduction: str | None = "sum_over_batch_size") -> None:
        reduction = "none" if reduction is None else reduction
        if reduction not in REDUCTIONS:
            rule = f"be one of {', '.join(REDUCTIONS)}"
            raise ValueError(message(type(self).__name__, "reduction", rule, describe(reduction)))
        self.name = name or snake(type(self).__name__)
        self.reduction = reduction

    def rows(
        self, prediction: Array, target: Array, weights: float | Array, logits: bool, gradient: bool
    ) -> tuple[Array, Array | None]:
        """(the losses of the rows times their weights, the gradient of their sum or None)."""
        raise NotImplementedError

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
        each = row_weights(prediction.shape[:-1], weights, mask, self.reduction, prediction.dtype)
        losses, dprediction = self.rows(prediction, target, each, logits, gradient)
        return total(losses), dprediction

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """The loss of arrays.

        Args:
            y_true: Targets; for a sparse loss integer labels.
            y_pred: Predictions, (..., classes).
            sample_weight: One weight per sample or per row; None for 1.
        Raises:
            TypeError: Not numbers.
            ValueError: Shapes do not fit.
        """
        prediction = floating(y_pred, self.name, "y_pred")
        target = self.target(y_true, prediction, self.name, "y_true")
        weights = None if sample_weight is None else floating(sample_weight, self.name, "sample_weight")
        each = row_weights(prediction.shape[:-1], weights, None, self.reduction, prediction.dtype)
        losses, _ = self.rows(prediction, target, each, False, False)
        if self.reduction == "none":
            return losses
        return losses.dtype.type(total(losses))

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


def _fits(shape: tuple[int, ...], wanted: tuple[int | None, ...], function: str, argument: str) -> None:
    if len(shape) != len(wanted) or any(n is not None and m != n for m, n in zip(shape, wanted, strict=True)):
        raise ValueError(message(function, argument, f"have shape {tuple(wanted)}", str(shape)))


class _Crossentropy(Loss):
    """Common to the cross-entropies."""

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
    ) -> None:
        super().__init__(name, reduction)
        if axis != -1:
            raise ValueError(message(type(self).__name__, "axis", "be -1, the last one", describe(axis)))
        self.from_logits = bool(from_logits)
        self.label_smoothing = number(label_smoothing, type(self).__name__, "label_smoothing", low=0, high=1)
        # Given logits, there is no activation to take in.
        self.absorbs = None if self.from_logits else type(self).absorbs

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        return {**config, "from_logits": self.from_logits, "label_smoothing": self.label_smoothing}


class CategoricalCrossentropy(_Crossentropy):
    """-sum(target * log(probability)), targets one-hot or distributions.

    Args:
        from_logits: Whether predictions are logits rather than probabilities. A model whose output
            is a softmax need not say so: the two are computed as one anyway.
        label_smoothing: In [0, 1]: how much of each target is spread over all classes.
        axis: -1.
        reduction: "sum_over_batch_size", "sum", "mean_with_sample_weight" or "none".
        name: For people.
    """

    absorbs = "softmax"

    def rows(
        self, prediction: Array, target: Array, weights: float | Array, logits: bool, gradient: bool
    ) -> tuple[Array, Array | None]:
        return ops.categorical_crossentropy(
            prediction,
            target,
            weights,
            from_logits=logits or self.from_logits,
            label_smoothing=self.label_smoothing,
            gradient=gradient,
        )


class SparseCategoricalCrossentropy(Loss):
    """-log(probability of the label), targets integer labels in [0, classes).

    Args:
        from_logits: Whether predictions are logits rather than probabilities.
        ignore_class: Must be None.
        axis: -1.
        reduction: "sum_over_batch_size", "sum", "mean_with_sample_weight" or "none".
        name: For people.
    """

    sparse = True

    def __init__(
        self,
        from_logits: bool = False,
        ignore_class: int | None = None,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
    ) -> None:
        super().__init__(name, reduction)
        if axis != -1:
            raise ValueError(message(type(self).__name__, "axis", "be -1, the last one", describe(axis)))
        if ignore_class is not None:
            raise ValueError(message(type(self).__name__, "ignore_class", "be None", describe(ignore_class)))
        self.from_logits = bool(from_logits)
        self.absorbs = None if self.from_logits else "softmax"

    def rows(
        self, prediction: Array, target: Array, weights: float | Array, logits: bool, gradient: bool
    ) -> tuple[Array, Array | None]:
        return ops.sparse_categorical_crossentropy(
            prediction, target, weights, from_logits=logits or self.from_logits, gradient=gradient
        )

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "from_logits": self.from_logits}


class BinaryCrossentropy(_Crossentropy):
    """-(target log p + (1 - target) log(1 - p)), averaged over the last axis.

    Args:
        from_logits: Whether predictions are logits rather than probabilities. A model whose output
            is a sigmoid need not say so.
        label_smoothing: In [0, 1]: how far targets move towards 1/2.
        axis: -1.
        reduction: "sum_over_batch_size", "sum", "mean_with_sample_weight" or "none".
        name: For people.
    """

    absorbs = "sigmoid"

    def rows(
        self, prediction: Array, target: Array, weights: float | Array, logits: bool, gradient: bool
    ) -> tuple[Array, Array | None]:
        return ops.binary_crossentropy(
            prediction,
            target,
            weights,
            from_logits=logits or self.from_logits,
            label_smoothing=self.label_smoothing,
            gradient=gradient,
        )


class _Error(Loss):
    """Common to the losses of one operation without options."""

    def __init__(self, reduction: str | None = "sum_over_batch_size", name: str | None = None) -> None:
        super().__init__(name, reduction)


class MeanSquaredError(_Error):
    """Mean of (target - prediction)^2 over the last axis."""

    def rows(
        self, prediction: Array, target: Array, weights: float | Array, logits: bool, gradient: bool
    ) -> tuple[Array, Array | None]:
        return ops.mean_squared_error(prediction, target, weights, gradient=gradient)


class MeanAbsoluteError(_Error):
    """Mean of |target - prediction| over the last axis."""

    def rows(
        self, prediction: Array, target: Array, weights: float | Array, logits: bool, gradient: bool
    ) -> tuple[Array, Array | None]:
        return ops.mean_absolute_error(prediction, target, weights, gradient=gradient)


# --- the functions: one value per row -------------------------------------------------------------


def categorical_crossentropy(
    y_true: Any, y_pred: Any, from_logits: bool = False, label_smoothing: float = 0.0, axis: int = -1
) -> Array:
    """One value per row: see ``CategoricalCrossentropy``."""
    loss = CategoricalCrossentropy(from_logits, label_smoothing, axis, reduction="none")
    return loss(y_true, y_pred)  # type: ignore[no-any-return]


def sparse_categorical_crossentropy(
    y_true: Any, y_pred: Any, from_logits: bool = False, ignore_class: int | None = None, axis: int = -1
) -> Array:
    """One value per row: see ``SparseCategoricalCrossentropy``."""
    loss = SparseCategoricalCrossentropy(from_logits, ignore_class, axis, reduction="none")
    return loss(y_true, y_pred)  # type: ignore[no-any-return]


def binary_crossentropy(
    y_true: Any, y_pred: Any, from_logits: bool = False, label_smoothing: float = 0.0, axis: int = -1
) -> Array:
    """One value per row: see ``BinaryCrossentropy``."""
    return BinaryCrossentropy(from_logits, label_smoothing, axis, reduction="none")(y_true, y_pred)  # type: ignore[no-any-return]


def mean_squared_error(y_true: Any, y_pred: Any) -> Array:
    """One value per row: see ``MeanSquaredError``."""
    return MeanSquaredError("none")(y_true, y_pred)  # type: ignore[no-any-return]


def mean_absolute_error(y_true: Any, y_pred: Any) -> Array:
    """One value per row: see ``MeanAbsoluteError``."""
    return MeanAbsoluteError("none")(y_true, y_pred)  # type: ignore[no-any-return]


# --- by name --------------------------------------------------------------------------------------


_CLASSES: tuple[Callable[..., Loss], ...] = (
    CategoricalCrossentropy, SparseCategoricalCrossentropy, BinaryCrossentropy, MeanSquaredError,
    MeanAbsoluteError,
)  # fmt: skip
KNOWN: dict[str, Callable[..., Loss]] = {snake(c.__name__): c for c in _CLASSES}
_ALIASES = {"mse": "mean_squared_error", "mae": "mean_absolute_error"}
_FUNCTIONS: dict[Any, str] = {
    categorical_crossentropy: "categorical_crossentropy",
    sparse_categorical_crossentropy: "sparse_categorical_crossentropy",
    binary_crossentropy: "binary_crossentropy",
    mean_squared_error: "mean_squared_error",
    mean_absolute_error: "mean_absolute_error",
}


def get(identifier: Any, function: str = "losses.get", argument: str = "identifier") -> Loss:
    """The loss meant by a name, one of this module's functions, a class or an object.

    Args:
        identifier: ``"mse"``, ``"MeanSquaredError"``, ``losses.mean_squared_error``,
            ``losses.MeanSquaredError`` or ``losses.MeanSquaredError()``.
        function: Who asks, for the error's text.
        argument: The argument's name, for the error's text.
    Raises:
        ValueError: An unknown name; the text lists the known ones.
        TypeError: None of the above.
    """
    if isinstance(identifier, Loss):
        return identifier
    if isinstance(identifier, type) and issubclass(identifier, Loss):
        return identifier()
    if callable(identifier) and identifier in _FUNCTIONS:
        return KNOWN[_FUNCTIONS[identifier]]()
    if isinstance(identifier, str):
        return known_as(identifier, KNOWN, function, argument, _ALIASES)()
    raise TypeError(message(function, argument, "be the name of a loss or a Loss", describe(identifier)))
