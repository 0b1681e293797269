"""Models: graphs of layers that can be trained, evaluated, asked, and kept in files."""

import json
from collections.abc import Mapping
from typing import Any

from fastseq._arrays import describe, message
from fastseq._registry import custom_object_scope, reading
from fastseq.layers.description import from_config
from fastseq.models.files import load_model, save_model
from fastseq.models.model import Model
from fastseq.models.sequential import Sequential

__all__ = ["Model", "Sequential", "load_model", "model_from_config", "model_from_json", "save_model"]


def model_from_json(json_string: str, custom_objects: Mapping[str, Any] | None = None) -> Any:
    """A new model, with new weights, of the architecture that ``Model.to_json`` wrote.

    Args:
        json_string: The text.
        custom_objects: Layers of your own, by name.
    Raises:
        ValueError: It is not such a text, or names classes that are not known.
    """
    try:
        config = json.loads(json_string)
    except ValueError as error:
        raise ValueError(message("model_from_json", "json_string", "be JSON", str(error))) from None
    return model_from_config(config, custom_objects)


def model_from_config(config: dict[str, Any], custom_objects: Mapping[str, Any] | None = None) -> Any:
    """A new model, with new weights, of ``{"class_name": ..., "config": ...}``.

    Args:
        config: What ``to_json`` writes.
        custom_objects: Layers of your own, by name.
    Raises:
        ValueError: It names classes that are not known.
    """
    if not isinstance(config, dict) or "class_name" not in config:
        raise ValueError(message("model_from_config", "config", "describe a model", describe(config)))
    with custom_object_scope(custom_objects or {}), reading():
        return from_config(config)
