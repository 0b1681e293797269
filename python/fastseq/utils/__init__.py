"""What Keras keeps in ``utils``: datasets that are made batch by batch, and small things around models."""

from fastseq.data import PyDataset

Sequence = PyDataset  # Keras's older name

__all__ = ["PyDataset", "Sequence"]
