"""Copies of models: for ``copy``, for pickle, and so for other processes and scikit-learn's searches."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from fastseq import _registry
from fastseq.callbacks import History
from fastseq.checkpoint import all_layers, unpack_state
from fastseq.layers.arriving import arriving
from fastseq.layers.description import from_config as layer_from_config
from fastseq.models.files import pack_model
from fastseq.optimizers import Optimizer

__all__ = ["packed", "unpacked"]


def packed(model: Any) -> tuple[Any, ...]:
    """What ``unpacked`` makes an equal model of, its own classes and functions as they are.

    Raises:
        ValueError: Something in it has no plain form; the text says what.
    """
    arrays, config = pack_model(model, optimizer=False)
    arrays = {name: np.array(value) for name, value in arrays.items()}
    own = {type(layer) for layer in all_layers(model) if not type(layer).__module__.startswith("fastseq.")}
    classes = {_registry.get_registered_name(cls): cls for cls in own}
    compiled = state = None
    if model.compiled:
        compiled = {**model.compile_arguments, "optimizer": _bare(model.optimizer)}
        state = model.objective.optimizer_state() if model.built else {}
        state = {slot: [np.array(value) for value in values] for slot, values in state.items()}
    history = None if model.history is None else (model.history.history, model.history.epoch)
    return arrays, config, classes, compiled, state, history


def _bare(optimizer: Optimizer) -> Optimizer:
    """The optimizer without what binds it to the arrays of one model."""
    bare = copy.copy(optimizer)
    for name in ("_table", "_pairs", "_built_for", "_state", "_aside", "_held"):
        if name in vars(bare):
            value = getattr(bare, name)
            setattr(bare, name, type(value)() if isinstance(value, (list, dict)) else None)
    bare._aside = None  # the copy's weights are what is in their place now
    return bare


def unpacked(arrays: Any, config: Any, classes: Any, compiled: Any, state: Any, history: Any) -> Any:
    """The model that ``packed`` packed."""
    with _registry.custom_object_scope(classes), arriving(sum(array.size for array in arrays.values())):
        model = layer_from_config(config["model"])
    unpack_state(model, arrays, config)
    if compiled is not None:
        model.compile(**compiled)
        if state:
            model.objective.set_optimizer_state(state)
    if history is not None:
        model.history = History()
        model.history.model = model
        model.history.history, model.history.epoch = history
    return model
