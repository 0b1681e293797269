"""The operations with kernels, under their plain names: on arrays they run, on Symbols they add a node.

Each Op here is the flat form that a plan calls: every array an argument of its own, every output one
too. The functions they rest on, ``x_forward`` and ``x_backward``, are public beside them.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastseq._arrays import Array, message
from fastseq._symbol import Op, Shape, Symbol, apply
from fastseq.ops.activation import (
    activation_backward,
    activation_forward,
    softmax_backward,
    softmax_forward,
)
from fastseq.ops.dense import dense_backward, dense_forward
from fastseq.ops.gather import (
    dropout_backward,
    dropout_forward,
    embedding_backward,
    embedding_forward,
)
from fastseq.ops.rnn import (
    gru_backward,
    gru_forward,
    lstm_backward,
    lstm_forward,
    simple_rnn_backward,
    simple_rnn_forward,
)

__all__ = ["activation", "dense", "dropout", "embedding", "gru", "lstm", "simple_rnn", "softmax"]

_Infer = tuple[tuple[Shape, Any], ...]


# --- recurrent layers -----------------------------------------------------------------------------

_RECURRENT = ("x", "kernel", "recurrent_kernel", "bias", "mask", "lengths", "seed")


def _named(names: Sequence[str]) -> Any:
    return namedtuple("gradients", names)


def _flat_recurrent(
    name: str, forward: Callable[..., Any], backward: Callable[..., Any], states: tuple[str, ...]
) -> Op:
    """The Op of a recurrent layer: (sequence, *final states) from x, weights and initial states."""
    differentiable = ("x", "kernel", "recurrent_kernel", "bias", *states)
    gradients = _named(differentiable)
    none = (None,) * len(states)
    names: dict[tuple[str, ...], tuple[str, ...]] = {}  # what is wanted here: there

    def flat_forward(
        x: Array, kernel: Array, recurrent_kernel: Array, bias: Any, mask: Any, lengths: Any, seed: Any,
        *state: Any, **options: Any,
    ) -> tuple[Any, ...]:  # fmt: skip
        sequence, final, saved = forward(
            x,
            kernel,
            recurrent_kernel,
            bias,
            initial_state=state if state[0] is not None else None,
            mask=mask,
            lengths=lengths,
            seed=seed,
            **options,
        )
        return (sequence, *final, saved)

    def flat_backward(
        saved: Any,
        dsequence: Any,
        *dstate: Any,
        wanted: tuple[str, ...],
        into: Any = None,
        keep: bool = False,
    ) -> Any:
        asked = names.get(wanted)
        if asked is None:
            initial = () if set(wanted).isdisjoint(states) else ("initial_state",)
            asked = names[wanted] = (*(name for name in wanted if name not in states), *initial)
        given = None if all(part is None for part in dstate) else dstate
        result = backward(saved, dsequence, given, wanted=asked, into=into, keep=keep)
        state = none if result.initial_state is None else result.initial_state
        return gradients(result.x, result.kernel, result.recurrent_kernel, result.bias, *state)

    def infer(x: Any, kernel: Any, recurrent_kernel: Any, *rest: Any, **options: Any) -> _Infer:
        steps = x.shape[1] if options.get("repeat") is None else options["repeat"]
        units = recurrent_kernel.shape[0]
        final = ((x.shape[0], units), kernel.dtype)
        return (((x.shape[0], steps, units), kernel.dtype), *(final for _ in states))

    return Op(name, _RECURRENT + states, flat_forward, infer, flat_backward, differentiable, adds=True)


LSTM = _flat_recurrent("lstm", lstm_forward, lstm_backward, ("h", "c"))
GRU = _flat_recurrent("gru", gru_forward, gru_backward, ("h",))
SIMPLE_RNN = _flat_recurrent("simple_rnn", simple_rnn_forward, simple_rnn_backward, ("h",))


def _recurrent(
    op: Op, x: Any, kernel: Any, recurrent_kernel: Any, bias: Any, initial_state: Any, mask: Any,
    lengths: Any, seed: Any, options: dict[str, Any],
) -> tuple[Any, tuple[Any, ...]]:  # fmt: skip
    states = len(op.arguments) - len(_RECURRENT)
    state = (None,) * states if initial_state is None else tuple(initial_state)
    if len(state) != states:
        raise ValueError(message(op.name, "initial_state", f"have {states} arrays", str(len(state))))
    outputs = apply(op, (x, kernel, recurrent_kernel, bias, mask, lengths, seed, *state), options)
    return outputs[0], tuple(outputs[1:])


def lstm(
    x: Any,
    kernel: Any,
    recurrent_kernel: Any,
    bias: Any = None,
    *,
    initial_state: Sequence[Any] | None = None,
    mask: Any = None,
    lengths: Any = None,
    zero_output_for_mask: bool = False,
    go_backwards: bool = False,
    activation: str = "tanh",
    recurrent_activation: str = "sigmoid",
    dropout: float = 0.0,
    recurrent_dropout: float = 0.0,
    seed: Any = None,
) -> tuple[Any, tuple[Any, ...]]:
    """An LSTM over all steps, on arrays or Symbols: ``lstm_forward`` without ``saved``.

    Dropout acts only in a graph, in training.

    Returns:
        sequence (batch, steps, units) and the final state (h, c), each (batch, units).
    """
    options = {
        "zero_output_for_mask": zero_output_for_mask,
        "go_backwards": go_backwards,
        "activation": activation,
        "recurrent_activation": recurrent_activation,
        "dropout": dropout,
        "recurrent_dropout": recurrent_dropout,
    }
    return _recurrent(LSTM, x, kernel, recurrent_kernel, bias, initial_state, mask, lengths, seed, options)


def gru(
    x: Any,
    kernel: Any,
    recurrent_kernel: Any,
    bias: Any = None,
    *,
    initial_state: Sequence[Any] | None = None,
    mask: Any = None,
    lengths: Any = None,
    zero_output_for_mask: bool = False,
    go_backwards: bool = False,
    activation: str = "tanh",
    recurrent_activation: str = "sigmoid",
    dropout: float = 0.0,
    recurrent_dropout: float = 0.0,
    seed: Any = None,
    reset_after: bool = True,
) -> tuple[Any, tuple[Any, ...]]:
    """A GRU over all steps, on arrays or Symbols: ``gru_forward`` without ``saved``.

    Returns:
        sequence (batch, steps, units) and the final state (h,), (batch, units).
    """
    options = {
        "zero_output_for_mask": zero_output_for_mask,
        "go_backwards": go_backwards,
        "activation": activation,
        "recurrent_activation": recurrent_activation,
        "dropout": dropout,
        "recurrent_dropout": recurrent_dropout,
        "reset_after": reset_after,
    }
    return _recurrent(GRU, x, kernel, recurrent_kernel, bias, initial_state, mask, lengths, seed, options)


def simple_rnn(
    x: Any,
    kernel: Any,
    recurrent_kernel: Any,
    bias: Any = None,
    *,
    initial_state: Sequence[Any] | None = None,
    mask: Any = None,
    lengths: Any = None,
    zero_output_for_mask: bool = False,
    go_backwards: bool = False,
    activation: str = "tanh",
    dropout: float = 0.0,
    recurrent_dropout: float = 0.0,
    seed: Any = None,
) -> tuple[Any, tuple[Any, ...]]:
    """A simple recurrent layer over all steps: ``simple_rnn_forward`` without ``saved``.

    Returns:
        sequence (batch, steps, units) and the final state (h,), (batch, units).
    """
    options = {
        "zero_output_for_mask": zero_output_for_mask,
        "go_backwards": go_backwards,
        "activation": activation,
        "dropout": dropout,
        "recurrent_dropout": recurrent_dropout,
    }
    return _recurrent(
        SIMPLE_RNN, x, kernel, recurrent_kernel, bias, initial_state, mask, lengths, seed, options
    )


# --- dense, activations, dropout, embedding -------------------------------------------------------


def _dense_infer(x: Any, kernel: Any, bias: Any, *, activation: str) -> _Infer:
    if x.shape[-1] is not None and x.shape[-1] != kernel.shape[0]:
        raise ValueError(message("dense", "x", f"have {kernel.shape[0]} features", f"shape {x.shape}"))
    return (((*x.shape[:-1], kernel.shape[1]), kernel.dtype),)


_DENSE = ("x", "kernel", "bias")
DENSE = Op("dense", _DENSE, dense_forward, _dense_infer, dense_backward, _DENSE, adds=True)


def dense(x: Any, kernel: Any, bias: Any = None, *, activation: str = "linear") -> Any:
    """``activation(x @ kernel + bias)`` for x (..., features), kernel (features, units), bias (units,)."""
    return apply(DENSE, (x, kernel, bias), {"activation": activation})


def _same(x: Any, **_: Any) -> _Infer:
    return ((x.shape, x.dtype),)


ACTIVATION = Op("activation", ("x",), activation_forward, _same, activation_backward, ("x",))
SOFTMAX = Op("softmax", ("x",), softmax_forward, _same, softmax_backward, ("x",))


def activation(x: Any, name: str) -> Any:
    """The activation called ``name``, element by element (softmax: over the last axis)."""
    if name == "softmax":
        return softmax(x)
    return apply(ACTIVATION, (x,), {"name": name})


def softmax(x: Any) -> Any:
    """exp(x) over its sum, along the last axis."""
    return apply(SOFTMAX, (x,), {})


def _dropout_infer(x: Any, seed: Any, *, rate: float) -> _Infer:
    return ((x.shape, x.dtype),)


def _dropout_flat(x: Array, seed: int, *, rate: float, training: bool) -> tuple[Any, ...]:
    return dropout_forward(x, rate, seed, training=training)


DROPOUT = Op("dropout", ("x", "seed"), _dropout_flat, _dropout_infer, dropout_backward, ("x",))


def dropout(x: Any, rate: float, seed: Any) -> Any:
    """``x`` with each element 0 with probability ``rate``, the others divided by 1 - rate.

    On Symbols this happens in training only.

    Args:
        x: Any shape.
        rate: In [0, 1].
        seed: An int, or a layer's RandomSeed.
    """
    return apply(DROPOUT, (x, seed), {"rate": rate})


def _embedding_infer(ids: Any, table: Any) -> _Infer:
    return (((*ids.shape, table.shape[1]), table.dtype),)


def _embedding_flat(ids: Array, table: Array, *, training: bool) -> tuple[Any, ...]:
    if ids.dtype.kind != "i":
        ids = ids.astype(np.int64)
    return embedding_forward(ids, table, training=training)


EMBEDDING = Op(
    "embedding",
    ("ids", "table"),
    _embedding_flat,
    _embedding_infer,
    embedding_backward,
    ("table",),
    adds=True,
)


def embedding(ids: Any, table: Any) -> Any:
    """Rows of ``table``, (rows, features), named by ``ids``, (...): (..., features)."""
    return apply(EMBEDDING, (ids, table), {})


def is_symbolic(*values: Any) -> bool:
    """Whether any of the values is a Symbol."""
    return any(isinstance(value, Symbol) for value in values)
