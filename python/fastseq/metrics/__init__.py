"""Metrics: running means over the batches of an epoch, Keras's names."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from fastseq import losses
from fastseq._arrays import describe, message
from fastseq._names import known_as, snake
from fastseq.metrics.base import Mean, Metric
from fastseq.metrics.edits import (
    character_error_rate,
    edit_distance,
    exact_match,
    mean_edit_distance,
    word_error_rate,
)
from fastseq.metrics.pointwise import (
    Accuracy,
    BinaryAccuracy,
    BinaryCrossentropy,
    CategoricalAccuracy,
    CategoricalCrossentropy,
    MeanAbsoluteError,
    MeanMetricWrapper,
    MeanSquaredError,
    SparseCategoricalAccuracy,
    SparseCategoricalCrossentropy,
    binary_accuracy,
    categorical_accuracy,
    sparse_categorical_accuracy,
)
from fastseq.metrics.sequences import CharacterErrorRate, EditDistance, ExactMatch, WordErrorRate

__all__ = [
    "Accuracy",
    "BinaryAccuracy",
    "BinaryCrossentropy",
    "CategoricalAccuracy",
    "CategoricalCrossentropy",
    "CharacterErrorRate",
    "EditDistance",
    "ExactMatch",
    "Mean",
    "MeanAbsoluteError",
    "MeanMetricWrapper",
    "MeanSquaredError",
    "Metric",
    "SparseCategoricalAccuracy",
    "SparseCategoricalCrossentropy",
    "WordErrorRate",
    "binary_accuracy",
    "categorical_accuracy",
    "character_error_rate",
    "edit_distance",
    "exact_match",
    "get",
    "is_accuracy",
    "mean_edit_distance",
    "sparse_categorical_accuracy",
    "word_error_rate",
]

_CLASSES: tuple[type[Metric], ...] = (
    Accuracy, BinaryAccuracy, BinaryCrossentropy, CategoricalAccuracy, CategoricalCrossentropy,
    CharacterErrorRate, EditDistance, ExactMatch, Mean, MeanAbsoluteError, MeanSquaredError,
    SparseCategoricalAccuracy, SparseCategoricalCrossentropy, WordErrorRate,
)  # fmt: skip
KNOWN: dict[str, type[Metric]] = {snake(c.__name__): c for c in _CLASSES}
_ALIASES = {
    "mse": "mean_squared_error",
    "mae": "mean_absolute_error",
    "cer": "character_error_rate",
    "wer": "word_error_rate",
}
# Functions of whole sequences: a model's outputs are not those, the metric of the name reads them first.
_FUNCTIONS: dict[Any, type[Metric]] = {
    character_error_rate: CharacterErrorRate,
    edit_distance: EditDistance,
    exact_match: ExactMatch,
    mean_edit_distance: EditDistance,
    word_error_rate: WordErrorRate,
}


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
        return MeanMetricWrapper(identifier.each, identifier.name)
    if isinstance(identifier, Hashable) and identifier in _FUNCTIONS:
        return _FUNCTIONS[identifier]()
    if callable(identifier):
        return MeanMetricWrapper(identifier)
    rule = "be the name of a metric, a Metric or a function"
    raise TypeError(message(function, argument, rule, describe(identifier)))
