"""What ``compile`` was asked for: refused where it means nothing, and laid out by the model's outputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastseq import losses, metrics
from fastseq._arrays import message

__all__ = ["by_shape", "metric_lists", "per_output", "refuse_unknown"]


def refuse_unknown(loss: Any, **metrics_asked: Any) -> None:
    """Raises for what ``compile`` was given that is no loss or metric, before any output is known.

    Args:
        loss: As given to ``compile``.
        metrics_asked: Metrics as given to ``compile``, by argument.
    Raises:
        ValueError: An unknown name, or a loss that makes no number.
        TypeError: Neither a name nor a loss or metric.
    """
    for identifier in _entries(loss):
        if identifier is None or by_shape(identifier):
            continue
        if losses.get(identifier, "compile", "loss").reduction == "none":
            raise ValueError(message("compile", "loss", "reduce to a number", "reduction none"))
    for argument, asked in metrics_asked.items():
        for identifier in (one for entry in _entries(asked) for one in _entries(entry)):
            if identifier is not None and not (metrics.is_accuracy(identifier) or by_shape(identifier)):
                metrics.get(identifier, "compile", argument)


def _entries(value: Any) -> list[Any]:
    """What a list, tuple or dict holds, or the one thing that is none of them."""
    if isinstance(value, dict):
        return list(value.values())
    return list(value) if isinstance(value, (list, tuple)) else [value]


def per_output(value: Any, names: Sequence[str], argument: str) -> list[Any]:
    """One entry per output from what ``compile`` was given: a dict by name, a list, or one for all.

    Raises:
        ValueError: Another number of entries, or an unknown name.
    """
    if isinstance(value, dict):
        if unknown := [name for name in value if name not in names]:
            rule = f"have keys among {', '.join(names)}"
            raise ValueError(message("compile", argument, rule, ", ".join(map(str, unknown))))
        return [value.get(name) for name in names]
    if isinstance(value, (list, tuple)):
        if len(value) != len(names):
            rule = f"have {len(names)} entries"
            raise ValueError(message("compile", argument, rule, str(len(value))))
        return list(value)
    return [value] * len(names)


def metric_lists(value: Any, names: Sequence[str], argument: str) -> list[list[Any]]:
    """The metrics of each output, not made yet: accuracy depends on the shape of the targets."""
    if value is None:
        return [[] for _ in names]
    if not isinstance(value, (list, tuple, dict)):
        value = [value]
    nested = isinstance(value, dict) or (
        len(value) == len(names) and any(isinstance(v, (list, tuple)) or v is None for v in value)
    )
    if nested:
        entries: list[Any] = per_output(value, names, argument)
    elif len(value) == len(names) > 1:
        entries = [[entry] for entry in value]  # as in Keras 3: a flat list of as many is one per output
    else:
        entries = [value] * len(names)  # as in old Keras: all for each output
    return [[] if e is None else list(e) if isinstance(e, (list, tuple)) else [e] for e in entries]


def by_shape(identifier: Any) -> bool:
    """Whether a loss is known only once the shape of its targets is."""
    return metrics.is_crossentropy(identifier)
