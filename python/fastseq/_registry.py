"""Classes and functions of a user's own, known by name to files; and what a file may name at all."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from fastseq._arrays import describe, message

__all__ = [
    "custom_object_scope",
    "find",
    "get_registered_name",
    "get_registered_object",
    "is_reading",
    "reading",
    "register_keras_serializable",
]

_T = TypeVar("_T")

_by_name: dict[str, Any] = {}
_by_object: dict[Any, str] = {}


class _Here(threading.local):
    """What holds in this thread for now."""

    def __init__(self) -> None:
        self.scopes: list[Mapping[str, Any]] = []
        self.reading = 0


_here = _Here()


def register_keras_serializable(package: str = "Custom", name: str | None = None) -> Callable[[_T], _T]:
    """Decorates a class or function of one's own so that files can name it: ``package>name``.

    Args:
        package: Keeps the names of different people apart.
        name: The name; the class's or function's own by default.
    Raises:
        TypeError: What is decorated is no class or function.
        ValueError: The name belongs to another class already.
    """

    def register(thing: _T) -> _T:
        if not callable(thing) or not hasattr(thing, "__name__"):
            rule = "decorate a class or a function"
            raise TypeError(message("register_keras_serializable", "decorator", rule, describe(thing)))
        full = f"{package}>{name or thing.__name__}"
        known = _by_name.get(full)
        if known is not None and known.__qualname__ != thing.__qualname__:  # type: ignore[attr-defined]
            rule = "be new"
            raise ValueError(message("register_keras_serializable", "name", rule, repr(full)))
        _by_name[full] = thing  # written again in a notebook, it takes the place of its elder
        _by_object[thing] = full
        return thing

    return register


def get_registered_name(thing: Any) -> str:
    """The name under which a class or function is known to files: its own where it is not registered."""
    name: str = _by_object.get(thing, thing.__name__)
    return name


def get_registered_object(name: str) -> Any:
    """The class or function that was registered under ``package>name``; None where there is none."""
    return _by_name.get(name)


@contextmanager
def custom_object_scope(objects: Mapping[str, Any]) -> Iterator[None]:
    """Within it names stand for these classes and functions.

    Args:
        objects: Classes and functions by name.
    """
    _here.scopes.append(objects)
    try:
        yield
    finally:
        _here.scopes.remove(objects)


def find(name: Any) -> Any:
    """What a name stands for in the scopes around, or among what is registered; None for nothing."""
    if not isinstance(name, str):
        return None
    for scope in reversed(_here.scopes):
        if name in scope:
            return scope[name]
    return _by_name.get(name)


@contextmanager
def reading() -> Iterator[None]:
    """Within it names come from a file, which may mean only fastseq's own and what ``find`` knows."""
    _here.reading += 1
    try:
        yield
    finally:
        _here.reading -= 1


def is_reading() -> bool:
    """Whether names come from a file."""
    return _here.reading > 0
