"""The operations with kernels, under their plain names: on arrays they run, on Symbols they add a node.

Each Op here is the flat form that a plan calls: every array an argument of its own, every output one
too. The functions they rest on, ``x_forward`` and ``x_backward``, are public beside them.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastseq import _core
from fastseq._arrays import Array, message
from fastseq._symbol import Op, Shape, apply
from fastseq.ops import rnn
from fastseq.ops._kept_weights import KeptWeights
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

__all__ = [
    "activation", "dense", "dropout", "embedding", "gru", "lstm", "relu", "sigmoid", "simple_rnn",
    "softmax", "tanh",
]  # fmt: skip

_Infer = tuple[tuple[Shape, Any], ...]


# --- recurrent layers -----------------------------------------------------------------------------

_RECURRENT = ("x", "kernel", "recurrent_kernel", "bias", "mask", "lengths", "seed")


def _named(names: Sequence[str]) -> Any:
    return namedtuple("gradients", names)


TWO_AT_ONCE: dict[Op, Op] = {}
"""By the Op of a recurrent layer: two of its calls that do not need each other, each on half of the threads.
Arguments, options and outputs are the first's, then the second's."""


def _flat_recurrent(
    name: str, cell: Callable[[dict[str, Any]], int], gates: str, states: tuple[str, ...]
) -> Op:
    """The Op of a recurrent layer: (sequence, *final states) from x, weights and initial states.

    Args:
        name: The operation's.
        cell: The kernels' number of the cell; takes the options that choose it out of the dict.
        gates: The recurrent activation unless one is given.
        states: Names of the states.
    """
    differentiable = ("x", "kernel", "recurrent_kernel", "bias", *states)
    arguments = _RECURRENT + states
    gradients = _named(differentiable)
    outputs = 1 + len(states)  # of the kernel's three, which always has h and c

    def arguments_of(
        *, keeps: Any = None, activation: str = "tanh", recurrent_activation: str = gates,
        **options: Any,
    ) -> Callable[..., tuple[Any, ...]]:  # fmt: skip
        number = cell(options)
        take = rnn.bind_arguments(
            f"{name}_forward", number, activation=activation, recurrent_activation=recurrent_activation,
            **options,
        )  # fmt: skip
        if keeps is None:
            return take
        kept = KeptWeights.of(keeps, name, number, activation, recurrent_activation)
        return lambda x, *arrays: take(x, *arrays, packed=kept.packed(*arrays[:3]))

    def gradients_of(wanted: Sequence[str], into: Any) -> Callable[..., tuple[Any, ...]]:
        initial = () if set(wanted).isdisjoint(states) else ("initial_state",)
        asked = (*(argument for argument in wanted if argument not in states), *initial)
        return rnn.bind_gradients(f"{name}_backward", asked, into)

    def bind(**options: Any) -> Callable[..., tuple[Any, ...]]:
        take = arguments_of(**options)

        def run(*arrays: Any) -> tuple[Any, ...]:
            *results, saved = _core.rnn_forward(take(*arrays))
            return *results[:outputs], saved

        return run

    def forward(*arrays: Any, **options: Any) -> tuple[Any, ...]:
        return bind(**options)(*arrays)

    def bind_backward(wanted: tuple[str, ...], into: Any) -> Callable[..., Any]:
        take = gradients_of(wanted, into)

        def run(saved: Any, *arrays: Any) -> Any:
            results = _core.rnn_backward(saved, take(saved, *arrays), False)
            return gradients._make(results[: len(differentiable)])

        return run

    def infer(x: Any, kernel: Any, recurrent_kernel: Any, *rest: Any, **options: Any) -> _Infer:
        steps = x.shape[1] if options.get("repeat") is None else options["repeat"]
        units = recurrent_kernel.shape[0]
        final = ((x.shape[0], units), kernel.dtype)
        return (((x.shape[0], steps, units), kernel.dtype), *(final for _ in states))

    op = Op(
        name, arguments, forward, infer, differentiable=differentiable, adds=True,
        bind=bind, bind_backward=bind_backward,
    )  # fmt: skip

    both = _named(_of_two(differentiable))

    def bind_two(*, first: dict[str, Any], second: dict[str, Any], training: bool) -> Callable[..., Any]:
        take = [arguments_of(**{"training": training, **options}) for options in (first, second)]

        def run(*arrays: Any) -> tuple[Any, ...]:
            one, other = _core.rnn_forward_both(
                take[0](*arrays[: len(arguments)]), take[1](*arrays[len(arguments) :])
            )
            return *one[:outputs], *other[:outputs], (one[-1], other[-1])

        return run

    def bind_two_backward(wanted: tuple[str, ...], into: Any) -> Callable[..., Any]:
        take = []
        for which in _WHICH:
            asked = [argument for argument in differentiable if which + argument in wanted]
            take.append(gradients_of(asked, {a: into[which + a] for a in asked if which + a in into}))

        def run(saved: Any, *arrays: Any) -> Any:
            one, other = saved
            results = _core.rnn_backward_both(
                one, other, take[0](one, *arrays[:outputs]), take[1](other, *arrays[outputs:])
            )
            return both._make(gradient for part in results for gradient in part[: len(differentiable)])

        return run

    TWO_AT_ONCE[op] = Op(
        f"two_{name}", _of_two(arguments), lambda *arrays, **options: bind_two(**options)(*arrays),
        lambda *_, **__: (), differentiable=_of_two(differentiable), adds=True,
        bind=bind_two, bind_backward=bind_two_backward,
    )  # fmt: skip
    return op


_WHICH = ("first_", "second_")


def _of_two(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(which + name for which in _WHICH for name in names)


def _gru(options: dict[str, Any]) -> int:
    return rnn.GRU_AFTER if options.pop("reset_after", True) else rnn.GRU_BEFORE


LSTM = _flat_recurrent("lstm", lambda _: rnn.LSTM, "sigmoid", ("h", "c"))
GRU = _flat_recurrent("gru", _gru, "sigmoid", ("h",))
SIMPLE_RNN = _flat_recurrent("simple_rnn", lambda _: rnn.SIMPLE, "linear", ("h",))


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


def tanh(x: Any) -> Any:
    """The hyperbolic tangent, element by element."""
    return activation(x, "tanh")


def sigmoid(x: Any) -> Any:
    """1 / (1 + exp(-x)), element by element."""
    return activation(x, "sigmoid")


def relu(x: Any) -> Any:
    """max(x, 0), element by element."""
    return activation(x, "relu")


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
    whole=("ids",),
)


def embedding(ids: Any, table: Any) -> Any:
    """Rows of ``table``, (rows, features), named by ``ids``, (...): (..., features)."""
    return apply(EMBEDDING, (ids, table), {})
