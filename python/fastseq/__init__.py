"""Fast training of recurrent sequence models on the machine you have, in Keras's vocabulary."""

from fastseq import _core

_core.read_environment()

# ruff: noqa: E402  (what follows comes after the environment is read)
from fastseq import (
    activations,
    backend,
    callbacks,
    constraints,
    initializers,
    layers,
    losses,
    metrics,
    models,
    ops,
    optimizers,
    recipes,
    regularizers,
    utils,
)
from fastseq._random import set_seed
from fastseq.layers import Input
from fastseq.models import Model, Sequential
from fastseq.plots import plot_history
from fastseq.recipes import train_addition, train_ocr, train_translation
from fastseq.threads import get_num_threads, set_num_threads

__version__ = _core.__version__

__all__ = [
    "Input",
    "Model",
    "Sequential",
    "__version__",
    "activations",
    "backend",
    "callbacks",
    "constraints",
    "get_num_threads",
    "initializers",
    "layers",
    "losses",
    "metrics",
    "models",
    "ops",
    "optimizers",
    "plot_history",
    "recipes",
    "regularizers",
    "set_num_threads",
    "set_seed",
    "train_addition",
    "train_ocr",
    "train_translation",
    "utils",
]
