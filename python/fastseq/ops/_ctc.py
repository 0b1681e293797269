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


def read_labels(function: str, labels: Any, lengths: Any, *, argument: str = "labels") -> tuple[Array, Array]:
    """Labels as (batch, longest), and their lengths; a list of sequences brings its own."""
    if lengths is None and isinstance(labels, (list, tuple)) and all(np.ndim(row) == 1 for row in labels):
        found = np.array([len(row) for row in labels], INT64)
        rows = np.zeros((len(labels), int(found.max(initial=0))), INT64)
        for n, row in enumerate(labels):
            if len(row):
                rows[n, : len(row)] = integer(row, function, argument)
        return rows, found
    rows = integer(labels, function, argument, ndim=2).astype(INT64, copy=False)
    return rows, read_lengths(function, "label_lengths", lengths, len(rows), rows.shape[1])


def label_counts(function: str, argument: str, labels: Array, ends: Array, what: str, lengths: Any) -> Array:
    """How many labels each row holds before the first entry that ends it.

    Args:
        function: Who asks, for the error's text.
        argument: The labels' name, for the error's text.
        labels: (batch, longest) int64.
        ends: Bool, like ``labels``: which of them are no labels, but end a row.
        what: What ends a row, for the error's text.
        lengths: (batch,): entries at or after it are ignored; None for none.
    Returns:
        (batch,) int64.
    Raises:
        ValueError: A label comes after the end of its row. Lengths are left to the kernel to check.
    """
    batch, longest = labels.shape
    given = read_lengths(function, "label_lengths", lengths, batch, longest)
    if given.shape != (batch,):
        raise ValueError(message(function, "label_lengths", f"have shape ({batch},)", str(given.shape)))
    place = np.arange(longest)
    within = place < given[:, None]
    never = np.iinfo(np.int64).max
    counts = np.minimum(np.where(ends & within, place, never).min(axis=1, initial=never), given)
    counts = np.where(given > longest, given, counts)  # left as it is, though the row may have ended before
    late = within & ~ends & (place >= counts[:, None])
    if late.any():
        row, at = (int(k) for k in np.argwhere(late)[0])
        got = f"{labels[row, at]} at index ({row}, {at})"
        raise ValueError(message(function, argument, f"have no label after {what}", got))
    return np.asarray(counts, INT64)
