"""What the recipes share: arguments that are checked, marks for right and wrong, the picture of a history."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, TextIO

import numpy as np

from fastseq import layers
from fastseq.callbacks import History

__all__ = ["CELLS", "cell_class", "integer", "plot_history", "silent", "tick"]

CELLS = {"gru": layers.GRU, "lstm": layers.LSTM, "simple_rnn": layers.SimpleRNN}


def integer(name: str, argument: str, value: Any, least: int, most: int | None = None) -> int:
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name}: {argument} must be an integer, got {value!r}")
    if value < least or (most is not None and value > most):
        rule = f"at least {least}" if most is None else f"from {least} to {most}"
        raise ValueError(f"{name}: {argument} must be {rule}, got {value}")
    return int(value)


def cell_class(name: str, cell: str) -> Any:
    if not isinstance(cell, str) or cell not in CELLS:
        raise ValueError(f"{name}: cell must be one of {', '.join(CELLS)}, got {cell!r}")
    return CELLS[cell]


def tick(right: bool, stream: TextIO) -> str:
    """A green or red box; without colour codes where nobody would see colours (https://no-color.org)."""
    mark = "☑" if right else "☒"
    try:
        mark.encode(stream.encoding or "utf-8")
    except UnicodeEncodeError:
        mark = "v" if right else "x"
    if not stream.isatty() or os.environ.get("NO_COLOR"):
        return mark
    return f"\033[{92 if right else 91}m{mark}\033[0m"


def silent(*_: object) -> None:
    pass


def plot_history(
    function: str, history: History, quantities: Sequence[str], title: str, path: str | os.PathLike[str]
) -> None:
    """Draws quantities over the epochs, of training and validation, into an image file.

    Raises:
        RuntimeError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator
    except ImportError:
        raise RuntimeError(
            f"{function}: matplotlib must be installed (pip install 'fastseq[plot]'), got no such module"
        ) from None
    epochs = np.arange(1, len(history.epoch) + 1)
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    figure.suptitle(title)
    for axes, quantity in zip(figure.subplots(1, 2), quantities, strict=True):
        for key, label in ((quantity, "training"), (f"val_{quantity}", "validation")):
            if key in history.history:
                axes.plot(epochs, history.history[key], marker=".", label=label)
        axes.set_xlabel("epoch")
        axes.set_ylabel(quantity)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        if len(epochs):
            axes.legend()
    figure.savefig(path, dpi=120)
