"""What a forward keeps for its backward, and the checks that every backward begins with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastseq._arrays import Array, describe, message

__all__ = ["Saved", "check_wanted", "opened", "place_for"]


class Saved:
    """Opaque: only the backward of the operation that made it opens it, once unless kept."""

    __slots__ = ("forward", "values")

    def __init__(self, forward: str, *values: Any) -> None:
        self.forward = forward
        self.values: tuple[Any, ...] | None = values


def opened(saved: Any, forward: str, backward: str, keep: bool) -> tuple[Any, ...]:
    """What ``forward`` saved.

    Raises:
        TypeError: ``saved`` is something else.
        RuntimeError: It was used up.
    """
    if type(saved) is not Saved or saved.forward != forward:
        got = f"what {saved.forward} returned" if type(saved) is Saved else describe(saved)
        raise TypeError(message(backward, "saved", f"be what {forward} returned with training=True", got))
    values = saved.values
    if values is None:
        rule = "be used once unless kept with keep=True"
        raise RuntimeError(message(backward, "saved", rule, "one that is consumed"))
    if not keep:
        saved.values = None
    return values


def check_wanted(wanted: Sequence[str], names: tuple[str, ...], function: str) -> None:
    """Refuses names of gradients that there are not."""
    for name in wanted:
        if name not in names:
            raise ValueError(message(function, "wanted", f"name some of {', '.join(names)}", repr(name)))


def place_for(name: str, wanted: Sequence[str], into: Mapping[str, Array] | None) -> Array | bool | None:
    """Where a kernel puts the gradient of a parameter: the array it adds to, True for a new one, or None."""
    return (into or {}).get(name, True) if name in wanted else None
