"""Where a graph of layers begins: the layer that stands for a model's input, and its Symbol."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastseq._arrays import message
from fastseq._floatx import floatx
from fastseq._symbol import Symbol
from fastseq.layers.arguments import shape_of
from fastseq.layers.base import Layer
from fastseq.layers.calls import LayerCall

__all__ = ["Input", "InputLayer"]


class InputLayer(Layer):
    """A model's input.

    Args:
        shape: Its shape without the batch; None for an axis of any size.
        batch_size: The size of every batch, or None for any.
        dtype: "float32", "float64", an integer type or "bool".
        batch_shape: ``shape`` with the batch, instead of the two.
        name: A name, by which data may be given in a dict.
        input_shape: An old name of ``shape``.
    """

    def __init__(
        self,
        shape: Any = None,
        batch_size: int | None = None,
        dtype: Any = None,
        batch_shape: Any = None,
        name: str | None = None,
        input_shape: Any = None,
        batch_input_shape: Any = None,
    ) -> None:
        shape = input_shape if shape is None else shape
        batch_shape = batch_input_shape if batch_shape is None else batch_shape
        if (shape is None) == (batch_shape is None):
            got = "neither" if shape is None else "both"
            raise ValueError(message("Input", "shape", "be given, or batch_shape instead", got))
        super().__init__(name=name)
        if batch_shape is None:
            batch_shape = (batch_size, *shape_of(shape, "Input", "shape"))
        self.batch_shape = shape_of(batch_shape, "Input", "batch_shape")
        self.built = True
        self._value_dtype = np.dtype(floatx() if dtype is None else dtype)
        symbol = Symbol(self.batch_shape, self._value_dtype, name=self.name)
        symbol.call = LayerCall(self, [], {}, symbol)
        self._calls.append(symbol.call)

    @property
    def input(self) -> Symbol:
        """Its Symbol, as is ``output``: what reads inner layers may begin at ``layers[0].input``."""
        symbol: Symbol = self.output
        return symbol

    @property
    def input_shape(self) -> Any:
        """The shape of ``input``."""
        return self.batch_shape

    def call(self, inputs: Any, **options: Any) -> Any:
        return inputs

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name, "batch_shape": self.batch_shape, "dtype": str(self._value_dtype)}


def Input(
    shape: Any = None,
    batch_size: int | None = None,
    dtype: Any = None,
    batch_shape: Any = None,
    name: str | None = None,
) -> Symbol:
    """The Symbol of a model's input.

    Args:
        shape: Its shape without the batch: ``(steps, features)``, ``(None, features)``, ``(steps,)``.
        batch_size: The size of every batch, or None for any.
        dtype: ``backend.floatx()``, "float32", by default.
        batch_shape: ``shape`` with the batch, instead of the two.
        name: A name, by which data may be given in a dict.
    Raises:
        ValueError: No shape, or one that is not made of integers and None.
    """
    symbol: Symbol = InputLayer(shape, batch_size, dtype, batch_shape, name).output
    return symbol
