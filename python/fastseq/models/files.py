"""Models in files: architecture, weights, what compile was given and the state of training, in one file each.

Reading runs no code of the file's: it names classes that fastseq has or that the reader gives, everything is
checked, and room for weights is only made where the file has values for them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from fastseq import _registry
from fastseq._arrays import Array, message
from fastseq._symbol import RandomSeed, Variable
from fastseq.layers.base import Layer, arriving, to_config
from fastseq.layers.base import from_config as layer_from_config
from fastseq.models.objects import compile_config, made_of
from fastseq.weights import read_weights, write_weights

__all__ = ["load_model", "load_weights", "pack_model", "save_model", "save_weights", "unpack_model"]

KIND = "model"
# What a configuration that makes no sense can lead to.
_WRONG = (ValueError, TypeError, LookupError, AttributeError, RuntimeError, ArithmeticError, MemoryError)

# --- what a model is made of ----------------------------------------------------------------------


def all_layers(layer: Layer) -> list[Layer]:
    """A layer and those it is made of, each once, in an order that only its construction decides."""
    found: dict[Layer, None] = {}
    stack = [layer]
    while stack:
        at = stack.pop()
        if at not in found:
            found[at] = None
            stack += reversed(at.sublayers())
    return list(found)


def weight_names(model: Any) -> list[str]:
    """A name for each of its weights: the layer's and its own, numbered where several have the same."""
    names: dict[str, None] = {}
    for variable in model.weights:
        name, number = variable.name, 1
        while name in names:
            number += 1
            name = f"{variable.name}#{number}"
        names[name] = None
    return list(names)


def seeds_of(model: Any) -> list[RandomSeed]:
    """The counters of its layers' randomness."""
    values = [value for layer in all_layers(model) for value in vars(layer).values()]
    return list(dict.fromkeys(value for value in values if isinstance(value, RandomSeed)))


def states_of(model: Any) -> list[Variable]:
    """The states that its layers keep between batches."""
    kept = [getattr(layer, "states", None) for layer in all_layers(model)]
    return list(dict.fromkeys(v for states in kept if states for v in states))


def pack_model(model: Any, optimizer: bool = True) -> tuple[dict[str, Array], dict[str, Any]]:
    """(arrays by name, configuration) of a model: all that ``unpack_model`` needs.

    Args:
        model: A built model.
        optimizer: Whether what ``compile`` was given and the optimizer's state belong to it.
    """
    names = weight_names(model)
    arrays = {f"weights/{name}": v.value for name, v in zip(names, model.weights, strict=True)}
    arrays |= {f"states/{k}": v.value for k, v in enumerate(states_of(model))}
    config: dict[str, Any] = {"kind": KIND, "model": to_config(model), "weights": names}
    config["random"] = [[seed.base, seed.steps] for seed in seeds_of(model)]
    if optimizer and model.compiled:
        config["compile"] = compile_config(model.compile_arguments, model.optimizer)
        config["iterations"] = model.optimizer.iterations
        state = model.objective.optimizer_state()
        config["optimizer"] = {slot: len(values) for slot, values in state.items()}
        arrays |= {f"optimizer/{slot}/{k}": v for slot, values in state.items() for k, v in enumerate(values)}
    return arrays, config


def unpack_model(arrays: Mapping[str, Array], config: Mapping[str, Any], compile: bool = True) -> Any:
    """The model that ``pack_model`` packed."""
    with arriving(sum(array.size for array in arrays.values())):
        model = layer_from_config(config["model"])
        if not hasattr(model, "compile"):
            raise TypeError(f"{type(model).__name__} is no model")
    set_weights(model, arrays, config)
    set_states(model, arrays, config)
    if compile and config.get("compile") is not None:
        asked = config["compile"]
        model.compile(
            made_of(asked["optimizer"], "optimizers", "optimizer"),
            made_of(asked["loss"], "losses", "loss"),
            metrics=made_of(asked["metrics"], "metrics", "metrics"),
            loss_weights=asked["loss_weights"],
            weighted_metrics=made_of(asked["weighted_metrics"], "metrics", "weighted_metrics"),
        )
        set_optimizer(model, arrays, config)
    return model


def set_weights(model: Any, arrays: Mapping[str, Array], config: Mapping[str, Any]) -> None:
    """Gives a model the weights of a file, all or none."""
    if not model.built and config["weights"]:
        raise RuntimeError("the model is not built")
    model.set_weights([arrays[f"weights/{name}"] for name in config["weights"]])


def set_states(model: Any, arrays: Mapping[str, Array], config: Mapping[str, Any]) -> None:
    """Gives a model the counters of its randomness and the states its layers keep."""
    seeds, states = seeds_of(model), states_of(model)
    values = [np.array(arrays[f"states/{k}"], v.dtype) for k, v in enumerate(states)]
    if [v.shape for v in states] != [value.shape for value in values] or len(seeds) != len(config["random"]):
        raise ValueError("states or seeds of other layers")
    counters = [(int(base), int(steps)) for base, steps in config["random"]]
    for variable, value in zip(states, values, strict=True):
        variable.value = value
    for seed, (base, steps) in zip(seeds, counters, strict=True):
        seed.base, seed.steps = base, steps


def set_optimizer(model: Any, arrays: Mapping[str, Array], config: Mapping[str, Any]) -> None:
    """Gives a compiled model's optimizer the state it had."""
    state = {
        str(slot): [arrays[f"optimizer/{slot}/{k}"] for k in range(count)]
        for slot, count in config["optimizer"].items()
    }
    if model.built:
        model.objective.set_optimizer_state(state)
    model.optimizer.iterations = int(config["iterations"])


# --- files ----------------------------------------------------------------------------------------


def save_model(
    model: Any, filepath: str | os.PathLike[str], overwrite: bool = True, include_optimizer: bool = True
) -> None:
    """Writes a model into one file; see ``Model.save``."""
    _may_write(filepath, overwrite, "save")
    write_weights(filepath, *pack_model(model, include_optimizer))


def _may_write(filepath: str | os.PathLike[str], overwrite: bool, function: str) -> None:
    if not overwrite and os.path.exists(filepath):
        rule = "name no file where overwrite is False"
        raise ValueError(message(function, "filepath", rule, repr(os.fspath(filepath))))


def load_model(
    filepath: str | os.PathLike[str], custom_objects: Mapping[str, Any] | None = None, compile: bool = True
) -> Any:
    """The model that ``Model.save`` wrote: weights, optimizer and all that training needs to go on.

    Nothing in the file is run. It may name fastseq's own classes, and those that
    ``utils.register_keras_serializable`` or ``custom_objects`` give.

    Args:
        filepath: The file.
        custom_objects: Layers, losses, metrics and functions of your own, by name.
        compile: Whether to compile it as it was.
    Raises:
        OSError: The file cannot be read.
        ValueError: It is damaged or no model, or names classes that are not known.
    """
    arrays, config = read_weights(filepath)
    rule = "hold a whole model of fastseq"
    if config.get("kind") != KIND:
        raise ValueError(message("load_model", "filepath", rule, f"{os.fspath(filepath)!r} without one"))
    with _registry.custom_object_scope(custom_objects or {}), _registry.reading():
        try:
            return unpack_model(arrays, config, compile)
        except _WRONG as error:
            reason = str(error) if type(error) is ValueError else f"{type(error).__name__}: {error}"
            got = f"{os.fspath(filepath)!r} ({reason})"
            raise ValueError(message("load_model", "filepath", rule, got)) from error


def save_weights(model: Any, filepath: str | os.PathLike[str], overwrite: bool = True) -> None:
    """Writes a model's weights into one file; see ``Model.save_weights``."""
    _may_write(filepath, overwrite, "save_weights")
    if not model.built:
        raise RuntimeError(f"save_weights: {model.name} must be built, got one without weights yet")
    names = weight_names(model)
    arrays = {f"weights/{name}": v.value for name, v in zip(names, model.weights, strict=True)}
    write_weights(filepath, arrays, {"kind": "weights", "weights": names})


def load_weights(model: Any, filepath: str | os.PathLike[str], skip_mismatch: bool = False) -> None:
    """Reads weights into a model; see ``Model.load_weights``."""
    if not model.built:
        raise RuntimeError(f"load_weights: {model.name} must be built, got one without weights yet")
    arrays, config = read_weights(filepath)
    function, path = "load_weights", os.fspath(filepath)
    names = config.get("weights")
    keys = [f"weights/{name}" for name in names] if isinstance(names, list) else ["weights"]
    if any(key not in arrays for key in keys):
        raise ValueError(
            message(function, "filepath", "hold the weights of a model", f"{path!r} without them")
        )
    values = [arrays[key] for key in keys]
    variables = model.weights
    if len(values) != len(variables) and not skip_mismatch:
        rule = f"hold {len(variables)} weights"
        raise ValueError(message(function, "filepath", rule, f"{path!r} with {len(values)}"))
    chosen = []
    for k, variable in enumerate(variables):
        fits = k < len(values) and values[k].shape == variable.shape
        if not fits and not skip_mismatch:
            rule = f"hold the shape {variable.shape} for {variable.name}"
            raise ValueError(message(function, "filepath", rule, f"{path!r} with {values[k].shape}"))
        chosen.append(values[k] if fits else variable.value)
    model.set_weights(chosen)
