"""Activations by name, and as functions of arrays or Symbols."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from fastseq import ops
from fastseq._arrays import describe, message
from fastseq._names import unknown

__all__ = ["get", "name_of"]

# Those whose slope follows from their output, so that recurrent kernels can apply them.
RECURRENT = (
    "linear", "tanh", "sigmoid", "relu", "hard_sigmoid", "relu6", "softsign", "softplus", "elu", "selu",
    "exponential", "leaky_relu",
)  # fmt: skip
KNOWN = (*RECURRENT, "gelu", "silu", "hard_silu", "mish", "log_sigmoid", "hard_tanh", "softmax")
_ALIASES = {"swish": "silu", "hard_swish": "hard_silu"}


def name_of(identifier: Any, function: str, argument: str, known: Sequence[str] = KNOWN) -> str:
    """The name of an activation given by name, as one of this module's functions, or None for "linear".

    Raises:
        ValueError: None of ``known``; the text lists them, and suggests the nearest.
    """
    if identifier is None:
        return "linear"
    name = identifier if isinstance(identifier, str) else getattr(identifier, "activation_name", None)
    name = _ALIASES.get(name, name) if isinstance(name, str) else None
    if name is None or name not in known:
        rule = f"be one of {', '.join(sorted(known))}"
        got = (
            unknown(identifier, [*known, *_ALIASES])
            if isinstance(identifier, str) and name not in KNOWN  # a slip, not one that serves elsewhere
            else getattr(identifier, "__name__", describe(identifier))
        )
        raise ValueError(message(function, argument, rule, got))
    return name


def _function(name: str) -> Callable[[Any], Any]:
    def activation(x: Any) -> Any:
        return ops.activation(x, name)

    activation.__name__ = activation.__qualname__ = name
    activation.__doc__ = f"The activation ``{name}`` of an array or a Symbol."
    activation.activation_name = name  # type: ignore[attr-defined]
    return activation


_FUNCTIONS = {name: _function(name) for name in KNOWN}
_FUNCTIONS |= {alias: _FUNCTIONS[name] for alias, name in _ALIASES.items()}
globals().update(_FUNCTIONS)


def get(identifier: Any) -> Callable[[Any], Any]:
    """The activation meant by a name or None, as a function.

    Raises:
        ValueError: An unknown name; the text lists the known ones.
    """
    return _FUNCTIONS[name_of(identifier, "activations.get", "identifier")]
