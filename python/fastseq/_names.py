"""Names under which classes are known: ``MeanSquaredError`` and ``mean_squared_error`` alike."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeVar

from fastseq._arrays import describe, message

_T = TypeVar("_T")


def snake(name: str) -> str:
    """``MeanSquaredError`` as ``mean_squared_error``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


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
        ValueError: An unknown name; the text lists the known ones.
    """
    plain = snake(name)
    plain = (aliases or {}).get(plain, plain)
    if plain not in known:
        raise ValueError(message(function, argument, f"be one of {', '.join(sorted(known))}", describe(name)))
    return known[plain]
