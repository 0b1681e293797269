"""Metrics: running means over the batches of an epoch, Keras's names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastseq import losses, ops
from fastseq._arrays import Array, describe, floating, message, total
from fastseq._names import known_as, snake
from fastseq.losses.base import widened

__all__ = [
    "Accuracy",
    "BinaryAccuracy",
    "BinaryCrossentropy",
    "CategoricalAccuracy",
    "CategoricalCrossentropy",
    "Mean",
    "MeanAbsoluteError",
    "MeanMetricWrapper",
    "MeanSquaredError",
    "Metric",
    "SparseCategoricalAccuracy",
    "SparseCategoricalCrossentropy",
    "binary_accuracy",
    "categorical_accuracy",
    "get",
    "is_accuracy",
    "sparse_categorical_accuracy",
]


class Metric:
    """A number that is updated batch by batch.

    Attributes:
        name: Its key in the logs.
        order_only: Whether it needs only which class is largest, so that logits serve as well.
    """

    order_only = False

    def __init__(self, name: str | None = None, dtype: Any = None) -> None:
        self.name = name or snake(type(self).__name__)
        self.dtype = dtype
        self.reset_state()

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Counts one batch."""
        raise NotImplementedError

    def result(self) -> float:
        """The value over everything since the last reset."""
        raise NotImplementedError

    def reset_state(self) -> None:
        """Forgets what was counted."""
        raise NotImplementedError

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> float:
        """Counts one batch and returns the value so far."""
        self.update_state(y_true, y_pred, sample_weight)
        return self.result()

    def get_config(self) -> dict[str, Any]:
        """The arguments that make this metric again."""
        return {"name": self.name}


class Mean(Metric):
    """The mean of the values it is given, each sample counting once (or its weight)."""

    def reset_state(self) -> None:
        self.total = 0.0
        self.count = 0.0

    def result(self) -> float:
        return self.total / self.count if self.count else 0.0

    def update_state(self, values: Any, sample_weight: Any = None) -> None:  # type: ignore[override]
        """Counts values: a number, or an array whose first axis is the batch."""
        self.count_values(np.asarray(values, dtype=np.float64), sample_weight)

    def __call__(self, values: Any, sample_weight: Any = None) -> float:  # type: ignore[override]
        self.update_state(values, sample_weight)
        return self.result()

    def count_values(self, values: Array, weights: Array | None) -> None:
        """Counts values (batch, ...), several per sample being averaged first, as in Keras."""
        per_sample = values.size // max(values.shape[0], 1) if values.ndim else 1
        per_sample = max(per_sample, 1)
        if weights is None:
            self.total += total(values) / per_sample
            self.count += values.size / per_sample
        else:
            weights = widened(np.asarray(weights), values.shape)
            self.total += total(values * weights) / per_sample
            self.count += total(weights) / per_sample


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


# --- by name --------------------------------------------------------------------------------------


_CLASSES: tuple[type[Metric], ...] = (
    Accuracy, BinaryAccuracy, BinaryCrossentropy, CategoricalAccuracy, CategoricalCrossentropy, Mean,
    MeanAbsoluteError, MeanSquaredError, SparseCategoricalAccuracy, SparseCategoricalCrossentropy,
)  # fmt: skip
KNOWN: dict[str, type[Metric]] = {snake(c.__name__): c for c in _CLASSES}
_ALIASES = {"mse": "mean_squared_error", "mae": "mean_absolute_error"}


def is_accuracy(identifier: Any) -> bool:
    """Whether it is the word that means one of three metrics, by the shapes."""
    return isinstance(identifier, str) and identifier.lower() in ("accuracy", "acc")


def is_crossentropy(identifier: Any) -> bool:
    """Whether it is the word that means one of three cross-entropies, by the shapes."""
    return isinstance(identifier, str) and identifier.lower() in ("crossentropy", "ce")


def by_shapes(word: str, target: tuple[Any, ...], prediction: tuple[Any, ...]) -> str:
    """ "binary_", "sparse_categorical_" or "categorical_" and ``word``, chosen as Keras does.

    Args:
        word: "accuracy" or "crossentropy".
        target: Shape of the targets.
        prediction: Shape of the predictions.
    """
    if prediction[-1] == 1:
        return f"binary_{word}"
    if len(target) < len(prediction) or target[-1] == 1:
        return f"sparse_categorical_{word}"
    return f"categorical_{word}"


def get(identifier: Any, function: str = "metrics.get", argument: str = "identifier") -> Metric:
    """A metric meant by a name, a function of (y_true, y_pred), a class or an object.

    Args:
        identifier: ``"mse"``, ``"CategoricalAccuracy"``, a Metric, its class, or any function.
        function: Who asks, for the error's text.
        argument: The argument's name, for the error's text.
    Raises:
        ValueError: An unknown name; the text lists the known ones.
        TypeError: None of the above.
    """
    if isinstance(identifier, Metric):
        return identifier
    if isinstance(identifier, type) and issubclass(identifier, Metric):
        return identifier()
    if isinstance(identifier, str):
        metric = known_as(identifier, KNOWN, function, argument, _ALIASES)()
        metric.name = identifier  # the log's key is the word that was used, as in Keras
        return metric
    if isinstance(identifier, losses.Loss):
        if identifier.sequences:
            rule = "name what compares one row with another"
            raise ValueError(message(function, argument, rule, f"the loss {identifier.name}"))
        return MeanMetricWrapper(_unreduced(identifier), identifier.name)
    if callable(identifier):
        return MeanMetricWrapper(identifier)
    rule = "be the name of a metric, a Metric or a function"
    raise TypeError(message(function, argument, rule, describe(identifier)))


def _unreduced(loss: losses.Loss) -> Callable[..., Any]:
    def rows(y_true: Any, y_pred: Any) -> Array:
        prediction = floating(y_pred, loss.name, "y_pred")
        target = loss.target(y_true, prediction, loss.name, "y_true")
        return loss.rows(prediction, target, 1.0, False, False)[0]

    return rows
