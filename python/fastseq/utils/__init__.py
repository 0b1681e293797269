"""What Keras keeps in ``utils``: datasets made batch by batch, targets, sequences, seeds, model copies."""

from fastseq._registry import (
    custom_object_scope,
    get_registered_name,
    get_registered_object,
    register_keras_serializable,
)
from fastseq.data import PyDataset
from fastseq.plots import plot_history, plot_model
from fastseq.utils.cloning import clone_model
from fastseq.utils.numerical import normalize, to_categorical
from fastseq.utils.random import set_random_seed
from fastseq.utils.sequences import pad_sequences

Sequence = PyDataset  # Keras's older name

__all__ = [
    "PyDataset",
    "Sequence",
    "clone_model",
    "custom_object_scope",
    "get_registered_name",
    "get_registered_object",
    "normalize",
    "pad_sequences",
    "plot_history",
    "plot_model",
    "register_keras_serializable",
    "set_random_seed",
    "to_categorical",
]
