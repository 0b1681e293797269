"""Losses in a graph: functions of Symbols traced to losses, and the losses with kernels as operations."""

from __future__ import annotations

from collections import namedtuple
from typing import TYPE_CHECKING, Any

from fastseq import ops
from fastseq._arrays import Array, describe, message
from fastseq._symbol import Op, Shape, Symbol, apply, tracing

if TYPE_CHECKING:
    from fastseq.losses.base import Loss

__all__ = ["joined", "same_rank", "target_symbol", "trace"]


def target_symbol(target: tuple[int, ...], prediction: Symbol) -> Symbol:
    """What stands for targets of the shape that came, their batch and whatever else varies left open."""
    alike = len(target) == len(prediction.shape)
    shape = [None if k == 0 or (alike and prediction.shape[k] is None) else n for k, n in enumerate(target)]
    return Symbol(shape, prediction.dtype, name="y_true")


def same_rank(y_true: Any, y_pred: Any) -> tuple[Any, Any]:
    """Both, a last axis of size 1 added or removed where only one of them has it; as Keras does."""
    ranks = len(y_true.shape), len(y_pred.shape)
    if ranks[0] + 1 == ranks[1] and y_pred.shape[-1] == 1:
        return (ops.expand_dims(y_true, -1), y_pred) if ranks[0] == 1 else (y_true, ops.squeeze(y_pred, -1))
    if ranks[1] + 1 == ranks[0] and y_true.shape[-1] == 1:
        return (y_true, ops.expand_dims(y_pred, -1)) if ranks[1] == 1 else (ops.squeeze(y_true, -1), y_pred)
    return y_true, y_pred


def trace(loss: Loss, y_true: Symbol, y_pred: Symbol) -> Symbol:
    """The losses (batch, ...), or the one number, that ``loss.call`` makes of Symbols.

    They have the mask of the predictions.

    Raises:
        TypeError: It returns something else, or needs values.
        ValueError: What it returns begins with another axis than the batch.
    """
    with tracing():
        values = loss.call(*same_rank(y_true, y_pred))
    if not isinstance(values, Symbol):
        rule = f"return a Symbol computed from its arguments ({loss.name})"
        raise TypeError(message("compile", "loss", rule, describe(values)))
    batch = y_pred.shape[0]
    if values.shape and values.shape[0] != batch and values.shape[0] is not None:
        rule = f"return values of shape (batch, ...), or one number ({loss.name})"
        raise ValueError(message("compile", "loss", rule, f"shape {values.shape}"))
    is_float = values.dtype.kind == "f"
    losses: Symbol = ops.identity(values) if is_float else ops.cast(values, y_pred.dtype)
    losses.mask = y_pred.mask
    return losses


# --- the losses with kernels ----------------------------------------------------------------------

_YPred = namedtuple("_YPred", "y_pred")


def _forward(y_pred: Array, y_true: Array, *, loss: Loss, training: bool) -> tuple[Any, ...]:
    target = loss.target(y_true, y_pred, loss.name, "y_true")
    return loss.rows(y_pred, target, 1.0, False, training)


def _backward(saved: Array, dy: Array, **_: Any) -> _YPred:
    return _YPred(saved * dy.reshape(dy.shape + (1,) * (saved.ndim - dy.ndim)))


def _infer(y_pred: Any, y_true: Any, *, loss: Loss) -> tuple[tuple[Shape, Any], ...]:
    return ((loss.compared(y_pred), y_pred.dtype),)


ROWS = Op("loss", ("y_pred", "y_true"), _forward, _infer, _backward, ("y_pred",))


def joined(loss: Loss, y_true: Any, y_pred: Any, sample_weight: Any) -> Any:
    """``loss(y_true, y_pred)`` as part of a graph.

    Raises:
        ValueError: ``sample_weight`` is not None, or the mean is not over all rows.
    """
    if sample_weight is not None:
        rule = "be None in a graph (multiply the losses of reduction 'none')"
        raise ValueError(message(loss.name, "sample_weight", rule, describe(sample_weight)))
    ignored = getattr(loss, "ignore_class", None)
    if ignored is not None and loss.reduction not in ("none", "sum"):
        rule = "be None in a graph, or the reduction 'none' or 'sum'"
        raise ValueError(message(loss.name, "ignore_class", rule, describe(ignored)))
    if loss.traced:
        with tracing():
            values = loss.call(*same_rank(y_true, y_pred))
    else:
        values = apply(ROWS, (y_pred, y_true), {"loss": loss})
    if loss.reduction == "none":
        return values
    return ops.sum(values) if loss.reduction == "sum" else ops.mean(values)
