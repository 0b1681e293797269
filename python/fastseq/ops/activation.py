"""Activations of arrays, softmax among them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from fastseq import _core
from fastseq._arrays import Array, describe, floating, message
from fastseq.ops._saved import Saved, check_wanted, opened

__all__ = [
    "ActivationGradients",
    "activation_backward",
    "activation_forward",
    "log_softmax_backward",
    "log_softmax_forward",
    "softmax_backward",
    "softmax_forward",
]


class ActivationGradients(NamedTuple):
    """The gradient of the input, in its shape; None where not wanted."""

    x: Array | None


def activation_forward(
    x: Any,
    name: str,
    *,
    parameters: tuple[float, float, float] | None = None,
    training: bool = True,
) -> tuple[Array, Any]:
    """An activation of every element.

    Args:
        x: Any shape, any real dtype; float64 stays float64, all else becomes float32.
        name: Keras's name: "linear", "tanh", "relu", "gelu" and so on (a wrong one lists them all);
            "softmax" and "log_softmax" run over the last axis.
        parameters: For "relu": (slope below the threshold, largest value, threshold); for "elu":
            (a, b) of ``a (exp(b x) - 1)`` below 0, and any third number.
        training: Keep what backward needs; False: saved is None.
    Returns:
        y, like x, and what ``activation_backward`` needs.
    Raises:
        TypeError: x is not an array of real numbers, or the name is no text.
        ValueError: There is no such activation.
    """
    function = "activation_forward"
    x = floating(x, function, "x")
    if not isinstance(name, str):
        raise TypeError(message(function, "activation", "be the name of one", describe(name)))
    if name in _ROW_ACTIVATIONS:
        y = _core.softmax(function, x, name == "log_softmax")
        return y, Saved("activation_forward", name, None, y) if training else None
    y = _core.activate(function, x, name, parameters)
    if not training:
        return y, None
    of_output = parameters is None and _core.is_output_activation(name)
    return y, Saved("activation_forward", name, parameters, y if of_output else x)


_ROW_ACTIVATIONS = ("softmax", "log_softmax")


def activation_backward(
    saved: Any,
    dy: Any,
    wanted: Sequence[str] = ("x",),
    into: Mapping[str, Array] | None = None,
    keep: bool = False,
) -> ActivationGradients:
    """The gradient of ``activation_forward``.

    Args:
        saved: What forward returned; used up unless ``keep``.
        dy: Like y.
        wanted: ("x",) or nothing.
        into: Not used: x is no parameter.
        keep: Leave ``saved`` usable for another backward.
    Raises:
        TypeError: ``saved`` is something else.
        ValueError: dy has another shape.
        RuntimeError: ``saved`` was used up.
    """
    function = "activation_backward"
    check_wanted(wanted, ActivationGradients._fields, function)
    name, parameters, kept = opened(saved, "activation_forward", function, keep)
    if "x" not in wanted:
        return ActivationGradients(None)
    dy = floating(dy, function, "dy", dtype=kept.dtype)
    if name in _ROW_ACTIVATIONS:
        return ActivationGradients(_core.softmax_backward(function, kept, dy, name == "log_softmax"))
    return ActivationGradients(_core.activate_backward(function, kept, dy, name, parameters))


def _softmax_forward(function: str, x: Any, logarithm: bool, training: bool) -> tuple[Array, Any]:
    y = _core.softmax(function, floating(x, function, "x"), logarithm)
    return y, Saved(function, y) if training else None


def _softmax_backward(
    stem: str, saved: Any, dy: Any, logarithm: bool, wanted: Sequence[str], keep: bool
) -> ActivationGradients:
    function = f"{stem}_backward"
    check_wanted(wanted, ActivationGradients._fields, function)
    (y,) = opened(saved, f"{stem}_forward", function, keep)
    if "x" not in wanted:
        return ActivationGradients(None)
    dy = floating(dy, function, "dy", dtype=y.dtype)
    return ActivationGradients(_core.softmax_backward(function, y, dy, logarithm))


def softmax_forward(x: Any, *, training: bool = True) -> tuple[Array, Any]:
    """``exp(x) / sum(exp(x))`` over the last axis.

    Args:
        x: (..., classes), any real dtype.
        training: Keep what backward needs; False: saved is None.
    Returns:
        y, like x, and what ``softmax_backward`` needs.
    Raises:
        TypeError: Not an array of real numbers.
        ValueError: A scalar.
    """
    return _softmax_forward("softmax_forward", x, False, training)


def softmax_backward(
    saved: Any,
    dy: Any,
    wanted: Sequence[str] = ("x",),
    into: Mapping[str, Array] | None = None,
    keep: bool = False,
) -> ActivationGradients:
    """The gradient of ``softmax_forward``; arguments and errors as for ``activation_backward``."""
    return _softmax_backward("softmax", saved, dy, False, wanted, keep)


def log_softmax_forward(x: Any, *, training: bool = True) -> tuple[Array, Any]:
    """``x - log(sum(exp(x)))`` over the last axis; arguments and errors as for ``softmax_forward``."""
    return _softmax_forward("log_softmax_forward", x, True, training)


def log_softmax_backward(
    saved: Any,
    dy: Any,
    wanted: Sequence[str] = ("x",),
    into: Mapping[str, Array] | None = None,
    keep: bool = False,
) -> ActivationGradients:
    """The gradient of ``log_softmax_forward``; arguments and errors as for ``activation_backward``."""
    return _softmax_backward("log_softmax", saved, dy, True, wanted, keep)
