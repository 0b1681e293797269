"""What every layer's constructor takes: dtypes and shapes, checked."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastseq._arrays import describe, message
from fastseq._floatx import floatx
from fastseq._symbol import Shape
from fastseq.layers.description import arguments_of

__all__ = ["SHAPE_OPTIONS", "dtype_of", "input_shape_of", "options_of", "shape_of"]

SHAPE_OPTIONS = (
    "input_shape",
    "batch_input_shape",
    "batch_shape",
    "input_dim",
    "input_length",
    "batch_size",
)


def options_of(cls: type) -> list[str]:
    return sorted({*arguments_of(cls), "name", "trainable", "dtype", "activity_regularizer", *SHAPE_OPTIONS})


def dtype_of(dtype: Any, kind: str) -> np.dtype[Any]:
    if dtype is None:
        return np.dtype(floatx())
    try:
        made = np.dtype(dtype)
    except TypeError:
        made = np.dtype(object)
    if made not in (np.float32, np.float64):
        raise ValueError(message(kind, "dtype", "be float32 or float64", describe(dtype)))
    chosen: np.dtype[Any] = made
    return chosen


def shape_of(value: Any, function: str, argument: str) -> Shape:
    """A shape given by a user: positive integers, or None where unknown."""
    sizes = value if isinstance(value, (list, tuple)) else (value,)
    for size in sizes:
        whole = isinstance(size, (int, np.integer)) and not isinstance(size, bool)
        if size is not None and not (whole and size >= 0):
            raise ValueError(message(function, argument, "be integers of at least 0, or None", repr(value)))
    return tuple(None if size is None else int(size) for size in sizes)


def input_shape_of(kind: str, options: dict[str, Any]) -> Shape | None:
    """(batch, ...) from the ways in which a first layer may say what its input is."""
    for name in ("batch_input_shape", "batch_shape"):
        if options.get(name) is not None:
            return shape_of(options[name], kind, name)
    batch = (options.get("batch_size"),)
    if options.get("input_shape") is not None:
        return batch + shape_of(options["input_shape"], kind, "input_shape")
    if options.get("input_dim") is not None:
        features = shape_of(options["input_dim"], kind, "input_dim")
        steps = shape_of(options["input_length"], kind, "input_length") if "input_length" in options else ()
        return batch + steps + features
    return None
