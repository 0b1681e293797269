"""LSTM, GRU and SimpleRNN over whole sequences, forward and backward.

One kernel runs all steps: masks, lengths, initial states, direction and both kinds of dropout are
inside it. Layouts and gate order are Keras's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from fastseq import _core
from fastseq._arrays import Array, boolean, describe, floating, integer, message, number
from fastseq._random import draw_seed

__all__ = [
    "CELL_ACTIVATIONS",
    "RecurrentGradients",
    "gru_backward",
    "gru_forward",
    "lstm_backward",
    "lstm_forward",
    "simple_rnn_backward",
    "simple_rnn_forward",
]

# Those whose derivative follows from their output, in the order of the kernels' enumeration.
CELL_ACTIVATIONS = (
    "linear",
    "tanh",
    "sigmoid",
    "relu",
    "hard_sigmoid",
    "relu6",
    "softsign",
    "softplus",
    "elu",
    "selu",
    "exponential",
    "leaky_relu",
)
_ACTIVATION_NUMBER = {name: i for i, name in enumerate(CELL_ACTIVATIONS)}

LSTM, GRU_AFTER, GRU_BEFORE, SIMPLE = range(4)  # cells, in the order of the kernels' enumeration

_ALL = ("x", "kernel", "recurrent_kernel", "bias", "initial_state")

State = tuple[Array, ...]


class RecurrentGradients(NamedTuple):
    """Gradients by the name of the input; None where not wanted or not given to forward.

    ``x`` has the shape of x, parameters those of the parameters; ``initial_state`` is a tuple like
    the state, each (batch, units).
    """

    x: Array | None
    kernel: Array | None
    recurrent_kernel: Array | None
    bias: Array | None
    initial_state: State | None


def activation_number(function: str, argument: str, name: Any) -> int:
    """The kernels' number of an activation."""
    try:
        return _ACTIVATION_NUMBER[name]
    except (KeyError, TypeError):
        rule = f"be one of {', '.join(CELL_ACTIVATIONS)}"
        raise ValueError(message(function, argument, rule, describe(name))) from None


def state_parts(function: str, argument: str, value: Any, count: int) -> list[Any]:
    """A state's parts, some of them None; a lone array is a state of one part."""
    if value is None:
        return [None] * count
    parts = [value] if isinstance(value, np.ndarray) else list(value)
    if len(parts) != count:
        rule = f"have {count} part{'s' if count > 1 else ''}"
        raise ValueError(message(function, argument, rule, str(len(parts))))
    return parts


def bind_arguments(
    function: str,
    cell: int,
    *,
    zero_output_for_mask: bool = False,
    go_backwards: bool = False,
    activation: str = "tanh",
    recurrent_activation: str,
    dropout: float = 0.0,
    recurrent_dropout: float = 0.0,
    training: bool = True,
    return_sequence: bool = True,
    repeat: int | None = None,
) -> Callable[..., tuple[Any, ...]]:
    """Checks options once: a function of (x, kernel, recurrent_kernel, bias, mask, lengths, seed, h0, c0).

    The function returns what the kernel takes, in its order. Instead of the three weights it takes
    ``packed``, a RecurrentStepper of them; then ``training`` must be False.
    """
    gate_activation = activation_number(function, "recurrent_activation", recurrent_activation)
    cell_activation = activation_number(function, "activation", activation)
    repeats = -1 if repeat is None else number(repeat, function, "repeat", low=0, whole=True)
    random = bool(dropout or recurrent_dropout)
    if random:
        dropout = number(dropout, function, "dropout", low=0, high=1, open_high=True)
        recurrent_dropout = number(
            recurrent_dropout, function, "recurrent_dropout", low=0, high=1, open_high=True
        )

    def arguments(
        x: Any, kernel: Any, recurrent_kernel: Any, bias: Any,
        mask: Any = None, lengths: Any = None, seed: int | None = None, h0: Any = None, c0: Any = None,
        packed: Any = None,
    ) -> tuple[Any, ...]:  # fmt: skip
        if packed is None:
            kernel = floating(kernel, function, "kernel")
            dtype = kernel.dtype
            recurrent_kernel = floating(recurrent_kernel, function, "recurrent_kernel", dtype=dtype)
            bias = converted(bias, dtype, function, "bias")
        else:
            kernel = recurrent_kernel = bias = None
            dtype, packed = packed.dtype, packed.packed
        x = floating(x, function, "x", dtype=dtype)
        h0 = converted(h0, dtype, function, "initial_state")
        c0 = converted(c0, dtype, function, "initial_state")
        if mask is not None:
            mask = boolean(mask, function, "mask")
        if lengths is not None:
            lengths = integer(lengths, function, "lengths", ndim=1).astype(np.int64, copy=False)
        if random:
            if seed is None:
                seed = draw_seed()
            seed = number(seed, function, "seed", low=0, high=2**64 - 1, whole=True)
        return (
            cell, x, kernel, recurrent_kernel, bias, h0, c0, mask, lengths,
            cell_activation, gate_activation, go_backwards, zero_output_for_mask, training,
            return_sequence, repeats, dropout, recurrent_dropout, seed or 0, packed,
        )  # fmt: skip

    return arguments


def bind_forward(function: str, cell: int, **options: Any) -> Callable[..., tuple[Any, ...]]:
    """The call itself, with options checked once; it returns (sequence, h, c or None, saved)."""
    arguments = bind_arguments(function, cell, **options)
    return lambda *arrays: _core.rnn_forward(arguments(*arrays))


def converted(value: Any, dtype: Any, function: str, argument: str) -> Array | None:
    """``floating`` of what may be None."""
    return None if value is None else floating(value, function, argument, dtype=dtype)


def _forward(
    function: str, cell: int, x: Any, kernel: Any, recurrent_kernel: Any, bias: Any, initial_state: Any,
    mask: Any, lengths: Any, seed: int | None, **options: Any,
) -> tuple[Array | None, State, Any]:  # fmt: skip
    state = state_parts(function, "initial_state", initial_state, 2 if cell == LSTM else 1)
    run = bind_forward(function, cell, **options)
    sequence, h, c, saved = run(x, kernel, recurrent_kernel, bias, mask, lengths, seed, *state)
    return sequence, (h,) if c is None else (h, c), saved


def bind_gradients(
    function: str, wanted: Sequence[str], into: Mapping[str, Array] | None = None
) -> Callable[..., tuple[Any, ...]]:
    """Checks what is wanted once: a function of (saved, dsequence, dh, dc).

    The function returns what the kernel takes beside ``saved``, in its order.
    """
    for name in wanted:
        if name not in _ALL:
            raise ValueError(message(function, "wanted", f"name some of {', '.join(_ALL)}", repr(name)))
    want_x, want_kernel, want_recurrent, want_bias, want_state = (name in wanted for name in _ALL)
    dkernel, drecurrent, dbias = ((into or {}).get(name) for name in ("kernel", "recurrent_kernel", "bias"))

    def arguments(saved: Any, dsequence: Any, dh: Any = None, dc: Any = None) -> tuple[Any, ...]:
        dtype = saved.dtype
        dsequence = converted(dsequence, dtype, function, "dsequence")
        dh = converted(dh, dtype, function, "dstate")
        dc = converted(dc, dtype, function, "dstate")
        return (
            dsequence, dh, dc, want_x, want_kernel, want_recurrent, want_bias, want_state,
            dkernel, drecurrent, dbias,
        )  # fmt: skip

    return arguments


def bind_backward(
    function: str, wanted: Sequence[str], into: Mapping[str, Array] | None = None, keep: bool = False
) -> Callable[..., tuple[Any, ...]]:
    """The call itself, a function of (saved, dsequence, dh, dc).

    It returns the gradients of (x, kernel, recurrent_kernel, bias, h0, c0), None where not wanted.
    """
    arguments = bind_gradients(function, wanted, into)
    return lambda saved, *gradients: _core.rnn_backward(saved, arguments(saved, *gradients), keep)


def _backward(
    function: str,
    parts: int,
    saved: Any,
    dsequence: Any,
    dstate: Any,
    wanted: Sequence[str],
    into: Mapping[str, Array] | None,
    keep: bool,
) -> RecurrentGradients:
    if not isinstance(saved, _core.RnnSaved):
        rule = "be what forward returned with training=True"
        raise TypeError(message(function, "saved", rule, describe(saved)))
    dstates = state_parts(function, "dstate", dstate, parts)
    run = bind_backward(function, wanted, into, keep)
    dx, dkernel, drecurrent, dbias, dh0, dc0 = run(saved, dsequence, *dstates)
    state = None if dh0 is None else (dh0,) if dc0 is None else (dh0, dc0)
    return RecurrentGradients(dx, dkernel, drecurrent, dbias, state)


def lstm_forward(
    x: Any,
    kernel: Any,
    recurrent_kernel: Any,
    bias: Any = None,
    *,
    initial_state: Any = None,
    mask: Any = None,
    lengths: Any = None,
    zero_output_for_mask: bool = False,
    go_backwards: bool = False,
    activation: str = "tanh",
    recurrent_activation: str = "sigmoid",
    dropout: float = 0.0,
    recurrent_dropout: float = 0.0,
    seed: int | None = None,
    training: bool = True,
    return_sequence: bool = True,
    repeat: int | None = None,
) -> tuple[Array | None, State, Any]:
    """Long short-term memory over whole sequences.

    Args:
        x: (batch, steps, features), any real dtype; computed in the dtype of ``kernel``.
        kernel: (features, 4 * units) float32 or float64, gates in the order i, f, c, o.
        recurrent_kernel: (units, 4 * units).
        bias: (4 * units,) or None.
        initial_state: (h, c), each (batch, units); None means zeros.
        mask: (batch, steps) bool, True keeps. A masked step carries the state; its output repeats the
            one before it (zeros at the start).
        lengths: (batch,) integers in [0, steps]: like ``mask = t < length`` with
            ``zero_output_for_mask=True``. Either costs the time of the valid steps only.
        zero_output_for_mask: Masked steps give 0 instead of repeating.
        go_backwards: Run from the last step to the first; the sequence comes out reversed.
        activation: Of the candidate and the cell's output, one of ``CELL_ACTIVATIONS``.
        recurrent_activation: Of the gates, one of ``CELL_ACTIVATIONS``.
        dropout: Share in [0, 1) of the input's features dropped; the same for all steps of a sequence.
        recurrent_dropout: Share in [0, 1) of h dropped where it enters the recurrent product; one
            (batch, units) pattern for all gates and steps (Keras draws one for each gate).
        seed: Of the dropout, in [0, 2**64). The same seed drops the same elements on any number of
            threads. None draws one.
        training: Drop out, and keep what backward needs. False is faster: saved is None. Faster still, for
            many calls with the same weights, is ``lstm_stepper(...).run``, which has them packed.
        return_sequence: False does not write the sequence, which is then None.
        repeat: x is (batch, features) and is used at each of ``repeat`` steps.
    Returns:
        sequence (batch, steps, units), state (h, c) after the last valid step, each (batch, units),
        and what ``lstm_backward`` needs. ``kernel`` and ``recurrent_kernel`` are read again by backward
        and must not change before it.
    Raises:
        TypeError: Something is not an array of real numbers.
        ValueError: Shapes disagree, a length, a rate or a name is out of range.
    Memory:
        Training keeps, for each valid step of each sequence, its features, 4 gates, h and c: features
        + 6 * units numbers (units rounded up to whole registers). Beside that a call borrows the weights
        in packed form and, going back, their gradients likewise and a few hundred steps of dx; without
        training a few hundred steps of gates. What it borrowed goes back to a pool.
        A step of at most one feature that is not 0 (one-hot, or nothing) costs one row of ``kernel``.
    Source:
        Hochreiter & Schmidhuber (1997), https://doi.org/10.1162/neco.1997.9.8.1735; Gers et al. (2000).
        Dropout: Gal & Ghahramani (2016), https://arxiv.org/abs/1512.05287.
    """
    return _forward(
        "lstm_forward", LSTM, x, kernel, recurrent_kernel, bias, initial_state, mask, lengths, seed,
        zero_output_for_mask=zero_output_for_mask, go_backwards=go_backwards, activation=activation,
        recurrent_activation=recurrent_activation, dropout=dropout, recurrent_dropout=recurrent_dropout,
        training=training, return_sequence=return_sequence, repeat=repeat,
    )  # fmt: skip


def lstm_backward(
    saved: Any,
    dsequence: Any = None,
    dstate: Any = None,
    wanted: Sequence[str] = _ALL,
    into: Mapping[str, Array] | None = None,
    keep: bool = False,
) -> RecurrentGradients:
    """Gradients of ``lstm_forward``.

    Args:
        saved: What forward returned; consumed unless ``keep``.
        dsequence: (batch, steps, units), the gradient of the sequence, or None for zeros.
        dstate: (dh, dc), each (batch, units) or None for zeros.
        wanted: Which gradients to compute: some of x, kernel, recurrent_kernel, bias, initial_state.
        into: Arrays by name (kernel, recurrent_kernel, bias) to which the gradients are added.
        keep: Leave ``saved`` usable for another backward; costs a copy of the gates.
    Returns:
        RecurrentGradients.
    Raises:
        TypeError: ``saved`` is something else.
        ValueError: Shapes disagree with forward's, or ``wanted`` names something else.
        RuntimeError: ``saved`` is consumed.
    """
    return _backward("lstm_backward", 2, saved, dsequence, dstate, wanted, into, keep)


def gru_forward(
    x: Any,
    kernel: Any,
    recurrent_kernel: Any,
    bias: Any = None,
    *,
    reset_after: bool = True,
    initial_state: Any = None,
    mask: Any = None,
    lengths: Any = None,
    zero_output_for_mask: bool = False,
    go_backwards: bool = False,
    activation: str = "tanh",
    recurrent_activation: str = "sigmoid",
    dropout: float = 0.0,
    recurrent_dropout: float = 0.0,
    seed: int | None = None,
    training: bool = True,
    return_sequence: bool = True,
    repeat: int | None = None,
) -> tuple[Array | None, State, Any]:
    """Gated recurrent unit over whole sequences: ``h_t = z h_{t-1} + (1 - z) hh``.

    Args:
        kernel: (features, 3 * units), gates in the order z, r, h.
        recurrent_kernel: (units, 3 * units).
        bias: (2, 3 * units) with ``reset_after``, else (3 * units,), or None.
        reset_after: True: ``hh = tanh(x W + b0 + r (h U + b1))``; False: ``hh = tanh(x W + b + (r h) U)``.
        initial_state: (h,) or h itself, (batch, units).

        All else as in ``lstm_forward``. Recurrent dropout leaves h as it is in ``z h``.
    Returns:
        sequence (batch, steps, units), state (h,), and what ``gru_backward`` needs.
    Source:
        Cho et al. (2014), https://arxiv.org/abs/1406.1078 (v1 is reset_after=True, v3 False).
    """
    return _forward(
        "gru_forward", GRU_AFTER if reset_after else GRU_BEFORE, x, kernel, recurrent_kernel, bias,
        initial_state, mask, lengths, seed,
        zero_output_for_mask=zero_output_for_mask, go_backwards=go_backwards, activation=activation,
        recurrent_activation=recurrent_activation, dropout=dropout, recurrent_dropout=recurrent_dropout,
        training=training, return_sequence=return_sequence, repeat=repeat,
    )  # fmt: skip


def gru_backward(
    saved: Any,
    dsequence: Any = None,
    dstate: Any = None,
    wanted: Sequence[str] = _ALL,
    into: Mapping[str, Array] | None = None,
    keep: bool = False,
) -> RecurrentGradients:
    """Gradients of ``gru_forward``: as ``lstm_backward``, with state (h,)."""
    return _backward("gru_backward", 1, saved, dsequence, dstate, wanted, into, keep)


def simple_rnn_forward(
    x: Any,
    kernel: Any,
    recurrent_kernel: Any,
    bias: Any = None,
    *,
    initial_state: Any = None,
    mask: Any = None,
    lengths: Any = None,
    zero_output_for_mask: bool = False,
    go_backwards: bool = False,
    activation: str = "tanh",
    dropout: float = 0.0,
    recurrent_dropout: float = 0.0,
    seed: int | None = None,
    training: bool = True,
    return_sequence: bool = True,
    repeat: int | None = None,
) -> tuple[Array | None, State, Any]:
    """Fully connected recurrence over whole sequences: ``h_t = activation(x W + b + h_{t-1} U)``.

    Args:
        kernel: (features, units).
        recurrent_kernel: (units, units).
        bias: (units,) or None.
        initial_state: (h,) or h itself, (batch, units).

        All else as in ``lstm_forward``.
    Returns:
        sequence (batch, steps, units), state (h,), and what ``simple_rnn_backward`` needs.
    Source:
        Elman (1990), https://doi.org/10.1207/s15516709cog1402_1
    """
    return _forward(
        "simple_rnn_forward", SIMPLE, x, kernel, recurrent_kernel, bias, initial_state, mask, lengths, seed,
        zero_output_for_mask=zero_output_for_mask, go_backwards=go_backwards, activation=activation,
        recurrent_activation="linear", dropout=dropout, recurrent_dropout=recurrent_dropout,
        training=training, return_sequence=return_sequence, repeat=repeat,
    )  # fmt: skip


def simple_rnn_backward(
    saved: Any,
    dsequence: Any = None,
    dstate: Any = None,
    wanted: Sequence[str] = _ALL,
    into: Mapping[str, Array] | None = None,
    keep: bool = False,
) -> RecurrentGradients:
    """Gradients of ``simple_rnn_forward``: as ``lstm_backward``, with state (h,)."""
    return _backward("simple_rnn_backward", 1, saved, dsequence, dstate, wanted, into, keep)
