"""What Keras keeps in ``utils``: datasets that are made batch by batch, and small things around models."""

from fastseq._registry import (
    custom_object_scope,
    get_registered_name,
    get_registered_object,
    register_keras_serializable,
)
from fastseq.data import PyDataset

Sequence = PyDataset  # Keras's older name

__all__ = [
    "PyDataset",
    "Sequence",
    "custom_object_scope",
    "get_registered_name",
    "get_registered_object",
    "register_keras_serializable",
]
