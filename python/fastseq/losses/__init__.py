"""Losses: Keras's names, values and gradients from ``ops``."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

from fastseq._arrays import describe, message
from fastseq._names import made_from, snake
from fastseq.losses.base import FunctionLoss, Loss
from fastseq.losses.ctc import CTC, ctc
from fastseq.losses.formulas import (
    BinaryFocalCrossentropy,
    CategoricalFocalCrossentropy,
    CategoricalHinge,
    CosineSimilarity,
    Hinge,
    Huber,
    KLDivergence,
    LogCosh,
    MeanAbsolutePercentageError,
    MeanSquaredLogarithmicError,
    Poisson,
    SquaredHinge,
    binary_focal_crossentropy,
    categorical_focal_crossentropy,
    categorical_hinge,
    cosine_similarity,
    hinge,
    huber,
    kl_divergence,
    log_cosh,
    mean_absolute_percentage_error,
    mean_squared_logarithmic_error,
    poisson,
    squared_hinge,
)
from fastseq.losses.rows import (
    BinaryCrossentropy,
    CategoricalCrossentropy,
    MeanAbsoluteError,
    MeanSquaredError,
    SparseCategoricalCrossentropy,
    binary_crossentropy,
    categorical_crossentropy,
    mean_absolute_error,
    mean_squared_error,
    sparse_categorical_crossentropy,
)

__all__ = [
    "CTC",
    "BinaryCrossentropy",
    "BinaryFocalCrossentropy",
    "CategoricalCrossentropy",
    "CategoricalFocalCrossentropy",
    "CategoricalHinge",
    "CosineSimilarity",
    "FunctionLoss",
    "Hinge",
    "Huber",
    "KLDivergence",
    "LogCosh",
    "Loss",
    "MeanAbsoluteError",
    "MeanAbsolutePercentageError",
    "MeanSquaredError",
    "MeanSquaredLogarithmicError",
    "Poisson",
    "SparseCategoricalCrossentropy",
    "SquaredHinge",
    "binary_crossentropy",
    "binary_focal_crossentropy",
    "categorical_crossentropy",
    "categorical_focal_crossentropy",
    "categorical_hinge",
    "cosine_similarity",
    "ctc",
    "get",
    "hinge",
    "huber",
    "kl_divergence",
    "log_cosh",
    "mean_absolute_error",
    "mean_absolute_percentage_error",
    "mean_squared_error",
    "mean_squared_logarithmic_error",
    "poisson",
    "sparse_categorical_crossentropy",
    "squared_hinge",
]

_CLASSES: tuple[Callable[..., Loss], ...] = (
    CategoricalCrossentropy, SparseCategoricalCrossentropy, BinaryCrossentropy, MeanSquaredError,
    MeanAbsoluteError, CTC, BinaryFocalCrossentropy, CategoricalFocalCrossentropy, CategoricalHinge,
    CosineSimilarity, Hinge, Huber, KLDivergence, LogCosh, MeanAbsolutePercentageError,
    MeanSquaredLogarithmicError, Poisson, SquaredHinge,
)  # fmt: skip
KNOWN: dict[str, Callable[..., Loss]] = {snake(c.__name__): c for c in _CLASSES}
_ALIASES = {
    "bce": "binary_crossentropy",
    "kld": "kl_divergence",
    "kullback_leibler_divergence": "kl_divergence",
    "logcosh": "log_cosh",
    "mae": "mean_absolute_error",
    "mape": "mean_absolute_percentage_error",
    "mse": "mean_squared_error",
    "msle": "mean_squared_logarithmic_error",
}
_FUNCTIONS: dict[Any, str] = {
    function: function.__name__
    for function in (
        binary_crossentropy, binary_focal_crossentropy, categorical_crossentropy,
        categorical_focal_crossentropy, categorical_hinge, cosine_similarity, ctc, hinge, huber,
        kl_divergence, log_cosh, mean_absolute_error, mean_absolute_percentage_error, mean_squared_error,
        mean_squared_logarithmic_error, poisson, sparse_categorical_crossentropy, squared_hinge,
    )
}  # fmt: skip


def get(identifier: Any, function: str = "losses.get", argument: str = "identifier") -> Loss:
    """The loss meant by a name, a function, a class or an object.

    Args:
        identifier: ``"mse"``, ``"MeanSquaredError"``, ``losses.mean_squared_error``,
            ``losses.MeanSquaredError``, ``losses.MeanSquaredError()``, or any function of
            (y_true, y_pred) that ``FunctionLoss`` takes.
        function: Who asks, for the error's text.
        argument: The argument's name, for the error's text.
    Raises:
        ValueError: An unknown name; the text lists the known ones.
        TypeError: None of the above.
    """
    if isinstance(identifier, Hashable) and identifier in _FUNCTIONS:
        return KNOWN[_FUNCTIONS[identifier]]()
    made = made_from(identifier, Loss, KNOWN, function, argument, _ALIASES)
    if made is not None:
        return made  # type: ignore[no-any-return]
    if callable(identifier) and not isinstance(identifier, type):
        return FunctionLoss(identifier)
    rule = "be the name of a loss, a Loss or a function"
    raise TypeError(message(function, argument, rule, describe(identifier)))
