"""Layers whose forward and backward a user writes in numpy: one operation of the graph."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastseq._arrays import describe, message
from fastseq._symbol import Op, Shape, Symbol, Variable, apply

__all__ = ["by_hand"]


def by_hand(
    layer: Any, inputs: Sequence[Symbol], weights: Sequence[Variable], shapes: Sequence[Shape]
) -> Any:
    """Adds ``layer.forward`` to a graph as one operation, whose backward is ``layer.backward``.

    Args:
        layer: With ``forward(*inputs)`` -> (output or a tuple of them, saved) and ``backward(saved,
            *doutputs)`` -> the gradients of the inputs, then of the weights.
        inputs: What it is called on.
        weights: Its trainable weights.
        shapes: Of its outputs.
    Returns:
        A Symbol, or a tuple of them where there are several shapes.
    """
    names = tuple(f"x{k}" for k in range(len(inputs))) + tuple(f"w{k}" for k in range(len(weights)))
    gradients = namedtuple("gradients", names)  # type: ignore[misc]
    dtype = inputs[0].dtype if inputs[0].dtype.kind == "f" else layer.dtype

    def forward(*arrays: Any, training: bool) -> tuple[Any, ...]:
        made = layer.forward(*arrays[: len(inputs)])
        if not isinstance(made, tuple) or len(made) != 2:
            raise TypeError(message(layer.name, "forward", "return (outputs, saved)", describe(made)))
        outputs, saved = made
        given = outputs if isinstance(outputs, (list, tuple)) else [outputs]
        values = [np.ascontiguousarray(value, dtype) for value in given]
        found = tuple(value.shape for value in values)
        if len(found) != len(shapes) or not all(map(_agree, shapes, found)):
            rule = f"give outputs of shape {' and '.join(map(str, shapes))}"
            raise ValueError(message(layer.name, "forward", rule, " and ".join(map(str, found))))
        wanted = tuple(np.shape(array) for array in arrays)
        return (*values, (saved, found, wanted) if training else None)

    def backward(saved: Any, *doutputs: Any, **_: Any) -> Any:
        kept, found, wanted = saved
        filled = [
            np.zeros(shape, dtype) if d is None else d for d, shape in zip(doutputs, found, strict=True)
        ]
        made = layer.backward(kept, *filled)
        made = made if isinstance(made, (list, tuple)) else (made,)
        got = tuple(np.shape(value) for value in made)
        if got != wanted:
            rule = f"give gradients of shape {' and '.join(map(str, wanted))}"
            raise ValueError(message(layer.name, "backward", rule, " and ".join(map(str, got))))
        return gradients._make(np.asarray(value, dtype) for value in made)

    def infer(*_: Any) -> tuple[tuple[Shape, Any], ...]:
        return tuple((tuple(shape), dtype) for shape in shapes)

    op = Op(f"{type(layer).__name__}.forward", names, forward, infer, backward, names, fresh=False)
    return apply(op, (*inputs, *weights), {})


def _agree(asked: Sequence[int | None], found: Sequence[int]) -> bool:
    return len(asked) == len(found) and all(m in (None, n) for m, n in zip(asked, found, strict=True))
