"""A layer called on arrays: it runs at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastseq._arrays import Array, boolean, floating, integer
from fastseq._symbol import Symbol
from fastseq.graph import Plan
from fastseq.layers.calls import flatten, unflatten

if TYPE_CHECKING:
    from fastseq.layers.base import Layer

__all__ = ["run"]


def run(layer: Layer, inputs: Any, options: dict[str, Any]) -> Any:
    """The outputs of a layer for arrays: a plan of one call, kept for the next of the same kind."""
    training = options.pop("training", None)
    if isinstance(inputs, (list, tuple)) and not all(hasattr(leaf, "shape") for leaf in flatten(inputs)):
        inputs = floating(inputs, layer.name, "inputs")  # rows as nested lists of numbers
    given = {name: value for name, value in options.items() if value is not None}
    plain = {name: value for name, value in given.items() if isinstance(value, (bool, int, float, str))}
    options = {name: value for name, value in given.items() if name not in plain}
    leaves = flatten(inputs)
    arrays = [value if isinstance(value, np.ndarray) else np.asarray(value) for value in leaves]
    extra = {
        name: [boolean(v, layer.name, name) if name == "mask" else floating(v, layer.name, name)
               for v in flatten(value)]
        for name, value in options.items()
    }  # fmt: skip
    everything = arrays + [value for values in extra.values() for value in values]
    static = getattr(layer, "stateful", False)
    key = (
        tuple(sorted(plain.items())),
        str(unflatten(inputs, range(len(leaves))) if isinstance(inputs, (list, tuple, dict)) else 0),
        tuple((name, len(values)) for name, values in extra.items()),
        tuple((a.shape if static else a.shape[1:], a.dtype.kind) for a in everything),
        bool(training),
    )
    if key not in layer._plans:
        symbols = [_stand_in(array, static, layer.dtype) for array in everything]
        rest = iter(symbols[len(arrays) :])
        named = {
            name: unflatten(value, [next(rest) for _ in extra[name]])
            for name, value in options.items()
        }  # fmt: skip
        named.update(plain, training=training)
        outputs = layer._trace(unflatten(inputs, symbols[: len(arrays)]), named)
        plan = Plan(symbols, flatten(outputs), training=bool(training))
        if len(layer._plans) >= 16:
            layer._plans.clear()
        layer._plans[key] = plan, outputs
    plan, outputs = layer._plans[key]
    converted = [
        value if value.dtype == np.bool_ and index >= len(arrays)
        else integer(value, layer.name, "inputs") if plan.integer_inputs[index]
        else floating(value, layer.name, "inputs", dtype=layer.dtype)
        for index, value in enumerate(everything)
    ]  # fmt: skip
    return unflatten(outputs, plan.run(converted))


def _stand_in(array: Array, static: bool, dtype: np.dtype[Any]) -> Symbol:
    batch = array.shape[:1] if static else (None,)
    made = np.bool_ if array.dtype == np.bool_ else dtype
    return Symbol((*batch, *array.shape[1:]) if array.ndim else (), made)
