"""LSTM, GRU and SimpleRNN whose weights are packed once: sequences and single steps only read them."""

from __future__ import annotations

from typing import Any

from fastseq import _core
from fastseq._arrays import Array, floating
from fastseq.ops.rnn import (
    GRU_AFTER,
    GRU_BEFORE,
    LSTM,
    SIMPLE,
    State,
    activation_number,
    bind_arguments,
    converted,
    state_parts,
)

__all__ = ["RecurrentStepper", "gru_stepper", "lstm_stepper", "simple_rnn_stepper"]


class RecurrentStepper:
    """One recurrent layer's weights as they were when this was made, ready to take steps.

    It keeps no state: what ``step`` and ``run`` return is given to the next. Any number of streams and
    threads may use one at the same time.

    Attributes:
        packed: The weights as the kernels read them.
        dtype: Of the weights, and so of outputs and states.
        features: Size of an input's row.
        units: Size of the state.
        parts: How many arrays a state has: 2, (h, c), of an LSTM, else 1.
    """

    __slots__ = ("_activations", "_cell", "_name", "dtype", "features", "packed", "parts", "units")

    def __init__(
        self, name: str, cell: int, kernel: Any, recurrent_kernel: Any, bias: Any,
        activation: str, recurrent_activation: str,
    ) -> None:  # fmt: skip
        function = f"{name}_stepper"
        kernel = floating(kernel, function, "kernel")
        self.dtype = kernel.dtype
        recurrent_kernel = floating(recurrent_kernel, function, "recurrent_kernel", dtype=self.dtype)
        self.packed = _core.make_stepper(
            f"{name}_step",
            cell,
            kernel,
            recurrent_kernel,
            converted(bias, self.dtype, function, "bias"),
            activation_number(function, "activation", activation),
            activation_number(function, "recurrent_activation", recurrent_activation),
        )
        self._name, self._cell = name, cell
        self._activations = activation, recurrent_activation
        self.features, self.units = kernel.shape[0], recurrent_kernel.shape[0]
        self.parts = 2 if cell == LSTM else 1

    def step(self, x: Any, state: Any = None) -> tuple[Array, State]:
        """One step.

        Args:
            x: (batch, features), any real dtype.
            state: What the step before returned, (h, c) of an LSTM, else (h,) or h itself, each
                (batch, units); None for zeros. It is left as it is.
        Returns:
            output (batch, units) and the new state, all of them new arrays. The output is h, as an
            array of its own. They are, to the bit, what ``lstm_forward`` and the like give for this
            step of a whole sequence, on any number of threads.
        Raises:
            TypeError: Something is not an array of real numbers.
            ValueError: Shapes disagree.
        """
        result = _core.step_stepper(self.packed, x, state)
        if result is NotImplemented:
            function = f"{self._name}_step"
            x = floating(x, function, "x", dtype=self.dtype)
            parts = state_parts(function, "state", state, self.parts)
            ready = tuple(converted(part, self.dtype, function, "state") for part in parts)
            result = _core.step_stepper(self.packed, x, ready)
        return result  # type: ignore[no-any-return]

    def run(
        self, x: Any, initial_state: Any = None, *, mask: Any = None, lengths: Any = None,
        zero_output_for_mask: bool = False, go_backwards: bool = False, return_sequence: bool = True,
        repeat: int | None = None,
    ) -> tuple[Array | None, State]:  # fmt: skip
        """Whole sequences, or the next part of some.

        Args:
            x: (batch, steps, features), any real dtype.
            initial_state: As ``step``'s state.
            mask, lengths, zero_output_for_mask, go_backwards, return_sequence, repeat: As in
                ``lstm_forward``.
        Returns:
            sequence (batch, steps, units) and the state after the last valid step: to the bit what
            ``lstm_forward`` and the like give, which pack the weights each time.
        Raises:
            TypeError: Something is not an array of real numbers.
            ValueError: Shapes disagree, or a length is out of range.
        """
        function = f"{self._name}_forward"
        parts = state_parts(function, "initial_state", initial_state, self.parts)
        activation, recurrent_activation = self._activations
        take = bind_arguments(
            function, self._cell, activation=activation, recurrent_activation=recurrent_activation,
            zero_output_for_mask=zero_output_for_mask, go_backwards=go_backwards,
            return_sequence=return_sequence, repeat=repeat, training=False,
        )  # fmt: skip
        arguments = take(x, None, None, None, mask, lengths, None, *parts, packed=self)
        sequence, h, c, _ = _core.rnn_forward(arguments)
        return sequence, (h,) if c is None else (h, c)


def lstm_stepper(
    kernel: Any, recurrent_kernel: Any, bias: Any = None, *,
    activation: str = "tanh", recurrent_activation: str = "sigmoid",
) -> RecurrentStepper:  # fmt: skip
    """An LSTM to run one step, or one sequence, at a time, its weights packed once.

    Args:
        kernel: (features, 4 * units) float32 or float64, gates in the order i, f, c, o. All weights
            are copied: later changes of the arrays change no step.
        recurrent_kernel: (units, 4 * units).
        bias: (4 * units,) or None.
        activation: Of the candidate and the output, one of ``CELL_ACTIVATIONS``.
        recurrent_activation: Of the gates, one of ``CELL_ACTIVATIONS``.
    Returns:
        A RecurrentStepper: ``output, (h, c) = stepper.step(x, (h, c))``.
    Raises:
        TypeError: Something is not an array of real numbers.
        ValueError: Shapes disagree, or there is no such activation.
    """
    return RecurrentStepper("lstm", LSTM, kernel, recurrent_kernel, bias, activation, recurrent_activation)


def gru_stepper(
    kernel: Any, recurrent_kernel: Any, bias: Any = None, *,
    reset_after: bool = True, activation: str = "tanh", recurrent_activation: str = "sigmoid",
) -> RecurrentStepper:  # fmt: skip
    """A GRU to run a step or a sequence at a time: as ``lstm_stepper``, the weights as in ``gru_forward``."""
    cell = GRU_AFTER if reset_after else GRU_BEFORE
    return RecurrentStepper("gru", cell, kernel, recurrent_kernel, bias, activation, recurrent_activation)


def simple_rnn_stepper(
    kernel: Any, recurrent_kernel: Any, bias: Any = None, *, activation: str = "tanh"
) -> RecurrentStepper:
    """A SimpleRNN to run a step or a sequence at a time: as ``lstm_stepper``, of ``simple_rnn_forward``."""
    return RecurrentStepper("simple_rnn", SIMPLE, kernel, recurrent_kernel, bias, activation, "linear")
