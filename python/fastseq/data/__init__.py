"""Data on their way to the model: columns of arrays, split, shuffled, and gathered batch by batch."""

from fastseq.data.columns import (
    Batches,
    agree,
    as_columns,
    class_weights,
    columns,
    fits,
    same_rows,
    sample_weights,
    split,
)
from fastseq.data.dataset import PyDataset, is_dataset, is_stream, parts

__all__ = [
    "Batches",
    "PyDataset",
    "agree",
    "as_columns",
    "class_weights",
    "columns",
    "fits",
    "is_dataset",
    "is_stream",
    "parts",
    "same_rows",
    "sample_weights",
    "split",
]
