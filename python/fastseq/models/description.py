"""A graph of layers as plain values that JSON can hold, and made of them again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastseq._arrays import describe, message
from fastseq._symbol import Symbol
from fastseq.layers.base import Layer
from fastseq.layers.calls import LayerCall, flatten
from fastseq.layers.description import from_config as layer_from_config
from fastseq.layers.description import to_config
from fastseq.layers.input import InputLayer
from fastseq.layers.traced import TracedFunction, described, known_type

__all__ = ["graph_config", "graph_from_config", "plain"]


def plain(value: Any, function: str) -> Any:
    """``value`` as JSON holds it: arrays as lists with their type, tuples as lists.

    Raises:
        ValueError: It holds something else than numbers, texts, arrays, lists and dicts.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return [plain(one, function) for one in value]
    if isinstance(value, dict):
        return {str(key): plain(one, function) for key, one in value.items()}
    if isinstance(value, np.dtype):
        return str(value)
    rule = "be made of plain values to be described"
    raise ValueError(message(function, "config", rule, describe(value)))


# --- to plain values ------------------------------------------------------------------------------


class _Writer:
    """The nodes of a graph in an order in which they can be made again."""

    def __init__(self, layers: Sequence[Layer], function: str) -> None:
        self.function = function
        self.layers = list(layers)
        self.nodes: list[dict[str, Any]] = []
        self._place: dict[Symbol, list[int]] = {}

    def input(self, symbol: Symbol) -> None:
        """Notes one of the model's inputs.

        Raises:
            ValueError: It was not made by ``Input``.
        """
        if symbol.call is None or not isinstance(symbol.call.layer, InputLayer):
            raise ValueError(
                message(self.function, "inputs", "be made by Input to be described", repr(symbol))
            )
        if symbol.call.layer not in self.layers:
            self.layers.append(symbol.call.layer)  # nothing is computed from it
        self._place[symbol] = [len(self.nodes), 0]
        self.nodes.append({"input": self.layers.index(symbol.call.layer)})

    def add(self, symbols: Sequence[Symbol]) -> None:
        """Notes all that these come from, what each needs before it."""
        stack = list(reversed(symbols))
        while stack:
            symbol = stack[-1]
            if symbol in self._place:
                stack.pop()
                continue
            needs = symbol.call.inputs if symbol.call is not None else _sources(symbol)
            if missing := [need for need in needs if need not in self._place]:
                stack += reversed(missing)
                continue
            if symbol.call is not None:
                self._call(symbol.call)
            else:
                self._operations(symbol, needs)

    def _call(self, call: LayerCall) -> None:
        for index, symbol in enumerate(call.outputs):
            self._place.setdefault(symbol, [len(self.nodes), index])
        options = {name: value for name, value in call.options.items() if value is not None}
        self.nodes.append(
            {
                "layer": self.layers.index(call.layer),
                "inputs": self.encoded(call.arguments),
                "options": {name: self.encoded(value) for name, value in options.items()},
            }
        )

    def _operations(self, symbol: Symbol, sources: Sequence[Symbol]) -> None:
        """Operations between layers: as a Lambda keeps them."""
        made = described(sources, [symbol], self.function)
        self._place[symbol] = [len(self.nodes), 0]
        self.nodes.append({"function": {**made, "several": False}, "inputs": self.encoded(list(sources))})

    def encoded(self, value: Any) -> Any:
        """A structure of Symbols and plain values."""
        if isinstance(value, Symbol):
            return {"symbol": self._place[value]}
        if isinstance(value, (list, tuple)):
            return [self.encoded(one) for one in value]
        if isinstance(value, dict):
            return {"dict": {key: self.encoded(one) for key, one in value.items()}}
        if isinstance(value, np.ndarray):
            return {"array": value.tolist(), "dtype": str(value.dtype)}
        return plain(value, self.function)


def _sources(symbol: Symbol) -> list[Symbol]:
    """The Symbols made by layers, or inputs, that a bare one is computed from."""
    found: dict[Symbol, None] = {}
    stack, seen = [symbol], set()
    while stack:
        at = stack.pop()
        if at in seen:
            continue
        seen.add(at)
        if at is not symbol and (at.call is not None or at.node is None):
            found[at] = None
        elif at.node is not None:
            stack += [value for value in reversed(at.node.inputs) if isinstance(value, Symbol)]
    return list(found)


def graph_config(model: Any) -> dict[str, Any]:
    """The layers of a functional model and how they are joined.

    Raises:
        ValueError: It begins elsewhere than at Inputs, reads what has no plain form, or keeps a layer both
            as its own and within another.
    """
    function = f"{model.name}.get_config"
    writer = _Writer(model.layers, function)
    for symbol in model.inputs:
        writer.input(symbol)
    writer.add(model.outputs)
    layers = writer.layers
    if sum(len(layer.weights) for layer in layers) != len(model.weights):
        rule = "belong to one of its layers each to be described"
        raise ValueError(message(function, "weights", rule, "some that several share"))
    return {
        "name": model.name,
        "trainable": model.trainable,
        "layers": [plain(to_config(layer), function) for layer in layers],
        "nodes": writer.nodes,
        "inputs": writer.encoded(model.input),
        "outputs": writer.encoded(model.output),
    }


# --- from plain values ----------------------------------------------------------------------------


def graph_from_config(config: dict[str, Any], make: Callable[..., Any]) -> Any:
    """A new model of new layers.

    Args:
        config: What ``graph_config`` gave.
        make: ``make(inputs, outputs, name=..., trainable=...)``.
    """
    layers = [one if isinstance(one, Layer) else layer_from_config(one) for one in config["layers"]]
    made: list[list[Symbol]] = []

    def decoded(value: Any) -> Any:
        if isinstance(value, list):
            return [decoded(one) for one in value]
        if not isinstance(value, dict):
            return value
        if "symbol" in value:
            node, output = value["symbol"]
            return made[node][output]
        if "dict" in value:
            return {key: decoded(one) for key, one in value["dict"].items()}
        return np.array(value["array"], known_type(value["dtype"]))

    for node in config["nodes"]:
        if "input" in node:
            outputs = layers[node["input"]].output
        elif "layer" in node:
            options = {name: decoded(value) for name, value in node["options"].items()}
            outputs = layers[node["layer"]](decoded(node["inputs"]), **options)
        else:
            outputs = TracedFunction(node["function"])(decoded(node["inputs"]))
        leaves = flatten(outputs)
        if not all(isinstance(leaf, Symbol) for leaf in leaves):
            raise ValueError(message("from_config", "nodes", "be computed from the inputs", "constants"))
        made.append(leaves)
    return make(
        decoded(config["inputs"]),
        decoded(config["outputs"]),
        name=config.get("name"),
        trainable=config.get("trainable", True),
    )
