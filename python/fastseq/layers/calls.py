"""The graph of layers: calls, their order, and running them again on other Symbols."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from fastseq._symbol import Symbol, apply

if TYPE_CHECKING:
    from fastseq.layers.base import Layer

__all__ = ["LayerCall", "calls_by_depth", "flatten", "replay", "unflatten"]

# --- nested structures ----------------------------------------------------------------------------


def flatten(structure: Any) -> list[Any]:
    """The leaves of nested lists, tuples and dicts, in order (dicts by key)."""
    if isinstance(structure, (list, tuple)):
        return [leaf for item in structure for leaf in flatten(item)]
    if isinstance(structure, dict):
        return [leaf for key in sorted(structure) for leaf in flatten(structure[key])]
    return [structure]


def unflatten(structure: Any, leaves: Sequence[Any]) -> Any:
    """``structure`` with its leaves replaced, in the order of ``flatten``."""
    return _refill(structure, iter(leaves))


def _refill(structure: Any, leaves: Iterator[Any]) -> Any:
    if isinstance(structure, (list, tuple)):
        return type(structure)(_refill(item, leaves) for item in structure)
    if isinstance(structure, dict):
        filled = {key: _refill(structure[key], leaves) for key in sorted(structure)}
        return {key: filled[key] for key in structure}
    return next(leaves)


class LayerCall:
    """One call of a layer on Symbols: a node of the graph of layers."""

    __slots__ = ("arguments", "inputs", "layer", "options", "outputs", "structure")

    def __init__(self, layer: Layer, arguments: Any, options: dict[str, Any], outputs: Any) -> None:
        self.layer = layer
        self.arguments = arguments
        self.options = options
        self.inputs = [leaf for leaf in flatten([arguments, options]) if isinstance(leaf, Symbol)]
        self.structure = outputs
        self.outputs: list[Symbol] = flatten(outputs)


def calls_by_depth(outputs: Sequence[Symbol], inputs: Sequence[Symbol]) -> list[tuple[int, LayerCall]]:
    """Layer calls between inputs and outputs, inputs' first: by depth, ties by traversal, as in Keras."""
    stops = set(inputs)
    finished: list[LayerCall] = []  # every call after those it depends on
    order: dict[Layer, int] = {}
    seen: set[LayerCall] = set()
    stack: list[tuple[LayerCall, bool]] = [
        (c, False) for s in reversed(list(outputs)) for c in reversed(_above(s))
    ]
    while stack:
        call, done = stack.pop()
        if done:
            finished.append(call)
        elif call not in seen:
            seen.add(call)
            order.setdefault(call.layer, len(order))
            stack.append((call, True))
            if stops.isdisjoint(call.outputs):
                stack += [(c, False) for s in reversed(call.inputs) for c in reversed(_above(s))]
    depth: dict[LayerCall, int] = {}
    of_layer: dict[Layer, int] = {}
    for call in reversed(finished):
        own = max(depth.get(call, 0), of_layer.get(call.layer, 0))
        depth[call] = of_layer[call.layer] = own
        if stops.isdisjoint(call.outputs):
            for above in (c for s in call.inputs for c in _above(s)):
                depth[above] = max(own + 1, depth.get(above, 0))
    ranked = sorted(finished, key=lambda call: (-of_layer[call.layer], order[call.layer]))
    return [(depth[call], call) for call in ranked]


def _above(symbol: Symbol) -> list[LayerCall]:
    """The layer calls a Symbol comes from: its own, or those above a bare operation."""
    if symbol.call is not None:
        return [symbol.call]
    found: list[LayerCall] = []
    stack = [symbol]
    while stack:
        node = stack.pop().node
        for value in () if node is None else node.inputs:
            if isinstance(value, Symbol):
                if value.call is not None:
                    found.append(value.call)
                else:
                    stack.append(value)
    return list(dict.fromkeys(found))


def _joined(layer: Layer, inputs: Any, options: dict[str, Any]) -> Any:
    return layer._trace(inputs, options)


def replay(
    output: Symbol,
    made: dict[Symbol, Symbol],
    training: bool | None,
    use: Callable[[Layer, Any, dict[str, Any]], Any] = _joined,
) -> None:
    """Computes ``made[output]`` from the Symbols already in ``made``, by calling the same layers.

    Args:
        output: What to compute again.
        made: For each Symbol that exists its counterpart; grows.
        training: As of ``Layer.call``.
        use: ``use(layer, inputs, options)``: what stands for a call of a layer.
    """
    stack = [output]
    while stack:
        symbol = stack[-1]
        if symbol in made:
            stack.pop()
            continue
        call = symbol.call
        needs = call.inputs if call is not None else [v for v in symbol.node.inputs if isinstance(v, Symbol)]  # type: ignore[union-attr]
        if missing := [v for v in needs if v not in made]:
            stack += missing
            continue
        if call is not None:
            options = {name: _swap(value, made) for name, value in call.options.items()}
            if training is not None and options.get("training") is None:
                options["training"] = training
            fresh = flatten(use(call.layer, _swap(call.arguments, made), options))
            made.update(zip(call.outputs, fresh, strict=True))
        else:
            node = symbol.node
            assert node is not None
            fresh = apply(
                node.op, [made.get(v, v) if isinstance(v, Symbol) else v for v in node.inputs], node.options
            )
            made.update(zip(node.outputs, flatten(fresh), strict=True))


def _swap(structure: Any, made: dict[Symbol, Symbol]) -> Any:
    leaves = [made.get(leaf, leaf) if isinstance(leaf, Symbol) else leaf for leaf in flatten(structure)]
    return unflatten(structure, leaves)
