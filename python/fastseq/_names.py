"""Names under which classes are known: ``MeanSquaredError`` and ``mean_squared_error`` alike."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from fastseq import _registry
from fastseq._arrays import describe, message

_T = TypeVar("_T")


class FromArguments:
    """What the arguments that its ``get_config`` gives make again."""

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """A new one with these arguments."""
        return cls(**config)


class ByArguments(FromArguments):
    """One that keeps all its arguments under their own names."""

    def get_config(self) -> dict[str, Any]:
        """The arguments that make it again."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}


def snake(name: str) -> str:
    """``MeanSquaredError`` as ``mean_squared_error``, ``KLDivergence`` as ``kl_divergence``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def known_as(
    name: str, known: Mapping[str, _T], function: str, argument: str, aliases: Mapping[str, str] | None = None
) -> _T:
    """What is known under a name.

    Args:
        name: As the user wrote it.
        known: By name in lower case with underscores.
        function: Who asks, for the error's text.
        argument: The argument's name, for the error's text.
        aliases: Other names for those in ``known``.
    Raises:
        ValueError: An unknown name; the text lists the known ones, and suggests the nearest.
    """
    plain = snake(name)
    plain = (aliases or {}).get(plain, plain)
    if plain not in known:
        rule = f"be one of {', '.join(sorted(known))}"
        raise ValueError(message(function, argument, rule, unknown(plain, [*known, *(aliases or {})], name)))
    return known[plain]


def made_from(
    identifier: Any,
    base: type,
    known: Mapping[str, Any],
    function: str,
    argument: str,
    aliases: Mapping[str, str] | None = None,
) -> Any:
    """What an object, a class, a name or ``{"class_name": ..., "config": {...}}`` means.

    Args:
        identifier: As the user gave it.
        base: What objects and classes must be of.
        known: By name in lower case with underscores, the functions that make one.
        function: Who asks, for the error's text.
        argument: The argument's name, for the error's text.
        aliases: Other names for those in ``known``.
    Returns:
        The object, or None where ``identifier`` is none of these.
    Raises:
        ValueError: An unknown name; the text lists the known ones, and suggests the nearest.
    """
    if isinstance(identifier, base):
        return identifier
    if isinstance(identifier, type) and issubclass(identifier, base):
        return identifier()
    if isinstance(identifier, dict) and "class_name" in identifier:
        own = _registry.find(identifier["class_name"])
        if isinstance(own, type) and issubclass(own, base):
            return own.from_config(identifier.get("config", {}))  # type: ignore[attr-defined]
        cls = known_as(identifier["class_name"], known, function, argument, aliases)
        return cls.from_config(identifier.get("config", {}))
    if isinstance(identifier, str):
        return known_as(identifier, known, function, argument, aliases)()
    return None


def unknown(name: str, known: Iterable[str], given: str | None = None) -> str:
    """A name that is none of ``known``, for the end of an error's text, with the one that was meant perhaps.

    Args:
        name: The name, spelled as the known ones are.
        known: The names there are.
        given: As the user wrote it; ``name`` by default.
    """
    from difflib import get_close_matches  # only where something went wrong

    near = get_close_matches(name, list(known), n=1)
    suggestion = f" (did you mean {near[0]!r}?)" if near else ""
    return describe(name if given is None else given) + suggestion
