"""Where a training stands: weights, kept states, counters of randomness, the optimizer, as named arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from fastseq._arrays import Array, describe
from fastseq._symbol import RandomSeed, Variable
from fastseq.layers.base import Layer
from fastseq.metrics import Metric

__all__ = [
    "all_layers",
    "metric_states",
    "optimizer_arrays",
    "pack_state",
    "packed",
    "set_metrics",
    "set_optimizer",
    "unpack_state",
    "unpacked",
    "weight_names",
]


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


def _seeds(model: Any) -> list[RandomSeed]:
    values = [value for layer in all_layers(model) for value in vars(layer).values()]
    return list(dict.fromkeys(value for value in values if isinstance(value, RandomSeed)))


def _states(model: Any) -> list[Variable]:
    kept = [getattr(layer, "states", None) for layer in all_layers(model)]
    return list(dict.fromkeys(v for states in kept if states for v in states))


def pack_state(model: Any) -> tuple[dict[str, Array], dict[str, Any]]:
    """(arrays by name, plain values): weights, kept states, and the counters of randomness."""
    names = weight_names(model)
    arrays = {f"weights/{name}": v.value for name, v in zip(names, model.weights, strict=True)}
    arrays |= {f"states/{k}": v.value for k, v in enumerate(_states(model))}
    return arrays, {"weights": names, "random": [[seed.base, seed.steps] for seed in _seeds(model)]}


def unpack_state(model: Any, arrays: Mapping[str, Array], config: Mapping[str, Any]) -> None:
    """Gives a model what ``pack_state`` packed.

    Raises:
        ValueError, LookupError: It is that of another model.
    """
    seeds, states = _seeds(model), _states(model)
    values = [np.array(arrays[f"states/{k}"], v.dtype) for k, v in enumerate(states)]
    if [v.shape for v in states] != [value.shape for value in values] or len(seeds) != len(config["random"]):
        raise ValueError("kept states or randomness of other layers")
    counters = [(int(base), int(steps)) for base, steps in config["random"]]
    if config["weights"] and not model.built:
        raise ValueError("weights of a model that is built")
    model.set_weights([arrays[f"weights/{name}"] for name in config["weights"]])
    for variable, value in zip(states, values, strict=True):
        variable.value = value
    for seed, (base, steps) in zip(seeds, counters, strict=True):
        seed.base, seed.steps = base, steps


def optimizer_arrays(model: Any) -> tuple[dict[str, Array], dict[str, Any]]:
    """(arrays by name, plain values): what the optimizer of a compiled model keeps."""
    state = model.objective.optimizer_state() if model.built else {}
    arrays = {f"optimizer/{slot}/{k}": v for slot, values in state.items() for k, v in enumerate(values)}
    counts = {slot: len(values) for slot, values in state.items()}
    return arrays, {"optimizer": counts, "iterations": model.optimizer.iterations}


def set_optimizer(model: Any, arrays: Mapping[str, Array], config: Mapping[str, Any]) -> None:
    """Gives a compiled model's optimizer what ``optimizer_arrays`` gave."""
    state = {
        str(slot): [arrays[f"optimizer/{slot}/{k}"] for k in range(count)]
        for slot, count in config["optimizer"].items()
    }
    iterations = int(config["iterations"])
    if model.built:
        model.objective.set_optimizer_state(state)
    model.optimizer.iterations = iterations


# --- metrics in the middle of an epoch ----------------------------------------------------------------


def metric_states(metrics: list[Metric]) -> tuple[dict[str, Array], list[dict[str, Any]]]:
    """(arrays by name, plain values by metric): what they have counted so far."""
    arrays: dict[str, Array] = {}
    numbers: list[dict[str, Any]] = []
    for k, metric in enumerate(metrics):
        kept = vars(metric).items()
        numbers.append({name: value for name, value in kept if type(value) in (int, float)})
        arrays |= {f"metrics/{k}/{name}": v for name, v in kept if isinstance(v, np.ndarray)}
    return arrays, numbers


def set_metrics(metrics: list[Metric], arrays: Mapping[str, Array], numbers: list[dict[str, Any]]) -> None:
    """Gives metrics what ``metric_states`` gave."""
    for k, (metric, values) in enumerate(zip(metrics, numbers, strict=True)):
        for name, value in values.items():
            setattr(metric, name, value)
        start = f"metrics/{k}/"
        for key, array in arrays.items():
            if key.startswith(start):
                setattr(metric, key.removeprefix(start), np.array(array))


def packed(value: Any, arrays: dict[str, Array], name: str) -> Any:
    """``value`` as plain values, its arrays put among ``arrays``."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, np.ndarray):
        arrays[name] = value
        return {"array": name}
    if isinstance(value, (list, tuple)):
        return [packed(one, arrays, f"{name}/{k}") for k, one in enumerate(value)]
    if isinstance(value, dict):
        return {"dict": {str(key): packed(one, arrays, f"{name}/{key}") for key, one in value.items()}}
    raise TypeError(f"get_state: state must hold numbers, texts and arrays, got {describe(value)}")


def unpacked(value: Any, arrays: Mapping[str, Array]) -> Any:
    """What ``packed`` packed."""
    if isinstance(value, list):
        return [unpacked(one, arrays) for one in value]
    if isinstance(value, dict):
        if "array" in value:
            return arrays[value["array"]]
        return {key: unpacked(one, arrays) for key, one in value["dict"].items()}
    return value
