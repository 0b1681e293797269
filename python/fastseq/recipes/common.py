"""What the recipes share: checked arguments, training that Ctrl-C ends early, files, marks, pictures."""

from __future__ import annotations

import importlib.util
import os
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TextIO

import numpy as np

from fastseq import layers, plots
from fastseq.callbacks import History
from fastseq.models import Model
from fastseq.weights import read_weights, write_weights

__all__ = [
    "CELLS", "cell_class", "fitted", "integer", "load_result", "need_pillow", "plot_history", "positive",
    "restore", "save_result", "share", "silent", "texts_of", "tick", "verbosity",
]  # fmt: skip

CELLS = {"gru": layers.GRU, "lstm": layers.LSTM, "simple_rnn": layers.SimpleRNN}


def integer(name: str, argument: str, value: Any, least: int, most: int | None = None) -> int:
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name}: {argument} must be an integer, got {value!r}")
    if value < least or (most is not None and value > most):
        rule = f"at least {least}" if most is None else f"from {least} to {most}"
        raise ValueError(f"{name}: {argument} must be {rule}, got {value}")
    return int(value)


def verbosity(name: str, value: Any) -> int:
    """``verbose`` as 0, 1 or 2; a bool will do."""
    return integer(name, "verbose", int(value) if isinstance(value, bool) else value, 0, 2)


def positive(name: str, argument: str, value: Any) -> None:
    if not value > 0:
        raise ValueError(f"{name}: {argument} must be above 0, got {value}")


def share(name: str, argument: str, value: Any) -> None:
    """Refuses what is neither None nor a part of 1."""
    if value is not None and not 0 < value <= 1:
        raise ValueError(f"{name}: {argument} must be above 0 and at most 1, got {value}")


def texts_of(name: str, argument: str, given: Any) -> list[str]:
    """One text or several as a list of them."""
    if not isinstance(given, Iterable):
        kind = type(given).__name__
        raise TypeError(f"{name}: {argument} must be a string or a list of strings, got {kind}")
    listed = [given] if isinstance(given, str) else list(given)
    for text in listed:
        if not isinstance(text, str):
            kind = type(text).__name__
            raise TypeError(f"{name}: {argument} must be a string or a list of strings, got {kind} in it")
    return listed


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


def fitted(
    model: Model, say: Callable[..., None], x: Any, y: Any, **options: Any
) -> tuple[History, float, bool]:
    """(history, seconds, whether Ctrl-C ended it) of ``model.fit``, whose options these are."""
    interrupted = False
    started = time.perf_counter()
    try:
        model.fit(x, y, **options)
    except KeyboardInterrupt:
        interrupted = True
        say("\nInterrupted: keeping what was learnt.")
    return model.history or History(), time.perf_counter() - started, interrupted


def save_result(path: str | os.PathLike[str], recipe: str, model: Model, kept: dict[str, Any]) -> None:
    """Writes a model's weights and history, and what else is plain values, into one safetensors file."""
    history = model.history.history if model.history else {}
    plain = {key: [float(value) for value in values] for key, values in history.items()}
    weights = {f"{i}": value for i, value in enumerate(model.get_weights())}
    write_weights(path, weights, {"recipe": recipe, "history": plain, **kept})


def load_result(
    name: str, path: str | os.PathLike[str], recipe: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """(weights, what was kept) of a file that ``save_result`` wrote; ``restore`` takes both.

    Raises:
        OSError: The file cannot be read.
        ValueError: It holds something else.
    """
    weights, kept = read_weights(path)
    if kept.pop("recipe", None) != recipe:
        article = "an" if recipe[0] in "aeiou" else "a"
        rule = f"path must hold {article} {recipe} model"
        raise ValueError(f"{name}: {rule}, got {os.fspath(path)!r}")
    return weights, kept


def restore(model: Model, weights: dict[str, Any], kept: dict[str, Any]) -> History:
    """Gives a model the weights and the history, which it takes out of ``kept``."""
    model.set_weights([weights[f"{i}"] for i in range(len(weights))])
    history = History()
    history.history, history.epoch = kept.pop("history"), list(range(kept["epochs"]))
    model.history = history
    return history


def need_pillow(function: str) -> None:
    """Raises RuntimeError where there is no Pillow."""
    try:
        found = importlib.util.find_spec("PIL") is not None
    except ValueError:  # its place among the modules is taken
        found = False
    if not found:
        rule = "Pillow must be installed (pip install 'fastseq[ocr]')"
        raise RuntimeError(f"{function}: {rule}, got no such module")


def plot_history(
    function: str, history: History, quantities: Sequence[str], title: str, path: str | os.PathLike[str]
) -> None:
    """Draws quantities over the epochs, of training and validation, into an image file.

    Raises:
        RuntimeError: matplotlib is not installed.
    """
    plots.plot_history(history, quantities, title, path, function=function)
