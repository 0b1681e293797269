"""The table that ``model.summary()`` prints."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from fastseq._arrays import describe, message
from fastseq._symbol import Variable

__all__ = ["render"]


def _size(variables: Sequence[Variable]) -> tuple[int, float]:
    """(how many numbers, how many bytes)."""
    unique = list(dict.fromkeys(variables))
    count = sum(math.prod(v.shape) for v in unique)
    return count, float(sum(math.prod(v.shape) * v.dtype.itemsize for v in unique))


def _optimizer_size(model: Any) -> tuple[int, float]:
    """(how many numbers, how many bytes) the optimizer keeps once it has begun, as Keras counts them."""
    if not model.compiled or not model.optimizer.built:
        return 0, 0.0
    arrays = [array for values in model.objective.optimizer_state().values() for array in values]
    steps_and_rate = 2, 12  # int64 and float32
    return sum(a.size for a in arrays) + steps_and_rate[0], sum(a.nbytes for a in arrays) + steps_and_rate[1]


def _readable(size: float) -> str:
    for unit in ("B", "KB", "MB", "GB"):
        if size < 1024:
            return f"{size:.2f} {unit}"
        size /= 1024
    return f"{size:.2f} TB"


def _shapes(layer: Any) -> str:
    calls = getattr(layer, "_calls", [])
    outputs = calls[0].outputs if calls else getattr(layer, "outputs", [])
    shapes = [f"({', '.join(map(str, symbol.shape))}{',' * (len(symbol.shape) == 1)})" for symbol in outputs]
    return shapes[0] if len(shapes) == 1 else f"[{', '.join(shapes)}]" if shapes else "?"


def _connections(layer: Any, calls: Sequence[Any]) -> str:
    names = []
    for call in calls:
        if call.layer is layer:
            for symbol in call.inputs:
                source = symbol.call
                if source is not None:
                    node = source.layer._calls.index(source) if source in source.layer._calls else 0
                    names.append(f"{source.layer.name}[{node}][{symbol.call_index}]")
    return ", ".join(names) or "-"


def _is_chain(calls: Sequence[Any]) -> bool:
    """Whether every layer is called once, on the output of the one before it."""
    layers = [call.layer for call in calls]
    return len(set(layers)) == len(layers) and all(
        len(call.inputs) == min(k, 1) and (k == 0 or call.inputs[0].call is calls[k - 1])
        for k, call in enumerate(calls)
    )


def _rows(
    layers: Sequence[Any], calls: Sequence[Any], connected: bool, expand: bool, trainable: bool, depth: int
) -> list[list[str]]:
    rows = []
    for layer in layers:
        prefix = "   " * depth + "└ " if depth else ""
        count = f"{layer.count_params():,}" if layer.built else "0 (unbuilt)"
        row = [f"{prefix}{layer.name} ({type(layer).__name__})", _shapes(layer), count]
        if connected:
            row.append(_connections(layer, calls))
        if trainable:
            row.append("-" if not layer.weights else "Y" if layer.trainable else "N")
        rows.append(row)
        if expand and getattr(layer, "layers", None):
            rows += _rows(layer.layers, calls, connected, expand, trainable, depth + 1)
    return rows


def _part(layers: Sequence[Any], layer_range: Sequence[str]) -> Sequence[Any]:
    names = [layer.name for layer in layers]
    for name in layer_range:
        if name not in names:
            rule = f"name layers among {', '.join(names)}"
            raise ValueError(message("summary", "layer_range", rule, describe(name)))
    first, last = sorted(names.index(name) for name in layer_range)
    return layers[first : last + 1]


def render(
    model: Any,
    calls: Sequence[Any],
    line_length: int | None = None,
    expand_nested: bool = False,
    show_trainable: bool = False,
    layer_range: Sequence[str] | None = None,
) -> str:
    """The table as one text.

    Args:
        model: The model.
        calls: Its layer calls, inputs first.
        line_length: At least this wide.
        expand_nested: Whether layers of models within are listed.
        show_trainable: Whether there is a column for that.
        layer_range: Names of the first and last layer to list.
    """
    layers = model.layers if layer_range is None else _part(model.layers, layer_range)
    connected = not _is_chain(calls)
    header = ["Layer (type)", "Output Shape", "Param #"]
    header += ["Connected to"] * connected + ["Trainable"] * show_trainable
    rows = _rows(layers, calls, connected, expand_nested, show_trainable, 0)
    widths = [max(len(row[k]) for row in [header, *rows]) + 2 for k in range(len(header))]
    spare = (line_length or 0) - sum(widths) - len(widths) - 1
    widths[0] += max(spare, 0)

    def line(left: str, middle: str, right: str, dash: str) -> str:
        return left + middle.join(dash * width for width in widths) + right

    def cells(row: list[str], bar: str) -> str:
        texts = [
            f" {text:>{width - 2}} " if k == 2 else f" {text:<{width - 2}} "
            for k, (text, width) in enumerate(zip(row, widths, strict=True))
        ]
        return bar + bar.join(texts) + bar

    lines = [f'Model: "{model.name}"', line("┏", "┳", "┓", "━"), cells(header, "┃"), line("┡", "╇", "┩", "━")]
    for k, row in enumerate(rows):
        lines += [line("├", "┼", "┤", "─")] * (k > 0) + [cells(row, "│")]
    lines.append(line("└", "┴", "┘", "─"))
    trained, trained_bytes = _size(model.trainable_weights)
    fixed, fixed_bytes = _size(model.non_trainable_weights)
    kept, kept_bytes = _optimizer_size(model)
    lines += [
        f" Total params: {trained + fixed + kept:,} ({_readable(trained_bytes + fixed_bytes + kept_bytes)})",
        f" Trainable params: {trained:,} ({_readable(trained_bytes)})",
        f" Non-trainable params: {fixed:,} ({_readable(fixed_bytes)})",
    ]
    if kept:
        lines.append(f" Optimizer params: {kept:,} ({_readable(kept_bytes)})")
    return "\n".join(lines)
