"""Models in files: architecture, weights, what compile was given and the state of training, in one file each.

Reading runs no code of the file's: it names classes that fastseq has or that the reader gives, everything is
checked, and room for weights is only made where the file has values for them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from fastseq import _registry
from fastseq._arrays import Array, message
from fastseq.checkpoint import optimizer_arrays, pack_state, set_optimizer, unpack_state, weight_names
from fastseq.layers.arriving import arriving
from fastseq.layers.description import from_config as layer_from_config
from fastseq.layers.description import to_config
from fastseq.models.objects import compile_config, made_of
from fastseq.weights import read_weights, write_weights

__all__ = ["load_model", "load_weights", "pack_model", "save_model", "save_weights", "unpack_model"]

KIND = "model"
# What a configuration that makes no sense can lead to.
_WRONG = (ValueError, TypeError, LookupError, AttributeError, RuntimeError, ArithmeticError, MemoryError)

# --- what a model is made of ----------------------------------------------------------------------


def pack_model(model: Any, optimizer: bool = True) -> tuple[dict[str, Array], dict[str, Any]]:
    """(arrays by name, configuration) of a model: all that ``unpack_model`` needs.

    Args:
        model: A built model.
        optimizer: Whether what ``compile`` was given and the optimizer's state belong to it.
    """
    arrays, state = pack_state(model)
    config: dict[str, Any] = {"kind": KIND, "model": to_config(model), **state}
    if optimizer and model.compiled:
        config["compile"] = compile_config(model.compile_arguments, model.optimizer)
        kept, counts = optimizer_arrays(model)
        arrays |= kept
        config |= counts
    return arrays, config


def unpack_model(arrays: Mapping[str, Array], config: Mapping[str, Any], compile: bool = True) -> Any:
    """The model that ``pack_model`` packed."""
    with arriving(sum(array.size for array in arrays.values())):
        model = layer_from_config(config["model"])
        if not hasattr(model, "compile"):
            raise TypeError(f"{type(model).__name__} is no model")
    unpack_state(model, arrays, config)
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
