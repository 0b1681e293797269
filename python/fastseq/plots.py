"""Pictures: the curves of a history, and the graph of a model; with matplotlib (the extra ``plot``)."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from fastseq._arrays import describe, message
from fastseq.callbacks import History

__all__ = ["plot_history", "plot_model"]

CHARACTER, LINE = 0.085, 0.19  # inches of a letter and of a line in a box
GAP = 0.35  # inches between two boxes


def _figure(function: str, **options: Any) -> Any:
    """A figure that belongs to no window.

    Raises:
        RuntimeError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise RuntimeError(
            f"{function}: matplotlib must be installed (pip install 'fastseq[plot]'), got no such module"
        ) from None
    return Figure(**options)


# --- a history --------------------------------------------------------------------------------------


def plot_history(
    history: History | Mapping[str, Sequence[float]],
    quantities: str | Sequence[str] | None = None,
    title: str | None = None,
    to_file: str | os.PathLike[str] | None = None,
    *,
    function: str = "plot_history",
) -> Any:
    """Draws losses and metrics over the epochs, of training and validation.

    Args:
        history: What ``fit`` returned, or its ``history``.
        quantities: Which of its values, one or several, one picture beside the other; all by default.
        title: Above them.
        to_file: An image file to write.
        function: Who asks, for the error's text.
    Returns:
        The matplotlib Figure, which notebooks show.
    Raises:
        RuntimeError: matplotlib is not installed.
        ValueError: A quantity is not in the history, or there is none.
    """
    values = history.history if isinstance(history, History) else dict(history)
    own = [name for name in values if not name.startswith("val_")]
    named = [quantities] if isinstance(quantities, str) else quantities
    wanted = own if named is None else list(named)
    for name in wanted or [""]:
        if name not in values and f"val_{name}" not in values and (quantities is None or values):
            raise ValueError(message(function, "quantities", f"be among {', '.join(own)}", describe(name)))
    figure = _figure(function, figsize=(4.5 * len(wanted), 3.6), layout="constrained")
    from matplotlib.ticker import MaxNLocator

    if title is not None:
        figure.suptitle(title)
    for axes, name in zip(figure.subplots(1, len(wanted), squeeze=False)[0], wanted, strict=True):
        for key, label in ((name, "training"), (f"val_{name}", "validation")):
            if values.get(key):
                axes.plot(range(1, len(values[key]) + 1), values[key], marker=".", label=label)
        axes.set_xlabel("epoch")
        axes.set_ylabel(name)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend()
    if to_file is not None:
        figure.savefig(to_file, dpi=120)
    return figure


# --- a model ----------------------------------------------------------------------------------------


def plot_model(
    model: Any,
    to_file: str | os.PathLike[str] | None = "model.png",
    show_shapes: bool = False,
    show_dtype: bool = False,
    show_layer_names: bool = False,
    rankdir: str = "TB",
    expand_nested: bool = False,
    dpi: int = 200,
    show_layer_activations: bool = False,
    show_trainable: bool = False,
) -> Any:
    """Draws the layers of a model and what flows between them.

    Args:
        model: A built model.
        to_file: An image file to write, or None.
        show_shapes: Whether the shapes of outputs are written.
        show_dtype: Whether their types are.
        show_layer_names: Whether the names of layers are, besides their kinds.
        rankdir: "TB" from top to bottom, "LR" from left to right.
        expand_nested: Whether the layers of models within are listed.
        dpi: Dots per inch.
        show_layer_activations: Whether activations are written.
        show_trainable: Whether it is written which layers are trained.
    Returns:
        The matplotlib Figure, which notebooks show.
    Raises:
        RuntimeError: matplotlib is not installed, or the model is not built.
        ValueError: ``rankdir`` is neither of these.
    """
    if rankdir not in ("TB", "LR"):
        raise ValueError(message("plot_model", "rankdir", "be TB or LR", describe(rankdir)))
    if not model.built:
        raise RuntimeError(f"plot_model: {model.name} must be built, got one without a graph yet")
    shown = {
        "names": show_layer_names, "shapes": show_shapes, "types": show_dtype, "nested": expand_nested,
        "activations": show_layer_activations, "trainable": show_trainable,
    }  # fmt: skip
    calls = model.calls
    texts = [_lines(call, shown) for call in calls]
    edges = _edges(calls)
    boxes = _boxes(_ranks(len(calls), edges), edges, texts, rankdir == "LR")
    width = max(x + w / 2 for x, _, w, _ in boxes) + GAP
    height = max(y + h / 2 for _, y, _, h in boxes) + GAP
    figure = _figure("plot_model", figsize=(width, height))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.axis("off")
    for (x, y, w, h), lines in zip(boxes, texts, strict=True):
        axes.add_patch(_rectangle(x - w / 2, y - h / 2, w, h))
        axes.text(x, y, "\n".join(lines), ha="center", va="center", fontsize=9, family="monospace", zorder=3)
    for begin, end in edges:
        _arrow(axes, boxes[begin], boxes[end], rankdir == "LR")
    if to_file is not None:
        figure.savefig(to_file, dpi=dpi)
    return figure


def _rectangle(x: float, y: float, width: float, height: float) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((x, y), width, height, facecolor="#eef3fb", edgecolor="#456", zorder=2)


def _arrow(axes: Any, begin: tuple[float, ...], end: tuple[float, ...], sideways: bool) -> None:
    (x, y, w, h), (u, v, p, q) = begin, end
    tail, head = ((x + w / 2, y), (u - p / 2, v)) if sideways else ((x, y + h / 2), (u, v - q / 2))
    style = {"arrowstyle": "-|>", "color": "#456", "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", head, tail, arrowprops=style, zorder=1)


def _lines(call: Any, shown: Mapping[str, bool]) -> list[str]:
    """What is written into the box of one call of a layer."""
    layer = call.layer
    kind = type(layer).__name__
    lines = [f"{layer.name} ({kind})" if shown["names"] else kind]
    if shown["activations"] and isinstance(getattr(layer, "activation", None), str):
        lines.append(f"activation: {layer.activation}")
    if shown["shapes"]:
        lines += [f"{symbol.shape}" for symbol in call.outputs]
    if shown["types"]:
        lines.append(", ".join(dict.fromkeys(str(symbol.dtype) for symbol in call.outputs)))
    if shown["trainable"] and layer.weights:
        lines.append("trainable" if layer.trainable else "not trainable")
    if shown["nested"] and getattr(layer, "layers", None):
        lines += [f"  {inner.name} ({type(inner).__name__})" for inner in layer.layers]
    return lines


def _edges(calls: Sequence[Any]) -> list[tuple[int, int]]:
    """(from, to) as places among the calls, each once."""
    place = {call: k for k, call in enumerate(calls)}
    found: dict[tuple[int, int], None] = {}
    for k, call in enumerate(calls):
        stack = list(call.inputs)
        while stack:
            symbol = stack.pop()
            if symbol.call is not None:
                if symbol.call in place and symbol.call is not call:
                    found[place[symbol.call], k] = None
            elif symbol.node is not None:
                stack += [value for value in symbol.node.inputs if hasattr(value, "call")]
    return sorted(found)


def _ranks(count: int, edges: Sequence[tuple[int, int]]) -> list[int]:
    """How many calls lie before each, on the longest way."""
    ranks = [0] * count
    for _ in range(count):
        changed = False
        for begin, end in edges:
            if ranks[end] <= ranks[begin]:
                ranks[end], changed = ranks[begin] + 1, True
        if not changed:
            break
    return ranks


def _boxes(
    ranks: Sequence[int], edges: Sequence[tuple[int, int]], texts: Sequence[Sequence[str]], sideways: bool
) -> list[tuple[float, float, float, float]]:
    """The middle and the size of every box, in inches: ranks one after another, each in the middle."""
    sizes = [(CHARACTER * max(map(len, lines)) + 0.3, LINE * len(lines) + 0.15) for lines in texts]
    along, across = (0, 1) if sideways else (1, 0)
    rows: list[list[int]] = [[] for _ in range(max(ranks) + 1)]
    order: dict[int, float] = {}
    for rank, row in enumerate(rows):
        row += [k for k, r in enumerate(ranks) if r == rank]
        before = {k: [order[begin] for begin, end in edges if end == k] for k in row}
        row.sort(key=lambda k: sum(before[k]) / len(before[k]) if before[k] else k)
        order.update({k: place - len(row) / 2 for place, k in enumerate(row)})
    lengths = [sum(sizes[k][across] + GAP for k in row) for row in rows]
    middles: dict[int, tuple[float, float]] = {}
    at = GAP
    for row, length in zip(rows, lengths, strict=True):
        depth = max(sizes[k][along] for k in row)
        beside = (max(lengths) - length) / 2 + GAP
        for k in row:
            middle = (at + depth / 2, beside + sizes[k][across] / 2)
            middles[k] = middle if sideways else middle[::-1]
            beside += sizes[k][across] + GAP
        at += depth + GAP
    return [(*middles[k], *sizes[k]) for k in range(len(texts))]
