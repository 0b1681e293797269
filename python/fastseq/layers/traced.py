"""What a traced function did, as plain values that can be written to a file, and a function made of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastseq import ops
from fastseq._arrays import describe, message
from fastseq._symbol import Node, Op, Symbol, apply
from fastseq.layers.calls import flatten
from fastseq.ops import arrays, ctc, elementwise, products, reduce, symbolic

__all__ = ["TracedFunction", "described", "known_type"]

_MODULES: tuple[Any, ...] = (arrays, ctc, elementwise, products, reduce, symbolic)
_OPS = {op.name: op for module in _MODULES for op in vars(module).values() if isinstance(op, Op)}
_TYPES = (
    "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32",
    "float64",
)  # fmt: skip
_JOIN = "concatenate"  # the one that is made anew for each number of inputs


def described(inputs: Sequence[Symbol], outputs: Sequence[Symbol], function: str) -> dict[str, Any]:
    """The operations that lead from some Symbols to others, in order.

    Args:
        inputs: Where they begin.
        outputs: Where they end.
        function: Who asks, for the error's text.
    Returns:
        ``steps``, each an ``op`` with its ``inputs`` and ``options``, and ``outputs``. What is computed is
        named by ``{"from": [step, output]}``, inputs being step -1.
    Raises:
        ValueError: They read something that is no plain value: a weight, or Symbols from elsewhere.
    """
    place: dict[Symbol, list[int]] = {symbol: [-1, k] for k, symbol in enumerate(inputs)}
    steps: list[dict[str, Any]] = []
    stack = list(reversed(outputs))
    while stack:
        symbol = stack[-1]
        node = symbol.node
        if symbol in place:
            stack.pop()
            continue
        if node is None:
            rule = "read its inputs alone to be described"
            raise ValueError(message(function, "function", rule, repr(symbol)))
        if missing := [value for value in node.inputs if isinstance(value, Symbol) and value not in place]:
            stack += reversed(missing)
            continue
        for k, made in enumerate(node.outputs):
            place[made] = [len(steps), k]
        steps.append(_step(node, place, function))
    return {"steps": steps, "outputs": [place[symbol] for symbol in outputs]}


def _step(node: Node, place: dict[Symbol, list[int]], function: str) -> dict[str, Any]:
    if node.op.name not in (*_OPS, _JOIN):
        rule = "be made of operations with plain options to be described"
        raise ValueError(message(function, "function", rule, node.op.name))
    inputs = [
        {"from": place[value]} if isinstance(value, Symbol) else _encoded(value, function)
        for value in node.inputs
    ]
    options = {name: _encoded(value, function) for name, value in node.options.items()}
    return {"op": node.op.name, "inputs": inputs, "options": options}


def _encoded(value: Any, function: str) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (tuple, list)):
        return {"tuple": [_encoded(one, function) for one in value]}
    if isinstance(value, slice):
        return {"slice": [_encoded(one, function) for one in (value.start, value.stop, value.step)]}
    if value is Ellipsis:
        return {"ellipsis": True}
    if isinstance(value, np.dtype):
        return {"dtype": str(value)}
    if isinstance(value, np.ndarray):
        return {"array": value.tolist(), "dtype": str(value.dtype)}
    raise ValueError(message(function, "function", "read its inputs alone to be described", describe(value)))


def _decoded(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    if "array" in value:
        return np.array(value["array"], known_type(value["dtype"]))
    if "tuple" in value:
        return tuple(_decoded(one) for one in value["tuple"])
    if "slice" in value:
        return slice(*(_decoded(one) for one in value["slice"]))
    return Ellipsis if "ellipsis" in value else known_type(value["dtype"])


def known_type(name: Any) -> np.dtype[Any]:
    """The dtype of a name; those of texts and objects are none that operations take."""
    if name not in _TYPES:
        raise ValueError(message("Lambda", "function", f"have types among {', '.join(_TYPES)}", repr(name)))
    known: np.dtype[Any] = np.dtype(name)
    return known


class TracedFunction:
    """A function of Symbols (or arrays) made of what ``described`` gave.

    Args:
        description: ``steps`` and ``outputs``; ``several``: whether it returns a list.
    Raises:
        ValueError: It names an operation that there is not.
    """

    def __init__(self, description: dict[str, Any]) -> None:
        self.description = description
        for step in description["steps"]:
            if step["op"] not in (*_OPS, _JOIN):
                raise ValueError(message("Lambda", "function", "name known operations", repr(step["op"])))
            if not any(isinstance(value, dict) and "from" in value for value in step["inputs"]):
                rule = "compute from its inputs"
                raise ValueError(message("Lambda", "function", rule, f"{step['op']} of constants"))

    def __call__(self, inputs: Any) -> Any:
        made: dict[int, list[Any]] = {-1: flatten(inputs)}

        def found(value: Any) -> Any:
            if isinstance(value, dict) and "from" in value:
                step, output = value["from"]
                return made[step][output]
            return _decoded(value)

        for number, step in enumerate(self.description["steps"]):
            values = [found(value) for value in step["inputs"]]
            options = {name: _decoded(value) for name, value in step["options"].items()}
            if step["op"] == _JOIN:
                result = ops.concatenate(values, **options)
            else:
                result = apply(_OPS[step["op"]], values, options)
            made[number] = list(result) if isinstance(result, tuple) else [result]
        outputs = [made[step][output] for step, output in self.description["outputs"]]
        return outputs if self.description["several"] else outputs[0]
