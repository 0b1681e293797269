"""Losses of every row with their gradients in one pass, and what accuracy counts.

A row is everything but the last axis: a sample, or a step of a sample. Every loss returns its rows'
values times their weights, and the gradient of the sum of those. A row of weight 0 has loss 0 and
gradient 0 whatever it holds, so weights are also the mask.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastseq import _core
from fastseq._arrays import Array, floating, integer

__all__ = [
    "binary_crossentropy",
    "binary_matches",
    "categorical_crossentropy",
    "categorical_matches",
    "mean_absolute_error",
    "mean_squared_error",
    "sparse_categorical_crossentropy",
    "sparse_categorical_matches",
]

# The kernel's enumeration, in its order.
(
    _CATEGORICAL_LOGITS,
    _CATEGORICAL_PROBABILITIES,
    _SQUARED_ERROR,
    _ABSOLUTE_ERROR,
    _BINARY_LOGITS,
    _BINARY_PROBABILITIES,
) = range(6)


def _loss(
    function: str,
    kind: int,
    prediction: Any,
    target: Any,
    weights: Any,
    gradient: bool,
    labelled: bool = False,
    scale: float = 1.0,
    shift: float = 0.0,
) -> tuple[Array, Array | None]:
    prediction = floating(prediction, function, "prediction")
    dtype = prediction.dtype
    if labelled:
        target = integer(target, function, "target")
    else:
        target = floating(target, function, "target", dtype=dtype)
    if weights is not None and not isinstance(weights, (float, int)):
        weights = floating(weights, function, "weights", dtype=dtype)
    return _core.loss(function, kind, prediction, target, labelled, weights, scale, shift, gradient)


def categorical_crossentropy(
    prediction: Any,
    target: Any,
    weights: Any = None,
    *,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    gradient: bool = True,
) -> tuple[Array, Array | None]:
    """``-sum(target * log(probability))`` of each row, in nats.

    Args:
        prediction: (..., classes): logits, or probabilities, which are divided by their sum and kept
            1e-7 away from 0 and 1, as in Keras.
        target: Like ``prediction``, any real dtype: one-hot or a distribution. Classes of target 0
            count nothing, whatever is predicted there.
        weights: A number, or (...): one number for each row. None for 1.
        from_logits: Whether ``prediction`` is logits; softmax and loss are then one operation.
        label_smoothing: In [0, 1]: how much of each target is spread over all classes.
        gradient: Whether the gradient is wanted; otherwise it is None.
    Returns:
        The losses (...), weighted, and the gradient of their sum, like ``prediction``. It is the
        gradient of the value also where targets do not sum to 1 (TensorFlow's fused one is not).
    Raises:
        TypeError: Not arrays of real numbers.
        ValueError: Shapes disagree, or the last axis is empty.
    """
    kind = _CATEGORICAL_LOGITS if from_logits else _CATEGORICAL_PROBABILITIES
    scale, shift = 1.0, 0.0
    if label_smoothing:
        scale, shift = 1.0 - label_smoothing, label_smoothing / max(np.shape(prediction)[-1], 1)
    function = "categorical_crossentropy"
    return _loss(function, kind, prediction, target, weights, gradient, False, scale, shift)


def sparse_categorical_crossentropy(
    prediction: Any,
    target: Any,
    weights: Any = None,
    *,
    from_logits: bool = False,
    gradient: bool = True,
) -> tuple[Array, Array | None]:
    """``categorical_crossentropy`` where ``target``, (...), is the class of each row.

    Args:
        prediction: (..., classes): logits or probabilities.
        target: (...) whole numbers in [0, classes), of any row, whatever its weight.
        weights: A number, or (...): one number for each row. None for 1.
        from_logits: Whether ``prediction`` is logits.
        gradient: Whether the gradient is wanted; otherwise it is None.
    Returns:
        The losses (...), weighted, and the gradient of their sum, like ``prediction``.
    Raises:
        TypeError: Not arrays of real numbers.
        ValueError: Shapes disagree, or a label is out of range.
    """
    kind = _CATEGORICAL_LOGITS if from_logits else _CATEGORICAL_PROBABILITIES
    return _loss("sparse_categorical_crossentropy", kind, prediction, target, weights, gradient, True)


def binary_crossentropy(
    prediction: Any,
    target: Any,
    weights: Any = None,
    *,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    gradient: bool = True,
) -> tuple[Array, Array | None]:
    """``-(target log p + (1 - target) log(1 - p))``, the mean over the last axis, in nats.

    Args:
        prediction: (..., columns): logits, or probabilities, which are kept 1e-7 away from 0 and 1.
        target: Like ``prediction``, any real dtype, in [0, 1].
        weights: A number, or (...): one number for each row. None for 1.
        from_logits: Whether ``prediction`` is logits.
        label_smoothing: In [0, 1]: how far targets move towards 1/2.
        gradient: Whether the gradient is wanted; otherwise it is None.
    Returns:
        The losses (...), weighted, and the gradient of their sum, like ``prediction``.
    Raises:
        TypeError: Not arrays of real numbers.
        ValueError: Shapes disagree, or the last axis is empty.
    """
    kind = _BINARY_LOGITS if from_logits else _BINARY_PROBABILITIES
    scale, shift = 1.0 - label_smoothing, 0.5 * label_smoothing
    return _loss("binary_crossentropy", kind, prediction, target, weights, gradient, False, scale, shift)


def mean_squared_error(
    prediction: Any, target: Any, weights: Any = None, *, gradient: bool = True
) -> tuple[Array, Array | None]:
    """The mean of ``(prediction - target)**2`` over the last axis.

    Args:
        prediction: (..., columns).
        target: Like ``prediction``, any real dtype.
        weights: A number, or (...): one number for each row. None for 1.
        gradient: Whether the gradient is wanted; otherwise it is None.
    Returns:
        The losses (...), weighted, and the gradient of their sum, like ``prediction``.
    Raises:
        TypeError: Not arrays of real numbers.
        ValueError: Shapes disagree, or the last axis is empty.
    """
    return _loss("mean_squared_error", _SQUARED_ERROR, prediction, target, weights, gradient)


def mean_absolute_error(
    prediction: Any, target: Any, weights: Any = None, *, gradient: bool = True
) -> tuple[Array, Array | None]:
    """The mean of ``abs(prediction - target)`` over the last axis; all else as in ``mean_squared_error``."""
    return _loss("mean_absolute_error", _ABSOLUTE_ERROR, prediction, target, weights, gradient)


def categorical_matches(prediction: Any, target: Any) -> Array:
    """1 for each row whose largest prediction is where its largest target is, else 0.

    The first of equals counts. NaN is never the largest; a row of nothing else matches nothing.

    Args:
        prediction: (..., classes), logits or probabilities.
        target: Like ``prediction``, any real dtype.
    Returns:
        (...), dtype of ``prediction``.
    Raises:
        TypeError: Not arrays of real numbers.
        ValueError: Shapes disagree.
    """
    function = "categorical_matches"
    prediction = floating(prediction, function, "prediction")
    target = floating(target, function, "target", dtype=prediction.dtype)
    return _core.categorical_matches(function, prediction, target, False)


def sparse_categorical_matches(prediction: Any, target: Any) -> Array:
    """1 for each row whose largest prediction is at the class in ``target``, (...), else 0.

    Raises:
        TypeError: Not arrays of real numbers.
        ValueError: Shapes disagree, or a label is out of range.
    """
    function = "sparse_categorical_matches"
    prediction = floating(prediction, function, "prediction")
    return _core.categorical_matches(function, prediction, integer(target, function, "target"), True)


def binary_matches(prediction: Any, target: Any, threshold: float = 0.5) -> Array:
    """For each row the share of columns where ``prediction > threshold`` is what ``target`` says.

    Args:
        prediction: (..., columns).
        target: Like ``prediction``: 0 and 1, or bools.
        threshold: What a prediction must exceed to count as 1.
    Returns:
        (...), dtype of ``prediction``.
    Raises:
        TypeError: Not arrays of real numbers.
        ValueError: Shapes disagree, or the last axis is empty.
    """
    function = "binary_matches"
    prediction = floating(prediction, function, "prediction")
    target = floating(target, function, "target", dtype=prediction.dtype)
    return _core.binary_matches(function, prediction, target, threshold)
