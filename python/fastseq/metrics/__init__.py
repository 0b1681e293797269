"""Metrics: running means over the batches of an epoch, Keras's names."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from fastseq import losses
from fastseq._arrays import describe, message
from fastseq._names import made_from, snake
from fastseq.losses import (
    binary_crossentropy,
    binary_focal_crossentropy,
    categorical_crossentropy,
    categorical_focal_crossentropy,
    categorical_hinge,
    hinge,
    huber,
    kl_divergence,
    log_cosh,
    mean_absolute_error,
    mean_absolute_percentage_error,
    mean_squared_error,
    mean_squared_logarithmic_error,
    poisson,
    sparse_categorical_crossentropy,
    squared_hinge,
)
from fastseq.metrics.base import Mean, Metric, Sum
from fastseq.metrics.confusion import (
    AUC,
    F1Score,
    FalseNegatives,
    FalsePositives,
    FBetaScore,
    Precision,
    Recall,
    TrueNegatives,
    TruePositives,
)
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
    CategoricalHinge,
    CosineSimilarity,
    Hinge,
    KLDivergence,
    LogCoshError,
    MeanAbsoluteError,
    MeanAbsolutePercentageError,
    MeanMetricWrapper,
    MeanSquaredError,
    MeanSquaredLogarithmicError,
    Poisson,
    RootMeanSquaredError,
    SparseCategoricalAccuracy,
    SparseCategoricalCrossentropy,
    SparseTopKCategoricalAccuracy,
    SquaredHinge,
    TopKCategoricalAccuracy,
    binary_accuracy,
    categorical_accuracy,
    sparse_categorical_accuracy,
    sparse_top_k_categorical_accuracy,
    top_k_categorical_accuracy,
)
from fastseq.metrics.regression import R2Score
from fastseq.metrics.sequences import CharacterErrorRate, EditDistance, ExactMatch, WordErrorRate

__all__ = [
    "AUC",
    "Accuracy",
    "BinaryAccuracy",
    "BinaryCrossentropy",
    "CategoricalAccuracy",
    "CategoricalCrossentropy",
    "CategoricalHinge",
    "CharacterErrorRate",
    "CosineSimilarity",
    "EditDistance",
    "ExactMatch",
    "F1Score",
    "FBetaScore",
    "FalseNegatives",
    "FalsePositives",
    "Hinge",
    "KLDivergence",
    "LogCoshError",
    "Mean",
    "MeanAbsoluteError",
    "MeanAbsolutePercentageError",
    "MeanMetricWrapper",
    "MeanSquaredError",
    "MeanSquaredLogarithmicError",
    "Metric",
    "Poisson",
    "Precision",
    "R2Score",
    "Recall",
    "RootMeanSquaredError",
    "SparseCategoricalAccuracy",
    "SparseCategoricalCrossentropy",
    "SparseTopKCategoricalAccuracy",
    "SquaredHinge",
    "Sum",
    "TopKCategoricalAccuracy",
    "TrueNegatives",
    "TruePositives",
    "WordErrorRate",
    "binary_accuracy",
    "binary_crossentropy",
    "binary_focal_crossentropy",
    "categorical_accuracy",
    "categorical_crossentropy",
    "categorical_focal_crossentropy",
    "categorical_hinge",
    "character_error_rate",
    "edit_distance",
    "exact_match",
    "get",
    "hinge",
    "huber",
    "is_accuracy",
    "kl_divergence",
    "log_cosh",
    "mean_absolute_error",
    "mean_absolute_percentage_error",
    "mean_edit_distance",
    "mean_squared_error",
    "mean_squared_logarithmic_error",
    "poisson",
    "sparse_categorical_accuracy",
    "sparse_categorical_crossentropy",
    "sparse_top_k_categorical_accuracy",
    "squared_hinge",
    "top_k_categorical_accuracy",
    "word_error_rate",
]

_CLASSES: tuple[type[Metric], ...] = (
    AUC, Accuracy, BinaryAccuracy, BinaryCrossentropy, CategoricalAccuracy, CategoricalCrossentropy,
    CategoricalHinge, CharacterErrorRate, CosineSimilarity, EditDistance, ExactMatch, F1Score, FBetaScore,
    FalseNegatives, FalsePositives, Hinge, KLDivergence, LogCoshError, Mean, MeanAbsoluteError,
    MeanAbsolutePercentageError, MeanSquaredError, MeanSquaredLogarithmicError, Poisson, Precision, R2Score,
    Recall, RootMeanSquaredError, SparseCategoricalAccuracy, SparseCategoricalCrossentropy,
    SparseTopKCategoricalAccuracy, SquaredHinge, Sum, TopKCategoricalAccuracy, TrueNegatives, TruePositives,
    WordErrorRate,
)  # fmt: skip
KNOWN: dict[str, type[Metric]] = {snake(c.__name__): c for c in _CLASSES}
_ALIASES = {
    "bce": "binary_crossentropy",
    "cer": "character_error_rate",
    "fbeta_score": "f_beta_score",
    "kld": "kl_divergence",
    "log_cosh": "log_cosh_error",
    "logcosh": "log_cosh_error",
    "mae": "mean_absolute_error",
    "mape": "mean_absolute_percentage_error",
    "mse": "mean_squared_error",
    "msle": "mean_squared_logarithmic_error",
    "rmse": "root_mean_squared_error",
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
        identifier: ``"mse"``, ``"CategoricalAccuracy"``, a Metric, its class, any function, or
            ``{"class_name": ..., "config": {...}}``.
        function: Who asks, for the error's text.
        argument: The argument's name, for the error's text.
    Raises:
        ValueError: An unknown name; the text lists the known ones.
        TypeError: None of the above.
    """
    made = made_from(identifier, Metric, KNOWN, function, argument, _ALIASES)
    if made is not None:
        if isinstance(identifier, str):
            made.name = identifier  # the log's key is the word that was used, as in Keras
        return made  # type: ignore[no-any-return]
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
