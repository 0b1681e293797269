"""Losses: Keras's names, values and gradients from ``ops``."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

from fastseq._arrays import describe, message
from fastseq._names import known_as, snake
from fastseq.losses.base import FunctionLoss, Loss
from fastseq.losses.ctc import CTC, ctc
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
    "CategoricalCrossentropy",
    "FunctionLoss",
    "Loss",
    "MeanAbsoluteError",
    "MeanSquaredError",
    "SparseCategoricalCrossentropy",
    "binary_crossentropy",
    "categorical_crossentropy",
    "ctc",
    "get",
    "mean_absolute_error",
    "mean_squared_error",
    "sparse_categorical_crossentropy",
]

_CLASSES: tuple[Callable[..., Loss], ...] = (
    CategoricalCrossentropy, SparseCategoricalCrossentropy, BinaryCrossentropy, MeanSquaredError,
    MeanAbsoluteError, CTC,
)  # fmt: skip
KNOWN: dict[str, Callable[..., Loss]] = {snake(c.__name__): c for c in _CLASSES}
_ALIASES = {"mse": "mean_squared_error", "mae": "mean_absolute_error"}
_FUNCTIONS: dict[Any, str] = {
    categorical_crossentropy: "categorical_crossentropy",
    sparse_categorical_crossentropy: "sparse_categorical_crossentropy",
    binary_crossentropy: "binary_crossentropy",
    mean_squared_error: "mean_squared_error",
    mean_absolute_error: "mean_absolute_error",
    ctc: "ctc",
}


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
    if isinstance(identifier, Loss):
        return identifier
    if isinstance(identifier, type) and issubclass(identifier, Loss):
        return identifier()
    if isinstance(identifier, Hashable) and identifier in _FUNCTIONS:
        return KNOWN[_FUNCTIONS[identifier]]()
    if isinstance(identifier, str):
        return known_as(identifier, KNOWN, function, argument, _ALIASES)()
    if callable(identifier) and not isinstance(identifier, type):
        return FunctionLoss(identifier)
    rule = "be the name of a loss, a Loss or a function"
    raise TypeError(message(function, argument, rule, describe(identifier)))
