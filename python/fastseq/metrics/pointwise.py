"""Running means of a value per row or per sample: accuracies, errors, cross-entropies, own functions."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from fastseq import losses, ops
from fastseq._arrays import Array, floating, integer, message, number
from fastseq._names import snake, unknown
from fastseq.losses.symbolic import same_rank
from fastseq.metrics.base import Mean

__all__ = [
    "Accuracy",
    "BinaryAccuracy",
    "BinaryCrossentropy",
    "CategoricalAccuracy",
    "CategoricalCrossentropy",
    "CategoricalHinge",
    "CosineSimilarity",
    "Hinge",
    "KLDivergence",
    "LogCoshError",
    "MeanAbsoluteError",
    "MeanAbsolutePercentageError",
    "MeanMetricWrapper",
    "MeanSquaredError",
    "MeanSquaredLogarithmicError",
    "Poisson",
    "RootMeanSquaredError",
    "SparseCategoricalAccuracy",
    "SparseCategoricalCrossentropy",
    "SparseTopKCategoricalAccuracy",
    "SquaredHinge",
    "TopKCategoricalAccuracy",
    "binary_accuracy",
    "categorical_accuracy",
    "cosine_similarity",
    "sparse_categorical_accuracy",
    "sparse_top_k_categorical_accuracy",
    "top_k_categorical_accuracy",
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

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self._options}


class _Named(MeanMetricWrapper):
    """A wrapper around one function, with the class's own name."""

    FUNCTION: Callable[..., Any]

    def __init__(self, name: str | None = None, dtype: Any = None, **options: Any) -> None:
        known = list(inspect.signature(type(self).FUNCTION).parameters)[2:]
        for option in options:
            if option not in known:
                rule = f"be among {', '.join(['name', 'dtype', *known])}"
                raise TypeError(message(type(self).__name__, "options", rule, unknown(option, known)))
        super().__init__(type(self).FUNCTION, name or snake(type(self).__name__), dtype, **options)


def categorical_accuracy(y_true: Any, y_pred: Any) -> Array:
    """1 where the largest prediction is where the largest target is, else 0: (...) from (..., classes)."""
    prediction = floating(y_pred, "categorical_accuracy", "y_pred")
    target = floating(y_true, "categorical_accuracy", "y_true", dtype=prediction.dtype)
    return ops.categorical_matches(prediction, target)


def sparse_categorical_accuracy(y_true: Any, y_pred: Any) -> Array:
    """1 where the largest prediction is the label, else 0: (...) from labels (...), (..., classes)."""
    prediction = floating(y_pred, "sparse_categorical_accuracy", "y_pred")
    return ops.sparse_categorical_matches(
        prediction, _labels(y_true, prediction, "sparse_categorical_accuracy")
    )


def _labels(y_true: Any, prediction: Array, function: str) -> Array:
    """Labels (...) for predictions (..., classes), a last axis of size 1 left out."""
    labels = integer(y_true, function, "y_true")
    if labels.ndim == prediction.ndim and labels.shape[-1] == 1:
        labels = labels.reshape(labels.shape[:-1])
    return labels.astype(np.int64, copy=False)


def binary_accuracy(y_true: Any, y_pred: Any, threshold: float = 0.5) -> Array:
    """How many of the last axis's predictions are on the target's side of ``threshold``, as a share."""
    prediction = floating(y_pred, "binary_accuracy", "y_pred")
    target = floating(y_true, "binary_accuracy", "y_true", dtype=prediction.dtype)
    if target.ndim == prediction.ndim - 1 and prediction.shape[-1] == 1:
        target = target.reshape((*target.shape, 1))
    return ops.binary_matches(prediction, target, threshold)


def _among_best(labels: Array, prediction: Array, k: int) -> Array:
    """1 where fewer than ``k`` classes are predicted above the label's, which is a number, else 0."""
    own = np.take_along_axis(prediction, labels[..., None], axis=-1)
    above = (prediction > own).sum(axis=-1)
    return np.asarray((above < k) & np.isfinite(own[..., 0]), np.float32)


def top_k_categorical_accuracy(y_true: Any, y_pred: Any, k: int = 5) -> Array:
    """1 where the target's class is among the ``k`` largest predictions, else 0: (...) of (..., classes)."""
    prediction = floating(y_pred, "top_k_categorical_accuracy", "y_pred")
    target = floating(y_true, "top_k_categorical_accuracy", "y_true")
    return _among_best(target.argmax(axis=-1), prediction, k)


def sparse_top_k_categorical_accuracy(
    y_true: Any, y_pred: Any, k: int = 5, from_sorted_ids: bool = False
) -> Array:
    """1 where the label is among the ``k`` largest predictions, else 0: (...) from labels (...).

    Args:
        y_true: (...) labels.
        y_pred: (..., classes); or classes, the best first, where ``from_sorted_ids``.
        k: How many.
        from_sorted_ids: Whether ``y_pred`` holds classes.
    """
    prediction = floating(y_pred, "sparse_top_k_categorical_accuracy", "y_pred")
    labels = _labels(y_true, prediction, "sparse_top_k_categorical_accuracy")
    if from_sorted_ids:
        return np.asarray((prediction[..., :k] == labels[..., None]).any(axis=-1), np.float32)
    return _among_best(labels, prediction, k)


def cosine_similarity(y_true: Any, y_pred: Any, axis: int = -1) -> Array:
    """The cosine of the angle between target and prediction along an axis."""
    return -losses.cosine_similarity(y_true, y_pred, axis)


def _squares(y_true: Any, y_pred: Any) -> Array:
    prediction = floating(y_pred, "root_mean_squared_error", "y_pred")
    target = floating(y_true, "root_mean_squared_error", "y_true", dtype=prediction.dtype)
    target, prediction = same_rank(target, prediction)
    return np.asarray(np.square(prediction - target))


def _equal(y_true: Any, y_pred: Any) -> Array:
    return np.asarray(np.equal(*same_rank(np.asarray(y_true), np.asarray(y_pred))), np.float32)


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


class TopKCategoricalAccuracy(_Named):
    """How often the one-hot target's class is among the ``k`` largest predictions.

    Args:
        k: How many.
        name: Its key in the logs.
        dtype: Ignored.
    """

    FUNCTION = staticmethod(top_k_categorical_accuracy)
    order_only = True

    def __init__(self, k: int = 5, name: str | None = None, dtype: Any = None) -> None:
        super().__init__(name, dtype, k=number(k, type(self).__name__, "k", low=1, whole=True))


class SparseTopKCategoricalAccuracy(_Named):
    """How often the label is among the ``k`` largest predictions.

    Args:
        k: How many.
        name: Its key in the logs.
        dtype: Ignored.
        from_sorted_ids: Whether predictions are classes already, the best first.
    """

    FUNCTION = staticmethod(sparse_top_k_categorical_accuracy)

    def __init__(
        self, k: int = 5, name: str | None = None, dtype: Any = None, from_sorted_ids: bool = False
    ) -> None:
        self.order_only = not from_sorted_ids
        made = number(k, type(self).__name__, "k", low=1, whole=True)
        super().__init__(name, dtype, k=made, from_sorted_ids=bool(from_sorted_ids))


class MeanSquaredError(_Named):
    """Mean of (target - prediction)^2."""

    FUNCTION = staticmethod(losses.mean_squared_error)


class MeanAbsoluteError(_Named):
    """Mean of |target - prediction|."""

    FUNCTION = staticmethod(losses.mean_absolute_error)


class RootMeanSquaredError(_Named):
    """The root of the mean of (target - prediction)^2."""

    FUNCTION = staticmethod(_squares)

    def result(self) -> float:
        return math.sqrt(super().result())


class MeanAbsolutePercentageError(_Named):
    """Mean of 100 |target - prediction| / |target|."""

    FUNCTION = staticmethod(losses.mean_absolute_percentage_error)


class MeanSquaredLogarithmicError(_Named):
    """Mean of (log(1 + target) - log(1 + prediction))^2."""

    FUNCTION = staticmethod(losses.mean_squared_logarithmic_error)


class LogCoshError(_Named):
    """Mean of log(cosh(prediction - target))."""

    FUNCTION = staticmethod(losses.log_cosh)

    def __init__(self, name: str | None = "logcosh", dtype: Any = None) -> None:
        super().__init__(name, dtype)


class CosineSimilarity(_Named):
    """Mean cosine of the angle between target and prediction.

    Args:
        name: Its key in the logs.
        dtype: Ignored.
        axis: Along which the two are vectors.
    """

    FUNCTION = staticmethod(cosine_similarity)


class Hinge(_Named):
    """Mean of max(1 - target * prediction, 0)."""

    FUNCTION = staticmethod(losses.hinge)


class SquaredHinge(_Named):
    """Mean of max(1 - target * prediction, 0)^2."""

    FUNCTION = staticmethod(losses.squared_hinge)


class CategoricalHinge(_Named):
    """Mean of max(1 + the largest prediction of the other classes - that of the target's, 0)."""

    FUNCTION = staticmethod(losses.categorical_hinge)


class KLDivergence(_Named):
    """Mean of sum(target * log(target / prediction))."""

    FUNCTION = staticmethod(losses.kl_divergence)


class Poisson(_Named):
    """Mean of prediction - target * log(prediction)."""

    FUNCTION = staticmethod(losses.poisson)


class CategoricalCrossentropy(_Named):
    """Mean of -sum(target * log(probability))."""

    FUNCTION = staticmethod(losses.categorical_crossentropy)


class SparseCategoricalCrossentropy(_Named):
    """Mean of -log(probability of the label)."""

    FUNCTION = staticmethod(losses.sparse_categorical_crossentropy)


class BinaryCrossentropy(_Named):
    """Mean of -(target log p + (1 - target) log(1 - p))."""

    FUNCTION = staticmethod(losses.binary_crossentropy)
