"""What weights are brought back to after each step: Keras's names, on arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastseq._arrays import Array, describe, message, number
from fastseq._floatx import EPSILON
from fastseq._names import ByArguments, made_from, snake

__all__ = [
    "Constraint",
    "MaxNorm",
    "MinMaxNorm",
    "NonNeg",
    "UnitNorm",
    "get",
    "max_norm",
    "min_max_norm",
    "non_neg",
    "unit_norm",
]


class Constraint(ByArguments):
    """Makes weights of weights; a subclass defines ``__call__`` and keeps its arguments' names.

    A function of an array serves as well.
    """

    def __call__(self, w: Array) -> Array:
        """The weights that are to take the place of ``w``, an array of its shape."""
        raise NotImplementedError


class NonNeg(Constraint):
    """Negative weights become 0."""

    def __call__(self, w: Array) -> Array:
        return np.maximum(w, 0)


class _Norm(Constraint):
    """Common to the constraints of lengths along ``axis``."""

    def __init__(self, axis: int | Sequence[int] = 0) -> None:
        kind = type(self).__name__
        several = axis if isinstance(axis, (list, tuple)) else [axis]
        axes = [number(one, kind, "axis", whole=True) for one in several]
        self.axis = axes if isinstance(axis, (list, tuple)) else axes[0]

    def _lengths(self, w: Array) -> Array:
        axis = tuple(self.axis) if isinstance(self.axis, list) else self.axis
        return np.asarray(np.sqrt(np.sum(np.square(w), axis=axis, keepdims=True)))

    def _number(self, value: Any, argument: str, **bounds: Any) -> Any:
        return number(value, type(self).__name__, argument, low=0, **bounds)


class MaxNorm(_Norm):
    """Weights of a length beyond ``max_value`` are shortened to it.

    Args:
        max_value: At least 0.
        axis: Along which lengths are taken: 0 for those into each unit of a Dense.
    """

    def __init__(self, max_value: float = 2, axis: int | Sequence[int] = 0) -> None:
        super().__init__(axis)
        self.max_value = self._number(max_value, "max_value")

    def __call__(self, w: Array) -> Array:
        lengths = self._lengths(w)
        return w * (np.clip(lengths, 0, self.max_value) / (EPSILON + lengths))


class UnitNorm(_Norm):
    """Weights are brought to length 1.

    Args:
        axis: Along which lengths are taken: 0 for those into each unit of a Dense.
    """

    def __call__(self, w: Array) -> Array:
        return w / (EPSILON + self._lengths(w))


class MinMaxNorm(_Norm):
    """Weights are brought towards lengths from ``min_value`` to ``max_value``.

    Args:
        min_value: At least 0.
        max_value: At least 0.
        rate: In [0, 1]: how much of the way.
        axis: Along which lengths are taken: 0 for those into each unit of a Dense.
    """

    def __init__(
        self,
        min_value: float = 0.0,
        max_value: float = 1.0,
        rate: float = 1.0,
        axis: int | Sequence[int] = 0,
    ) -> None:
        super().__init__(axis)
        self.min_value = self._number(min_value, "min_value")
        self.max_value = self._number(max_value, "max_value")
        self.rate = self._number(rate, "rate", high=1)

    def __call__(self, w: Array) -> Array:
        lengths = self._lengths(w)
        within = np.clip(lengths, self.min_value, self.max_value)
        wanted = self.rate * within + (1 - self.rate) * lengths
        return np.asarray(w * (wanted / (EPSILON + lengths)))


max_norm, min_max_norm, non_neg, unit_norm = MaxNorm, MinMaxNorm, NonNeg, UnitNorm
KNOWN: dict[str, Any] = {snake(cls.__name__): cls for cls in (MaxNorm, MinMaxNorm, NonNeg, UnitNorm)}
_ALIASES = {"maxnorm": "max_norm", "minmaxnorm": "min_max_norm", "nonneg": "non_neg", "unitnorm": "unit_norm"}


def get(identifier: Any, function: str = "constraints.get", argument: str = "identifier") -> Any:
    """The constraint meant by a name, a class, an object, a config or a function; None stays None.

    Args:
        identifier: ``"non_neg"``, ``NonNeg``, ``MaxNorm(3)``, ``{"class_name": ..., "config": {...}}`` or a
            function.
        function: Who asks, for the error's text.
        argument: The argument's name, for the error's text.
    Raises:
        ValueError: An unknown name; the text lists the known ones.
        TypeError: None of the above.
    """
    made = made_from(identifier, Constraint, KNOWN, function, argument, _ALIASES)
    if made is not None or identifier is None:
        return made
    if callable(identifier) and not isinstance(identifier, type):
        return identifier
    raise TypeError(message(function, argument, "be the name of a constraint or one", describe(identifier)))
