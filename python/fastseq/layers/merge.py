"""Layers that join several inputs of one shape, and their lower-case functions."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any

from fastseq import ops
from fastseq._arrays import describe, message
from fastseq.layers.base import Layer

__all__ = [
    "Add", "Average", "Concatenate", "Maximum", "Multiply", "Subtract",
    "add", "average", "concatenate", "maximum", "multiply", "subtract",
]  # fmt: skip


class _Merge(Layer):
    """Base: takes a list of at least two inputs."""

    supports_masking = True

    def build(self, input_shape: Any) -> None:
        if not isinstance(input_shape, list) or len(input_shape) < 2:
            raise ValueError(message(self.name, "inputs", "be a list of at least 2", describe(input_shape)))

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """Steps that are valid in every input that has a mask."""
        masks = [m for m in mask if m is not None] if mask is not None else []
        return reduce(ops.multiply, masks) if masks else None


class Add(_Merge):
    """The sum."""

    def call(self, inputs: Any) -> Any:
        return reduce(ops.add, inputs)


class Multiply(_Merge):
    """The product."""

    def call(self, inputs: Any) -> Any:
        return reduce(ops.multiply, inputs)


class Maximum(_Merge):
    """The largest, element by element."""

    def call(self, inputs: Any) -> Any:
        return reduce(ops.maximum, inputs)


class Average(_Merge):
    """The mean."""

    def call(self, inputs: Any) -> Any:
        return ops.average(inputs)


class Subtract(_Merge):
    """The first of two less the second."""

    def build(self, input_shape: Any) -> None:
        if not isinstance(input_shape, list) or len(input_shape) != 2:
            raise ValueError(message(self.name, "inputs", "be a list of 2", describe(input_shape)))

    def call(self, inputs: Any) -> Any:
        return ops.subtract(inputs[0], inputs[1])


class Concatenate(_Merge):
    """The inputs side by side.

    Args:
        axis: Along which; not the batch.
        options: As for ``Layer``.
    """

    def __init__(self, axis: int = -1, **options: Any) -> None:
        super().__init__(**options)
        if axis == 0:
            raise ValueError(message("Concatenate", "axis", "not be 0, the batch", "0"))
        self.axis = int(axis)

    def call(self, inputs: Any) -> Any:
        return ops.concatenate(inputs, self.axis)


def add(inputs: Sequence[Any], **options: Any) -> Any:
    """The sum: ``Add(**options)(inputs)``."""
    return Add(**options)(inputs)


def multiply(inputs: Sequence[Any], **options: Any) -> Any:
    """The product: ``Multiply(**options)(inputs)``."""
    return Multiply(**options)(inputs)


def maximum(inputs: Sequence[Any], **options: Any) -> Any:
    """The largest: ``Maximum(**options)(inputs)``."""
    return Maximum(**options)(inputs)


def average(inputs: Sequence[Any], **options: Any) -> Any:
    """The mean: ``Average(**options)(inputs)``."""
    return Average(**options)(inputs)


def subtract(inputs: Sequence[Any], **options: Any) -> Any:
    """The difference: ``Subtract(**options)(inputs)``."""
    return Subtract(**options)(inputs)


def concatenate(inputs: Sequence[Any], axis: int = -1, **options: Any) -> Any:
    """Side by side: ``Concatenate(axis, **options)(inputs)``."""
    return Concatenate(axis, **options)(inputs)
