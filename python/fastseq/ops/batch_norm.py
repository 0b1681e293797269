"""Batch normalization: each channel less its mean over the batch, over its standard deviation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from fastseq import _core
from fastseq._arrays import Array, boolean, floating, message, number
from fastseq._symbol import Op, Shape, apply
from fastseq.ops._saved import Saved, check_wanted, opened, place_for

__all__ = ["BatchNormGradients", "batch_norm_backward", "batch_norm_forward"]

# Keras divides a masked sum by this much more than the number of rows.
_MASK_EXCESS = 1e-7


class BatchNormGradients(NamedTuple):
    """Gradients in the shapes of the inputs; None where not wanted or not given to forward."""

    x: Array | None
    gamma: Array | None
    beta: Array | None


def batch_norm_forward(
    x: Any,
    gamma: Any = None,
    beta: Any = None,
    mean: Any = None,
    variance: Any = None,
    mask: Any = None,
    *,
    epsilon: float = 1e-3,
    training: bool = True,
) -> tuple[Array, Array, Array, Any]:
    """``y = (x - mean) / sqrt(variance + epsilon) gamma + beta`` for each channel, the last axis.

    Args:
        x: (..., channels), float32 or float64 (anything else becomes float32).
        gamma: (channels,), or None for 1.
        beta: (channels,), or None for 0.
        mean: (channels,), or None for the mean of x over all axes but the last.
        variance: (channels,) where ``mean`` is given: then both are constants. Else None: that of x,
            the mean squared distance from the mean.
        mask: The rows that count in mean and variance, in x's shape without the last axis, or None.
            Sums are divided by their number plus 1e-7, as by Keras.
        epsilon: Added to the variance, not negative.
        training: Keep what backward needs; False: saved is None.
    Returns:
        y like x; mean and variance, (channels,), that were used; what ``batch_norm_backward`` needs. x is
        read again by backward and must not change before it.
    Raises:
        TypeError: Something is not an array of real numbers.
        ValueError: Shapes disagree, or one of mean and variance is missing.
    Source:
        Ioffe & Szegedy (2015), https://arxiv.org/abs/1502.03167
    """
    function = "batch_norm_forward"
    x = floating(x, function, "x")
    epsilon = number(epsilon, function, "epsilon", low=0)
    given = {"gamma": gamma, "beta": beta, "mean": mean, "variance": variance}
    vectors = [
        None if value is None else floating(value, function, name, dtype=x.dtype)
        for name, value in given.items()
    ]
    gamma, beta, mean, variance = vectors
    if (mean is None) != (variance is None):
        name, other = ("mean", "variance") if mean is None else ("variance", "mean")
        raise ValueError(message(function, name, f"be given with {other}", "None"))
    rows = x.size // x.shape[-1] if x.ndim and x.size else 0
    excess = 0.0
    if mask is not None:
        mask = boolean(mask, function, "mask", shape=x.shape[:-1]).reshape(-1)
        rows, excess = int(np.count_nonzero(mask)), _MASK_EXCESS
    total = rows + excess
    measured = mean is None
    y, mean, variance = _core.batch_norm_forward(x, gamma, beta, mean, variance, mask, total, epsilon)
    if not training:
        return y, mean, variance, None
    return (
        y,
        mean,
        variance,
        Saved(function, x, gamma, beta is not None, mean, variance, measured, mask, total, excess, epsilon),
    )


def batch_norm_backward(
    saved: Any,
    dy: Any,
    wanted: Sequence[str] = BatchNormGradients._fields,
    into: Mapping[str, Array] | None = None,
    keep: bool = False,
) -> BatchNormGradients:
    """The gradients of ``batch_norm_forward``, through mean and variance where they were those of x.

    Args:
        saved: What forward returned; used up unless ``keep``.
        dy: Like y.
        wanted: Which gradients to compute: some of x, gamma, beta.
        into: Arrays by name (gamma, beta) to which the gradients are added.
        keep: Leave ``saved`` usable for another backward.
    Raises:
        TypeError: ``saved`` is something else.
        ValueError: Shapes disagree with forward's, or ``wanted`` names something else.
        RuntimeError: ``saved`` was used up.
    """
    function = "batch_norm_backward"
    check_wanted(wanted, BatchNormGradients._fields, function)
    values = opened(saved, "batch_norm_forward", function, keep)
    x, gamma, has_beta, mean, variance, measured, mask, total, excess, epsilon = values
    dy = floating(dy, function, "dy", dtype=x.dtype)
    dgamma = place_for("gamma", wanted, into) if gamma is not None else None
    dbeta = place_for("beta", wanted, into) if has_beta else None
    made = _core.batch_norm_backward(
        x, dy, gamma, mean, variance, measured, mask, total, excess, epsilon, "x" in wanted, dgamma, dbeta
    )
    return BatchNormGradients(*made)


# --- in a graph -----------------------------------------------------------------------------------

_ARGUMENTS = ("x", "gamma", "beta", "moving_mean", "moving_variance", "mask")


def _flat_forward(
    x: Array,
    gamma: Array | None,
    beta: Array | None,
    moving_mean: Array,
    moving_variance: Array,
    mask: Array | None,
    *,
    momentum: float,
    epsilon: float,
    measure: bool,
    training: bool,
) -> tuple[Any, ...]:
    """(y, the next moving mean, the next moving variance, saved)."""
    options: dict[str, Any] = {"epsilon": epsilon, "training": training}
    if not measure or x.shape[0] == 0:
        y, _, _, saved = batch_norm_forward(x, gamma, beta, moving_mean, moving_variance, **options)
        return y, moving_mean, moving_variance, saved
    y, mean, variance, saved = batch_norm_forward(x, gamma, beta, mask=mask, **options)
    one = mean.dtype.type(momentum)
    other = mean.dtype.type(1.0 - momentum)
    return y, moving_mean * one + mean * other, moving_variance * one + variance * other, saved


def _flat_backward(saved: Any, dy: Array, *_: Any, wanted: Any, into: Any = None) -> BatchNormGradients:
    return batch_norm_backward(saved, dy, wanted, into)


def _infer(x: Any, *arguments: Any, **_: Any) -> tuple[tuple[Shape, Any], ...]:
    mean, variance = arguments[2:4]
    return (x.shape, x.dtype), (mean.shape, mean.dtype), (variance.shape, variance.dtype)


BATCH_NORM = Op(
    "batch_norm",
    _ARGUMENTS,
    _flat_forward,
    _infer,
    _flat_backward,
    BatchNormGradients._fields,
    adds=True,
)


def moving_batch_norm(
    x: Any,
    gamma: Any,
    beta: Any,
    moving_mean: Any,
    moving_variance: Any,
    mask: Any,
    *,
    momentum: float,
    epsilon: float,
    frozen: Callable[[], bool],
) -> tuple[Any, Any, Any]:
    """The operation of a layer: y, and what its moving averages become.

    A plan decides by what mean and variance x is normalized: in training by those of x, unless ``frozen()``
    is true when the plan is made; else by the moving averages, which then stay.
    """
    options = {"momentum": momentum, "epsilon": epsilon, "frozen": frozen}
    made: tuple[Any, Any, Any] = apply(
        BATCH_NORM, (x, gamma, beta, moving_mean, moving_variance, mask), options
    )
    return made
