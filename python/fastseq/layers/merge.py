"""Layers that join several inputs of one shape, and their lower-case functions."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any

from fastseq import ops
from fastseq._arrays import describe, message, number
from fastseq.layers.base import Layer

__all__ = [
    "Add", "Average", "Concatenate", "Dot", "Maximum", "Minimum", "Multiply", "Subtract",
    "add", "average", "concatenate", "dot", "maximum", "minimum", "multiply", "subtract",
]  # fmt: skip


class _Merge(Layer, abstract=True):
    """Base: takes a list of at least two inputs."""

    supports_masking = True

    def build(self, input_shape: Any) -> None:
        if not isinstance(input_shape, list) or len(input_shape) < 2:
            raise ValueError(message(self.name, "inputs", "be a list of at least 2", describe(input_shape)))

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """Steps that are valid in every input that has a mask."""
        masks = [m for m in mask if m is not None] if mask is not None else []
        return reduce(ops.multiply, masks) if masks else None


def _of_one_rank(inputs: Sequence[Any]) -> list[Any]:
    """The inputs, those of fewer axes the same at every step: axes of 1 follow the batch, as in Keras."""
    rank = max(len(one.shape) for one in inputs)
    made = []
    for one in inputs:
        for _ in range(rank - len(one.shape)):
            one = ops.expand_dims(one, 1)
        made.append(one)
    return made


class Add(_Merge):
    """The sum."""

    def call(self, inputs: Any) -> Any:
        return reduce(ops.add, _of_one_rank(inputs))


class Multiply(_Merge):
    """The product."""

    def call(self, inputs: Any) -> Any:
        return reduce(ops.multiply, _of_one_rank(inputs))


class Maximum(_Merge):
    """The largest, element by element."""

    def call(self, inputs: Any) -> Any:
        return reduce(ops.maximum, _of_one_rank(inputs))


class Minimum(_Merge):
    """The smallest, element by element."""

    def call(self, inputs: Any) -> Any:
        return reduce(ops.minimum, _of_one_rank(inputs))


class Average(_Merge):
    """The mean."""

    def call(self, inputs: Any) -> Any:
        return ops.average(_of_one_rank(inputs))


class Subtract(_Merge):
    """The first of two less the second."""

    def build(self, input_shape: Any) -> None:
        if not isinstance(input_shape, list) or len(input_shape) != 2:
            raise ValueError(message(self.name, "inputs", "be a list of 2", describe(input_shape)))

    def call(self, inputs: Any) -> Any:
        return ops.subtract(*_of_one_rank(inputs))


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


class Dot(_Merge):
    """The sum of products over one axis of each of two inputs; all other axes stay, the first's first.

    Of (batch, n, k) and (batch, m, k) with ``axes=2`` it gives (batch, n, m); of two (batch, k) with
    ``axes=1`` (batch, 1).

    Args:
        axes: The axis of both, or one of each; not the batch.
        normalize: Whether both have length 1 along these axes first: the cosine of their angle.
        options: As for ``Layer``.
    """

    def __init__(self, axes: int | Sequence[int], normalize: bool = False, **options: Any) -> None:
        super().__init__(**options)
        given = list(axes) if isinstance(axes, (list, tuple)) else [axes, axes]
        checked = [number(axis, "Dot", "axes", whole=True) for axis in given]
        if len(checked) != 2 or 0 in checked:
            raise ValueError(message("Dot", "axes", "be 1 or 2 axes but the batch", _written(axes)))
        self.axes = checked if isinstance(axes, (list, tuple)) else checked[0]
        self.normalize = bool(normalize)

    def build(self, input_shape: Any) -> None:
        if not isinstance(input_shape, list) or len(input_shape) != 2:
            raise ValueError(message(self.name, "inputs", "be a list of 2", describe(input_shape)))

    def call(self, inputs: Any) -> Any:
        axes = self.axes if isinstance(self.axes, list) else [self.axes] * 2
        shapes = f"{inputs[0].shape} and {inputs[1].shape}"
        if not all(len(x.shape) in (2, 3) and -len(x.shape) < a < len(x.shape)
                   for x, a in zip(inputs, axes, strict=True)):  # fmt: skip
            rule = f"have 2 or 3 axes, axes={self.axes} among them"
            raise ValueError(message(self.name, "inputs", rule, shapes))
        if None not in (sizes := {x.shape[a] for x, a in zip(inputs, axes, strict=True)}) and len(sizes) > 1:
            raise ValueError(message(self.name, "inputs", f"agree along axes={self.axes}", shapes))
        left, right = (self._last(x, a) for x, a in zip(inputs, axes, strict=True))
        product = ops.matmul(left, ops.transpose(right, (0, 2, 1)))
        if len(inputs[0].shape) == 2:
            return product[:, 0]
        return product[..., 0] if len(inputs[1].shape) == 2 else product

    def _last(self, x: Any, axis: int) -> Any:
        """(batch, the rest or 1, the axis that is summed)."""
        if self.normalize:
            total = ops.sum(ops.square(x), axis=axis, keepdims=True)
            x = x * ops.minimum(1.0 / ops.sqrt(total), 1e7)  # Keras's epsilon is 1e-7
        if len(x.shape) == 2:
            return ops.expand_dims(x, 1)
        return x if axis % 3 == 2 else ops.transpose(x, (0, 2, 1))

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        return None


def _written(axes: Any) -> str:
    return str(tuple(axes)) if isinstance(axes, (list, tuple)) else describe(axes)


def add(inputs: Sequence[Any], **options: Any) -> Any:
    """The sum: ``Add(**options)(inputs)``."""
    return Add(**options)(inputs)


def multiply(inputs: Sequence[Any], **options: Any) -> Any:
    """The product: ``Multiply(**options)(inputs)``."""
    return Multiply(**options)(inputs)


def maximum(inputs: Sequence[Any], **options: Any) -> Any:
    """The largest: ``Maximum(**options)(inputs)``."""
    return Maximum(**options)(inputs)


def minimum(inputs: Sequence[Any], **options: Any) -> Any:
    """The smallest: ``Minimum(**options)(inputs)``."""
    return Minimum(**options)(inputs)


def dot(inputs: Sequence[Any], axes: int | Sequence[int] = -1, **options: Any) -> Any:
    """Sums of products: ``Dot(axes, **options)(inputs)``."""
    return Dot(axes, **options)(inputs)


def average(inputs: Sequence[Any], **options: Any) -> Any:
    """The mean: ``Average(**options)(inputs)``."""
    return Average(**options)(inputs)


def subtract(inputs: Sequence[Any], **options: Any) -> Any:
    """The difference: ``Subtract(**options)(inputs)``."""
    return Subtract(**options)(inputs)


def concatenate(inputs: Sequence[Any], axis: int = -1, **options: Any) -> Any:
    """Side by side: ``Concatenate(axis, **options)(inputs)``."""
    return Concatenate(axis, **options)(inputs)
