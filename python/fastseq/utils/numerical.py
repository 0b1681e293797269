"""to_categorical and normalize."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastseq._arrays import Array, integer, message, number, real

__all__ = ["normalize", "to_categorical"]


def to_categorical(x: Any, num_classes: int | None = None, dtype: Any = "float64") -> Array:
    """Labels as one-hot rows: (...) to (..., classes).

    Args:
        x: Labels, a last axis of size 1 being left out.
        num_classes: How many classes there are; one more than the largest label by default.
        dtype: Of the result; "bool" takes the least memory, and ``fit`` converts batch by batch.
    Raises:
        TypeError: Not whole numbers.
        ValueError: A label is no class, or there are neither labels nor ``num_classes``.
    """
    labels = integer(x, "to_categorical", "x")
    if labels.ndim > 1 and labels.shape[-1] == 1:
        labels = labels.reshape(labels.shape[:-1])
    if not num_classes and not labels.size:
        raise ValueError(
            message("to_categorical", "num_classes", "be given where there are no labels", "None")
        )
    classes = number(num_classes or int(labels.max()) + 1, "to_categorical", "num_classes", low=1, whole=True)
    outside = labels[(labels < 0) | (labels >= classes)]
    if outside.size:
        raise ValueError(message("to_categorical", "x", f"lie in [0, {classes})", str(outside[0])))
    rows = np.zeros((labels.size, classes), dtype)
    rows[np.arange(labels.size), labels.ravel()] = 1
    return rows.reshape(*labels.shape, classes)


def normalize(x: Any, axis: int = -1, order: float = 2) -> Array:
    """An array over its norm along an axis; what has the norm 0 stays 0.

    Args:
        x: Numbers.
        axis: The axis.
        order: Of the norm: 2 for the root of the sum of squares.
    """
    array = real(x, "normalize", "x")
    norm = np.linalg.norm(array, order, axis, keepdims=True)
    return np.asarray(array / np.where(norm == 0, 1, norm))
