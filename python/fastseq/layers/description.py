"""Layers as plain values and back: ``{"class_name": ..., "config": ...}``, what files and JSON hold."""

from __future__ import annotations

import inspect
from typing import Any

from fastseq import _registry, constraints, initializers, regularizers
from fastseq._arrays import message
from fastseq._names import unknown

__all__ = ["Described", "arguments_of", "from_config", "plain", "to_config"]


class Described:
    """What can be described by its arguments, and made of them again.

    ``class Base(..., abstract=True)`` is there for its subclasses: no description names it.
    """

    _abstract = True

    def __init_subclass__(cls, *, abstract: bool = False, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        cls._abstract = abstract

    def config_class(self) -> type[Described]:
        """The class whose ``from_config`` makes a layer of what ``get_config`` gives."""
        return type(self)

    def get_config(self) -> dict[str, Any]:
        """The arguments that make it again, as plain values."""
        raise NotImplementedError

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """A new layer with these arguments and weights of its own."""
        return cls(**{name: remade(value) for name, value in config.items()})


def remade(value: Any) -> Any:
    """The layers that a value describes, made."""
    if isinstance(value, (list, tuple)):
        return type(value)(remade(one) for one in value)
    return from_config(value) if _is_layer(value) else value


def _is_layer(value: Any) -> bool:
    if not isinstance(value, dict) or not isinstance(value.get("class_name"), str):
        return False
    return _class_of(value["class_name"]) is not None


def _classes() -> dict[str, type[Described]]:
    """All layers by the name of their class; while a file is read, those of fastseq alone."""
    found, todo = {}, [Described]
    while todo:
        cls = todo.pop()
        if not cls._abstract and (not _registry.is_reading() or cls.__module__.startswith("fastseq.")):
            found[cls.__name__] = cls
        todo += cls.__subclasses__()
    return found


def _class_of(name: Any) -> Any:
    """The layer's class that a description names, or None."""
    own = _registry.find(name)
    if isinstance(own, type) and issubclass(own, Described):
        return own
    return _classes().get(name) if isinstance(name, str) else None


def from_config(description: dict[str, Any]) -> Any:
    """The layer described by ``{"class_name": ..., "config": ...}``.

    Raises:
        ValueError: There is no layer of that name; the text lists the known ones.
    """
    name = description["class_name"]
    cls = _class_of(name)
    if cls is None:
        known = sorted(_classes())
        rule = f"be one of {', '.join(known)}"
        if _registry.is_reading():
            rule += ", or of custom_objects"
        raise ValueError(message("from_config", "class_name", rule, unknown(name, known)))
    return cls.from_config(description["config"])


def to_config(layer: Described) -> dict[str, Any]:
    """``{"class_name": ..., "config": ...}`` of a layer."""
    return {"class_name": _registry.get_registered_name(layer.config_class()), "config": layer.get_config()}


def plain(value: Any) -> Any:
    if isinstance(value, (initializers.Initializer, regularizers.Regularizer, constraints.Constraint)):
        return {"class_name": _registry.get_registered_name(type(value)), "config": value.get_config()}
    if isinstance(value, Described):
        return to_config(value)
    if isinstance(value, (list, tuple)):
        return type(value)(plain(one) for one in value)
    return value


def arguments_of(cls: type) -> list[str]:
    """The named arguments of a layer's constructor, those of its bases too."""
    names: dict[str, None] = {}
    for base in cls.__mro__:
        if Described in base.__bases__ or "__init__" not in vars(base) or not issubclass(base, Described):
            continue
        for name, parameter in list(inspect.signature(base.__init__).parameters.items())[1:]:
            if parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
                names[name] = None
    return list(names)
