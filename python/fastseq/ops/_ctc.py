"""What the CTC operations take: choices, lengths and labels, read in one way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastseq._arrays import INT64, Array, describe, integer, message

INPUTS = ("logits", "log_probs", "probs")  # the kernels' enumeration, in its order


def choice(function: str, argument: str, name: Any, known: Sequence[str]) -> int:
    if not isinstance(name, str) or name not in known:
        raise ValueError(message(function, argument, f"be one of {', '.join(known)}", describe(name)))
    return known.index(name)


def read_lengths(function: str, argument: str, lengths: Any, batch: int, full: int) -> Array:
    if lengths is None:
        return np.full(batch, full, INT64)
    given: Array = integer(lengths, function, argument)
    if given.ndim == 2 and given.shape[1] == 1:  # Keras's (batch, 1)
        given = given.reshape(-1)
    return given.astype(INT64, copy=False)


def read_labels(function: str, labels: Any, lengths: Any) -> tuple[Array, Array]:
    """Labels as (batch, longest), and their lengths; a list of sequences brings its own."""
    if lengths is None and isinstance(labels, (list, tuple)) and all(np.ndim(row) == 1 for row in labels):
        found = np.array([len(row) for row in labels], INT64)
        rows = np.zeros((len(labels), int(found.max(initial=0))), INT64)
        for n, row in enumerate(labels):
            if len(row):
                rows[n, : len(row)] = integer(row, function, "labels")
        return rows, found
    rows = integer(labels, function, "labels", ndim=2).astype(INT64, copy=False)
    return rows, read_lengths(function, "label_lengths", lengths, len(rows), rows.shape[1])
