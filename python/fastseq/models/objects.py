"""What ``compile`` was given as plain values, and made of them again: names, objects, own functions."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from fastseq import _registry, losses, metrics, optimizers
from fastseq._arrays import describe, message
from fastseq.losses import FunctionLoss, Loss
from fastseq.metrics import MeanMetricWrapper, Metric
from fastseq.models.description import plain
from fastseq.optimizers import Optimizer

__all__ = ["compile_config", "made_of", "written"]

# Losses serve as metrics, too.
_MODULES: dict[str, tuple[Any, ...]] = {
    "losses": (losses,),
    "metrics": (metrics, losses),
    "optimizers": (optimizers,),
}
_NO_ENTRIES = ("get", "serialize", "deserialize")  # public functions that are no losses or metrics
_BASES: dict[str, tuple[type, ...]] = {
    "losses": (Loss,),
    "metrics": (Metric, Loss),
    "optimizers": (Optimizer,),
}


def written(value: Any, module: str, argument: str) -> Any:
    """A loss, metric or optimizer, or lists and dicts of them, as plain values.

    Args:
        value: As given to ``compile``.
        module: "losses", "metrics" or "optimizers".
        argument: Of ``compile``.
    Raises:
        ValueError: It has no plain form.
    """
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    if isinstance(value, (list, tuple)):
        return [written(one, module, argument) for one in value]
    if isinstance(value, dict):
        return {"by_name": {str(name): written(one, module, argument) for name, one in value.items()}}
    if isinstance(value, FunctionLoss):
        config = {"function": _name(value.function), "reduction": value.reduction, "name": value.name}
        return {"class_name": "FunctionLoss", "config": config}
    if type(value) is MeanMetricWrapper:
        return {"function": _name(value._fn)}
    if isinstance(value, _BASES[module]):
        config = plain(value.get_config(), f"compile's {argument}")  # type: ignore[attr-defined]
        return {"class_name": _registry.get_registered_name(type(value)), "config": config}
    if isinstance(value, type):
        return {"class_name": _registry.get_registered_name(value), "config": {}}
    if callable(value):
        return {"function": _name(value)}
    if isinstance(value, np.generic):
        return value.item()
    raise ValueError(message("get_config", argument, "have a plain form", describe(value)))


def _name(function: Any) -> str:
    return (
        _registry.get_registered_name(function) if hasattr(function, "__name__") else type(function).__name__
    )


def made_of(value: Any, module: str, argument: str) -> Any:
    """What ``written`` described.

    Raises:
        ValueError: It names what neither fastseq has nor custom objects give.
    """
    if isinstance(value, list):
        return [made_of(one, module, argument) for one in value]
    if not isinstance(value, dict):
        return value
    if "by_name" in value:
        return {name: made_of(one, module, argument) for name, one in value["by_name"].items()}
    if "function" in value:
        return _found(value["function"], module, argument, _is_function)
    config = value["config"]
    if value["class_name"] == "FunctionLoss":
        function = _found(config["function"], module, argument, _is_function)
        return FunctionLoss(function, config["reduction"], config["name"])
    cls = _found(value["class_name"], module, argument, partial(_is_kind, _BASES[module]))
    return cls.from_config(config) if hasattr(cls, "from_config") else cls(**config)


def _is_kind(base: tuple[type, ...], value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, base)


def _is_function(value: Any) -> bool:
    return callable(value) and not isinstance(value, type)


def _found(name: Any, module: str, argument: str, right: Any) -> Any:
    """The class or function of a name."""
    own = _registry.find(name)
    if own is not None:
        return own
    for namespace in _MODULES[module]:
        if isinstance(name, str) and name in namespace.__all__ and name not in _NO_ENTRIES:
            value = getattr(namespace, name)
            if right(value):
                return value
    rule = f"name {module} of fastseq, or of custom_objects"
    raise ValueError(message("load_model", argument, rule, describe(name)))


def compile_config(compiled: Mapping[str, Any], optimizer: Optimizer) -> dict[str, Any]:
    """What ``compile`` was given, as plain values, the optimizer as it is now."""
    return {
        "optimizer": written(optimizer, "optimizers", "optimizer"),
        "loss": written(compiled["loss"], "losses", "loss"),
        "loss_weights": _weights(compiled["loss_weights"]),
        "metrics": written(compiled["metrics"], "metrics", "metrics"),
        "weighted_metrics": written(compiled["weighted_metrics"], "metrics", "weighted_metrics"),
    }


def _weights(value: Any) -> Any:
    return plain(value, "compile's loss_weights")
