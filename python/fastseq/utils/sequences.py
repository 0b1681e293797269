"""pad_sequences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastseq._arrays import Array, describe, message, number

__all__ = ["pad_sequences"]

SIDES = ("pre", "post")


def pad_sequences(
    sequences: Sequence[Any],
    maxlen: int | None = None,
    dtype: Any = "int32",
    padding: str = "pre",
    truncating: str = "pre",
    value: Any = 0.0,
) -> Array:
    """Sequences of any lengths as one array (sequences, maxlen, ...).

    Args:
        sequences: Each of numbers, or of arrays of one shape.
        maxlen: That of the longest by default.
        dtype: Of the result; ``object`` for strings.
        padding: "pre" or "post": where ``value`` fills up what is too short.
        truncating: "pre" or "post": where what is too long loses its elements.
        value: What fills up.
    Raises:
        TypeError: ``sequences`` has no length, or one of its entries has none; or a string is to fill
            up numbers.
        ValueError: Another word for a side, or elements of different shapes.
    """
    function = "pad_sequences"
    for argument, side in (("padding", padding), ("truncating", truncating)):
        if side not in SIDES:
            raise ValueError(message(function, argument, "be one of pre, post", describe(side)))
    if not hasattr(sequences, "__len__"):
        raise TypeError(message(function, "sequences", "have a length", describe(sequences)))
    for k, sequence in enumerate(sequences):
        if not hasattr(sequence, "__len__"):
            raise TypeError(message(function, f"sequences[{k}]", "be a sequence", describe(sequence)))
    kind = np.dtype(dtype)
    if isinstance(value, str) and kind.kind not in "OSU":
        raise TypeError(message(function, "value", f"fit dtype {kind}", describe(value)))
    longest = max((len(sequence) for sequence in sequences), default=0)
    steps = longest if maxlen is None else number(maxlen, function, "maxlen", low=0, whole=True)
    shape = next((np.shape(sequence)[1:] for sequence in sequences if len(sequence)), ())
    padded = np.full((len(sequences), steps, *shape), value, kind)
    for k, sequence in enumerate(sequences):
        beyond = max(len(sequence) - steps, 0)
        kept = sequence[beyond:] if truncating == "pre" else sequence[: len(sequence) - beyond]
        if not len(kept):
            continue
        elements = np.asarray(kept, kind)
        if elements.shape[1:] != shape:
            rule = f"have elements of shape {shape}"
            raise ValueError(message(function, f"sequences[{k}]", rule, str(elements.shape[1:])))
        begin = steps - len(elements) if padding == "pre" else 0
        padded[k, begin : begin + len(elements)] = elements
    return padded
