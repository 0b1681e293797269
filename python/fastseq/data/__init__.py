"""Data on their way to the model: columns of arrays, split, shuffled, and gathered batch by batch."""

from fastseq.data.columns import (
    Batches,
    as_columns,
    class_weights,
    columns,
    fits,
    same_rows,
    sample_weights,
    split,
)

__all__ = [
    "Batches",
    "as_columns",
    "class_weights",
    "columns",
    "fits",
    "same_rows",
    "sample_weights",
    "split",
]
