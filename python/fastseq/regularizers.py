"""Penalties of weights and outputs, added to the loss: Keras's names, on arrays or Symbols."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastseq import ops
from fastseq._arrays import describe, message, number
from fastseq._names import ByArguments, made_from, snake

__all__ = ["L1", "L1L2", "L2", "OrthogonalRegularizer", "Regularizer", "get", "l1", "l1_l2", "l2"]


class Regularizer(ByArguments):
    """A penalty; a subclass defines ``__call__`` and keeps its arguments' names.

    A function of one argument serves as well. Both are written with ``fastseq.ops``, operators and slices,
    and give a number: a model traces them, and takes their gradient from the graph.
    """

    def __call__(self, x: Any) -> Any:
        """The penalty of an array, or of a Symbol or Variable as part of a graph."""
        raise NotImplementedError

    def _factor(self, value: Any, argument: str) -> Any:
        return number(value, type(self).__name__, argument, low=0)


class L1L2(Regularizer):
    """``l1`` times the sum of absolute values, plus ``l2`` times that of squares.

    Args:
        l1: At least 0.
        l2: At least 0.
    """

    def __init__(self, l1: float | None = 0.0, l2: float | None = 0.0) -> None:
        self.l1 = self._factor(l1 or 0.0, "l1")
        self.l2 = self._factor(l2 or 0.0, "l2")

    def __call__(self, x: Any) -> Any:
        return self.l1 * ops.sum(ops.absolute(x)) + self.l2 * ops.sum(ops.square(x))


class L1(Regularizer):
    """``l1`` times the sum of absolute values."""

    def __init__(self, l1: float = 0.01) -> None:
        self.l1 = self._factor(l1, "l1")

    def __call__(self, x: Any) -> Any:
        return self.l1 * ops.sum(ops.absolute(x))


class L2(Regularizer):
    """``l2`` times the sum of squares."""

    def __init__(self, l2: float = 0.01) -> None:
        self.l2 = self._factor(l2, "l2")

    def __call__(self, x: Any) -> Any:
        return self.l2 * ops.sum(ops.square(x))


MODES = ("rows", "columns")


class OrthogonalRegularizer(Regularizer):
    """``factor`` times the mean absolute cosine between the rows (or columns) of a matrix.

    Args:
        factor: At least 0.
        mode: "rows" or "columns".
    """

    def __init__(self, factor: float = 0.01, mode: str = "rows") -> None:
        self.factor = self._factor(factor, "factor")
        if mode not in MODES:
            raise ValueError(
                message("OrthogonalRegularizer", "mode", "be one of rows, columns", describe(mode))
            )
        self.mode = mode

    def __call__(self, x: Any) -> Any:
        if len(x.shape) != 2:
            raise ValueError(message("OrthogonalRegularizer", "x", "have 2 dimensions", f"shape {x.shape}"))
        axis = 1 if self.mode == "rows" else 0
        unit = ops.normalize(x, axis=axis)
        turned = ops.transpose(unit, (1, 0))
        product = ops.matmul(unit, turned) if axis else ops.matmul(turned, unit)
        size = x.shape[1 - axis]
        others = 1.0 - np.eye(size, dtype=x.dtype)
        # each pair is there twice
        return self.factor * ops.sum(ops.absolute(product * others)) / max(size * (size - 1), 1)


l1, l2, l1_l2 = L1, L2, L1L2
KNOWN: dict[str, Any] = {snake(cls.__name__): cls for cls in (L1, L2, L1L2, OrthogonalRegularizer)}
_ALIASES = {"l1l2": "l1_l2"}


def get(identifier: Any, function: str = "regularizers.get", argument: str = "identifier") -> Any:
    """The regularizer meant by a name, a class, an object, a config or a function; None stays None.

    Args:
        identifier: ``"l2"``, ``L2``, ``L2(0.1)``, ``{"class_name": ..., "config": {...}}`` or a function.
        function: Who asks, for the error's text.
        argument: The argument's name, for the error's text.
    Raises:
        ValueError: An unknown name; the text lists the known ones.
        TypeError: None of the above.
    """
    made = made_from(identifier, Regularizer, KNOWN, function, argument, _ALIASES)
    if made is not None or identifier is None:
        return made
    if callable(identifier) and not isinstance(identifier, type):
        return identifier
    raise TypeError(message(function, argument, "be the name of a regularizer or one", describe(identifier)))
