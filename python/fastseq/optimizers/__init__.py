"""Optimizers: Keras's names and arguments; a step is one call over all parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastseq._arrays import describe, message
from fastseq._names import made_from, snake
from fastseq.optimizers import schedules
from fastseq.optimizers.base import Optimizer
from fastseq.optimizers.rules import SGD, Adagrad, Adam, Adamax, AdamW, Lion, Nadam, RMSprop

__all__ = [
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Lion",
    "Nadam",
    "Optimizer",
    "RMSprop",
    "get",
    "schedules",
]

_CLASSES: tuple[Callable[..., Optimizer], ...] = (SGD, Adagrad, Adam, AdamW, Adamax, Lion, Nadam, RMSprop)
KNOWN: dict[str, Callable[..., Optimizer]] = {c.__name__.lower(): c for c in _CLASSES}
# What snake_case makes of the names of the classes.
_ALIASES = {snake(c.__name__): c.__name__.lower() for c in _CLASSES}


def get(identifier: Any, function: str = "optimizers.get", argument: str = "identifier") -> Optimizer:
    """The optimizer meant by a name, a class, an object or ``{"class_name": ..., "config": {...}}``.

    Raises:
        ValueError: An unknown name; the text lists the known ones.
        TypeError: None of the above.
    """
    made = made_from(identifier, Optimizer, KNOWN, function, argument, _ALIASES)
    if made is not None:
        return made  # type: ignore[no-any-return]
    raise TypeError(
        message(function, argument, "be the name of an optimizer or an Optimizer", describe(identifier))
    )
