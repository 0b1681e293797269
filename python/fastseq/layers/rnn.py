"""LSTM, GRU and SimpleRNN: one base, three choices of gates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastseq import activations, initializers, ops
from fastseq._arrays import Array, describe, floating, message, number
from fastseq._symbol import Symbol, Variable
from fastseq.layers.base import Layer
from fastseq.layers.steps import Steps

__all__ = ["GRU", "LSTM", "KeepsStates", "Recurrent", "SimpleRNN"]


class KeepsStates(Layer, abstract=True):
    """Base of layers with states: kept between batches where they are stateful, or step by step.

    Attributes:
        go_backwards: Whether the last step comes first.
        stateful: Whether states are kept between batches.
        states: The states kept, else None.
    """

    go_backwards: bool
    return_sequences: bool
    return_state: bool
    stateful: bool
    zero_output_for_mask: bool
    states: list[Variable] | None
    _stepper: Steps | None = None
    _stepper_changes = 0  # Variable.changes when it was made

    def state_sizes(self) -> list[tuple[str, int]]:
        """Each state's name and size."""
        raise NotImplementedError

    def make_states(self, batch: int | None) -> None:
        """Makes the states to keep, 0."""
        if batch is None:
            rule = "have a known batch size (batch_input_shape, or Input's batch_size) in a stateful layer"
            raise ValueError(message(self.name, "inputs", rule, "None"))
        self.states = [
            Variable(np.zeros((batch, size), self.dtype), f"{self.name}/{name}", trainable=False)
            for name, size in self.state_sizes()
        ]

    def refuse_other_batch(self, inputs: Symbol) -> None:
        """Raises ValueError for inputs of another batch size than the kept states have."""
        if self.states is not None and inputs.shape[0] not in (None, self.states[0].shape[0]):
            rule = f"have the batch size of the kept state, {self.states[0].shape[0]}"
            raise ValueError(message(self.name, "inputs", rule, f"shape {inputs.shape}"))

    def reset_states(self, states: Any = None) -> None:
        """Sets the kept state of a stateful layer, to 0 or to given values.

        Args:
            states: One array per state, or one array where there is one state; None for 0.
        Raises:
            RuntimeError: The layer is not stateful, or not built yet.
            ValueError: Another number of arrays, or of another shape.
        """
        if self.states is None:
            got = "one that is not built yet" if self.stateful else "one that is not"
            raise RuntimeError(f"{self.name}.reset_states: the layer must be stateful, got {got}")
        if states is None:
            values: list[Any] = [np.zeros(v.shape, v.dtype) for v in self.states]
        else:
            values = list(states) if isinstance(states, (list, tuple)) else [states]
            if len(values) != len(self.states):
                rule = f"be {len(self.states)} arrays"
                raise ValueError(message(f"{self.name}.reset_states", "states", rule, str(len(values))))
        made = []
        for variable, value in zip(self.states, values, strict=True):
            array = np.array(floating(value, f"{self.name}.reset_states", "states", dtype=variable.dtype))
            if array.shape != variable.shape:
                rule = f"have shape {variable.shape}"
                raise ValueError(message(f"{self.name}.reset_states", "states", rule, str(array.shape)))
            made.append(array)
        for variable, array in zip(self.states, made, strict=True):
            variable.value = array

    reset_state = reset_states

    # One step at a time.

    def make_steps(self) -> Steps:
        """What ``stepper`` gives, of a layer that is built and goes forwards."""
        raise NotImplementedError

    def shape_for_steps(self, shape: tuple[Any, ...]) -> tuple[Any, ...]:
        """The shape that ``build`` takes where one step's input has this one."""
        return (*shape[:1], None, *shape[1:])

    def stepper(self) -> Steps:
        """The layer with the weights it has now, to run one step at a time.

        Returns:
            What has the layer's ``step``: ``output, state = stepper.step(x, state)``. Later training does
            not change it. Dropout is off.
        Raises:
            RuntimeError: The layer is not built yet.
            ValueError: It goes backwards, or is of a class with a ``call`` of its own.
        """
        function = f"{self.name}.stepper"
        if not self.built:
            raise RuntimeError(f"{function}: the layer must be built, got one without weights yet")
        if self.go_backwards:
            rule = "be False where steps come one at a time"
            raise ValueError(message(function, "go_backwards", rule, "True"))
        if self.has_own_call:
            rule = "be the library's where steps come one at a time"
            raise ValueError(message(function, "call", rule, f"one of {type(self).__name__}'s own"))
        return self.make_steps()

    @property
    def has_own_call(self) -> bool:
        """Whether somebody's subclass has another ``call``, of which steps would know nothing."""
        return type(self).call.__module__.partition(".")[0] != __name__.partition(".")[0]

    def step(self, inputs: Any, state: Any = None) -> tuple[Array, tuple[Array, ...]]:
        """One step of a stream, as in inference.

        The first step packs the weights, as does the first after weights were assigned, set or
        trained; the others only read them. Who writes into a weight's own array must ``assign`` instead.
        A state kept by a stateful layer is neither used nor changed.

        Args:
            inputs: (batch, features), the next step of each sequence.
            state: What the step before returned, an array for each of ``state_sizes``; None for 0.
        Returns:
            The output (batch, units), and the new state.
        Raises:
            TypeError: Something is not an array of real numbers.
            ValueError: Shapes disagree, the layer goes backwards, or has a ``call`` of its own.
        """
        if self._stepper is None or self._stepper_changes != Variable.changes:
            if not self.built:
                self.ensure_built(self.shape_for_steps(np.shape(inputs)))
            self._stepper_changes = Variable.changes
            self._stepper = self.stepper()
        return self._stepper.step(inputs, state)


class Recurrent(KeepsStates, abstract=True):
    """What the recurrent layers share; not for use by itself.

    Attributes:
        gates: How many gates the kernels hold side by side.
        state_names: The states, h first.
        states: The state kept between batches where ``stateful``, else None.
    """

    supports_masking = True
    gates = 1
    state_names: tuple[str, ...] = ("h",)
    _operation: Callable[..., Any]
    _make_stepper: Callable[..., ops.RecurrentStepper]

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        recurrent_constraint: Any = None,
        bias_constraint: Any = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        seed: int | None = None,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        zero_output_for_mask: bool = False,
        use_cudnn: Any = "auto",
        implementation: int | None = None,
        time_major: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(activity_regularizer=activity_regularizer, **options)
        kind = type(self).__name__
        self.keep_rules(
            kernel_regularizer=kernel_regularizer,
            recurrent_regularizer=recurrent_regularizer,
            bias_regularizer=bias_regularizer,
            kernel_constraint=kernel_constraint,
            recurrent_constraint=recurrent_constraint,
            bias_constraint=bias_constraint,
        )
        if time_major:
            raise ValueError(message(kind, "time_major", "be False", describe(time_major)))
        self.units = number(units, kind, "units", low=1, whole=True)
        self.activation = activations.name_of(activation, kind, "activation", activations.RECURRENT)
        self.use_bias = bool(use_bias)
        self.kernel_initializer = initializers.get(kernel_initializer, kind, "kernel_initializer")
        self.recurrent_initializer = initializers.get(recurrent_initializer, kind, "recurrent_initializer")
        self.bias_initializer = initializers.get(bias_initializer, kind, "bias_initializer")
        self.dropout = number(dropout, kind, "dropout", low=0, high=1, open_high=True)
        self.recurrent_dropout = number(
            recurrent_dropout, kind, "recurrent_dropout", low=0, high=1, open_high=True
        )
        self.seed = seed
        self.random = self.make_seed(seed) if self.dropout or self.recurrent_dropout else None
        self.return_sequences = bool(return_sequences)
        self.return_state = bool(return_state)
        self.go_backwards = bool(go_backwards)
        self.stateful, self.states = bool(stateful), None
        self.zero_output_for_mask = bool(zero_output_for_mask)
        self.kernel: Variable
        self.recurrent_kernel: Variable
        self.bias: Variable | None = None
        # unroll, use_cudnn, implementation: they choose between ways of computing the same; here is one.

    def bias_shape(self) -> tuple[int, ...]:
        """The shape of the bias."""
        return (self.gates * self.units,)

    def make_bias(self, shape: Sequence[int], dtype: Any) -> Any:
        """The bias's starting values."""
        return self.bias_initializer(shape, dtype)

    def build(self, input_shape: Any) -> None:
        self._check_rank(input_shape)
        if input_shape[2] is None:
            rule = "have a known number of features"
            raise ValueError(message(self.name, "inputs", rule, f"shape {input_shape}"))
        width = self.gates * self.units
        self.kernel = self.add_ruled("kernel", (input_shape[2], width), self.kernel_initializer)
        self.recurrent_kernel = self.add_ruled(
            "recurrent_kernel", (self.units, width), self.recurrent_initializer, "recurrent"
        )
        if self.use_bias:
            self.bias = self.add_ruled("bias", self.bias_shape(), self.make_bias)
        if self.stateful:
            self.make_states(input_shape[0])

    def state_sizes(self) -> list[tuple[str, int]]:
        return [(name, self.units) for name in self.state_names]

    def _check_rank(self, shape: Any) -> None:
        if len(shape) != 3:
            rule = "have shape (batch, steps, features)"
            raise ValueError(message(self.name, "inputs", rule, f"shape {shape}"))

    def op_options(self) -> dict[str, Any]:
        """The options of the operation that this layer is."""
        return {
            "zero_output_for_mask": self.zero_output_for_mask,
            "go_backwards": self.go_backwards,
            "activation": self.activation,
            "dropout": self.dropout,
            "recurrent_dropout": self.recurrent_dropout,
        }

    def call(
        self, inputs: Any, initial_state: Any = None, mask: Any = None, training: bool | None = None
    ) -> Any:
        if isinstance(inputs, (list, tuple)):  # Keras also takes [x, *states]
            initial_state, inputs = list(inputs[1:]) or initial_state, inputs[0]
            mask = mask[0] if isinstance(mask, (list, tuple)) else mask
        self._check_rank(inputs.shape)
        if inputs.shape[2] not in (None, self.kernel.shape[0]):
            rule = f"have {self.kernel.shape[0]} features"
            raise ValueError(message(self.name, "inputs", rule, f"shape {inputs.shape}"))
        if mask is not None:
            self._check_mask(mask.shape, inputs.shape)
        self.refuse_other_batch(inputs)
        state = self.states if initial_state is None else self._as_states(initial_state)
        sequence, final = self.join(inputs, state, mask, training)
        if self.states is not None and sequence.node is not None:
            sequence.node.updates = [(variable, k + 1) for k, variable in enumerate(self.states)]
        output = sequence if self.return_sequences else self._last(sequence, final, mask)
        return [output, *final] if self.return_state else output

    def join(
        self, inputs: Any, state: Any, mask: Any, training: bool | None, **changes: Any
    ) -> tuple[Symbol, tuple[Symbol, ...]]:
        """(every output, the final states) of this layer's operation, some of whose options may be others."""
        sequence, final = type(self)._operation(
            inputs,
            self.kernel,
            self.recurrent_kernel,
            self.bias,
            initial_state=state,
            mask=mask,
            seed=self.random,
            **{**self.op_options(), **changes},
        )
        sequence.node.random = training
        return sequence, tuple(final)

    def _last(self, sequence: Symbol, final: tuple[Symbol, ...], mask: Any) -> Any:
        """The last output: h, unless a masked last step has the output 0."""
        return sequence[:, -1] if self.zero_output_for_mask and mask is not None else final[0]

    def _check_mask(self, mask: Any, inputs: Any) -> None:
        fits = len(mask) == 2 and all(
            m is None or n is None or m == n for m, n in zip(mask, inputs[:2], strict=True)
        )
        if not fits:
            raise ValueError(message(self.name, "mask", f"have shape {inputs[:2]}", str(mask)))

    def _as_states(self, initial_state: Any) -> list[Any]:
        states = list(initial_state) if isinstance(initial_state, (list, tuple)) else [initial_state]
        if len(states) != len(self.state_names):
            names = ", ".join(self.state_names)
            rule = f"be {len(self.state_names)} arrays ({names})"
            raise ValueError(message(self.name, "initial_state", rule, str(len(states))))
        for state in states:
            if len(state.shape) != 2 or state.shape[1] not in (None, self.units):
                rule = f"have shape (batch, {self.units})"
                raise ValueError(message(self.name, "initial_state", rule, str(tuple(state.shape))))
        return states

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        if isinstance(mask, (list, tuple)):
            mask = mask[0]
        mask = mask if self.return_sequences else None
        return [mask, *(None for _ in self.state_names)] if self.return_state else mask

    def make_steps(self) -> Steps:
        own = ("activation", "recurrent_activation", "reset_after")
        options = {name: value for name, value in self.op_options().items() if name in own}
        bias = None if self.bias is None else self.bias.value
        return type(self)._make_stepper(self.kernel.value, self.recurrent_kernel.value, bias, **options)


class LSTM(Recurrent):
    """Long short-term memory: (batch, steps, features) to (batch, units), or to every step's output.

    Gates i, f, c, o side by side: kernel (features, 4 units), recurrent kernel (units, 4 units), bias
    (4 units,).

    Args:
        units: Size of the state.
        activation: Of the candidate and the output.
        recurrent_activation: Of the gates.
        use_bias: Whether there is a bias.
        kernel_initializer: Of the kernel.
        recurrent_initializer: Of the recurrent kernel.
        bias_initializer: Of the bias.
        unit_forget_bias: Whether the forget gate's bias starts at 1.
        options: As for Keras's LSTM: ``dropout`` (on the input, one mask for all steps),
            ``recurrent_dropout`` (on h where it enters the product, one mask for all gates and steps),
            both in [0, 1) (at 1 Keras drops all or nothing, by the path it takes),
            ``return_sequences``, ``return_state`` ([output, h, c]), ``go_backwards`` (the sequence stays
            reversed), ``stateful``, ``zero_output_for_mask``, ``seed``, ``kernel_``, ``recurrent_`` and
            ``bias_regularizer`` and ``_constraint``; and as for ``Layer``.
    Source:
        Hochreiter & Schmidhuber (1997), Gers et al. (2000).
    """

    gates = 4
    state_names = ("h", "c")
    _operation = staticmethod(ops.lstm)
    _make_stepper = staticmethod(ops.lstm_stepper)

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        unit_forget_bias: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(
            units,
            activation,
            use_bias,
            kernel_initializer,
            recurrent_initializer,
            bias_initializer,
            **options,
        )
        self.recurrent_activation = activations.name_of(
            recurrent_activation, "LSTM", "recurrent_activation", activations.RECURRENT
        )
        self.unit_forget_bias = bool(unit_forget_bias)

    def make_bias(self, shape: Sequence[int], dtype: Any) -> Any:
        bias = super().make_bias(shape, dtype)
        if self.unit_forget_bias:  # as in Keras, 1 there whatever the initializer says
            bias[self.units : 2 * self.units] = 1.0
        return bias

    def op_options(self) -> dict[str, Any]:
        return {**super().op_options(), "recurrent_activation": self.recurrent_activation}


class GRU(Recurrent):
    """Gated recurrent unit: (batch, steps, features) to (batch, units), or to every step's output.

    Gates z, r, h side by side: kernel (features, 3 units), recurrent kernel (units, 3 units), bias
    (2, 3 units) where ``reset_after``, else (3 units,).

    Args:
        units: Size of the state.
        activation: Of the candidate.
        recurrent_activation: Of the gates.
        use_bias: Whether there is a bias.
        kernel_initializer: Of the kernel.
        recurrent_initializer: Of the recurrent kernel.
        bias_initializer: Of the bias.
        reset_after: Whether the reset gate acts after the recurrent product (as on GPUs) or before.
        options: As for ``LSTM``; ``return_state`` gives [output, h].
    Source:
        Cho et al. (2014), https://arxiv.org/abs/1406.1078
    """

    gates = 3
    _operation = staticmethod(ops.gru)
    _make_stepper = staticmethod(ops.gru_stepper)

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        reset_after: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(
            units,
            activation,
            use_bias,
            kernel_initializer,
            recurrent_initializer,
            bias_initializer,
            **options,
        )
        self.recurrent_activation = activations.name_of(
            recurrent_activation, "GRU", "recurrent_activation", activations.RECURRENT
        )
        self.reset_after = bool(reset_after)

    def bias_shape(self) -> tuple[int, ...]:
        return (2, 3 * self.units) if self.reset_after else (3 * self.units,)

    def op_options(self) -> dict[str, Any]:
        return {
            **super().op_options(),
            "recurrent_activation": self.recurrent_activation,
            "reset_after": self.reset_after,
        }


class SimpleRNN(Recurrent):
    """h_t = activation(x_t kernel + h_{t-1} recurrent_kernel + bias).

    Args:
        units: Size of the state.
        activation: Of the state.
        use_bias: Whether there is a bias.
        kernel_initializer: Of the kernel, (features, units).
        recurrent_initializer: Of the recurrent kernel, (units, units).
        bias_initializer: Of the bias, (units,).
        options: As for ``LSTM``; ``return_state`` gives [output, h].
    """

    _operation = staticmethod(ops.simple_rnn)
    _make_stepper = staticmethod(ops.simple_rnn_stepper)
