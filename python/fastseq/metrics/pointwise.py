"""Running means of a value per row or per sample: accuracies, errors, cross-entropies, own functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastseq import losses, ops
from fastseq._arrays import Array, floating
from fastseq._names import snake
from fastseq.metrics.base import Mean

__all__ = [
    "Accuracy",
    "BinaryAccuracy",
    "BinaryCrossentropy",
    "CategoricalAccuracy",
    "CategoricalCrossentropy",
    "MeanAbsoluteError",
    "MeanMetricWrapper",
    "MeanSquaredError",
    "SparseCategoricalAccuracy",
    "SparseCategoricalCrossentropy",
    "binary_accuracy",
    "categorical_accuracy",
    "sparse_categorical_accuracy",
]


class MeanMetricWrapper(Mean):
    """The mean of a function of (y_true, y_pred) that gives one value per row or per sample.

    Args:
        fn: Called with arrays (and ``kwargs``).
        name: Its key in the logs; the function's name by default.
        dtype: Ignored.
        kwargs: Passed to ``fn``.
    """

    def __init__(
        self, fn: Callable[..., Any], name: str | None = None, dtype: Any = None, **kwargs: Any
    ) -> None:
        super().__init__(name or getattr(fn, "__name__", "metric"), dtype)
        self._fn = fn
        self._options = kwargs

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:  # type: ignore[override]
        values = np.asarray(self._fn(y_true, y_pred, **self._options))
        self.count_values(values, sample_weight)

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> float:  # type: ignore[override]
        self.update_state(y_true, y_pred, sample_weight)
        return self.result()


class _Named(MeanMetricWrapper):
    """A wrapper around one function, with the class's own name."""

    FUNCTION: Callable[..., Any]

    def __init__(self, name: str | None = None, dtype: Any = None, **options: Any) -> None:
        super().__init__(type(self).FUNCTION, name or snake(type(self).__name__), dtype, **options)


def categorical_accuracy(y_true: Any, y_pred: Any) -> Array:
    """1 where the largest prediction is where the largest target is, else 0: (...) from (..., classes)."""
    prediction = floating(y_pred, "categorical_accuracy", "y_pred")
    target = floating(y_true, "categorical_accuracy", "y_true", dtype=prediction.dtype)
    return ops.categorical_matches(prediction, target)


def sparse_categorical_accuracy(y_true: Any, y_pred: Any) -> Array:
    """1 where the largest prediction is the label, else 0: (...) from labels (...), (..., classes)."""
    prediction = floating(y_pred, "sparse_categorical_accuracy", "y_pred")
    labels = np.asarray(y_true)
    if labels.ndim == prediction.ndim and labels.shape[-1] == 1:
        labels = labels.reshape(labels.shape[:-1])
    return ops.sparse_categorical_matches(prediction, labels.astype(np.int64, copy=False))


def binary_accuracy(y_true: Any, y_pred: Any, threshold: float = 0.5) -> Array:
    """How many of the last axis's predictions are on the target's side of ``threshold``, as a share."""
    prediction = floating(y_pred, "binary_accuracy", "y_pred")
    target = floating(y_true, "binary_accuracy", "y_true", dtype=prediction.dtype)
    if target.ndim == prediction.ndim - 1 and prediction.shape[-1] == 1:
        target = target.reshape((*target.shape, 1))
    return ops.binary_matches(prediction, target, threshold)


def _equal(y_true: Any, y_pred: Any) -> Array:
    return np.asarray(np.equal(y_true, y_pred), np.float32)


class Accuracy(_Named):
    """How often predictions equal labels exactly."""

    FUNCTION = staticmethod(_equal)


class CategoricalAccuracy(_Named):
    """How often the largest prediction is the one-hot target's class."""

    FUNCTION = staticmethod(categorical_accuracy)
    order_only = True


class SparseCategoricalAccuracy(_Named):
    """How often the largest prediction is the label."""

    FUNCTION = staticmethod(sparse_categorical_accuracy)
    order_only = True


class BinaryAccuracy(_Named):
    """How often predictions are on the target's side of ``threshold``."""

    FUNCTION = staticmethod(binary_accuracy)

    def __init__(self, name: str | None = None, dtype: Any = None, threshold: float = 0.5) -> None:
        super().__init__(name, dtype, threshold=threshold)


class MeanSquaredError(_Named):
    """Mean of (target - prediction)^2."""

    FUNCTION = staticmethod(losses.mean_squared_error)


class MeanAbsoluteError(_Named):
    """Mean of |target - prediction|."""

    FUNCTION = staticmethod(losses.mean_absolute_error)


class CategoricalCrossentropy(_Named):
    """Mean of -sum(target * log(probability))."""

    FUNCTION = staticmethod(losses.categorical_crossentropy)


class SparseCategoricalCrossentropy(_Named):
    """Mean of -log(probability of the label)."""

    FUNCTION = staticmethod(losses.sparse_categorical_crossentropy)


class BinaryCrossentropy(_Named):
    """Mean of -(target log p + (1 - target) log(1 - p))."""

    FUNCTION = staticmethod(losses.binary_crossentropy)
