"""Names under which classes are known: ``MeanSquaredError`` and ``mean_squared_error`` alike."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TypeVar

from fastseq._arrays import describe, message

_T = TypeVar("_T")


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
