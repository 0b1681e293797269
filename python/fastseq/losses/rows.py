"""The losses that compare row by row, and the functions that give one value per row."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastseq import ops
from fastseq._arrays import Array, describe, message, number
from fastseq.losses.base import Loss

__all__ = [
    "BinaryCrossentropy",
    "CategoricalCrossentropy",
    "MeanAbsoluteError",
    "MeanSquaredError",
    "SparseCategoricalCrossentropy",
    "binary_crossentropy",
    "categorical_crossentropy",
    "mean_absolute_error",
    "mean_squared_error",
    "sparse_categorical_crossentropy",
]


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
        ignore_class: Rows with this label count nothing; it may lie outside of [0, classes). None for none.
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
        self.ignore_class = (
            None
            if ignore_class is None
            else number(ignore_class, type(self).__name__, "ignore_class", whole=True)
        )
        self.from_logits = bool(from_logits)
        self.absorbs = None if self.from_logits else "softmax"

    def counted(self, target: Array) -> Array | None:
        return None if self.ignore_class is None else target != self.ignore_class

    def rows(
        self, prediction: Array, target: Array, weights: float | Array, logits: bool, gradient: bool
    ) -> tuple[Array, Array | None]:
        if (counted := self.counted(target)) is not None:
            target = np.where(counted, target, 0)
            weights = (counted * weights).astype(prediction.dtype)
        return ops.sparse_categorical_crossentropy(
            prediction, target, weights, from_logits=logits or self.from_logits, gradient=gradient
        )

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        return {**config, "from_logits": self.from_logits, "ignore_class": self.ignore_class}


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
