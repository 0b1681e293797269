"""RNN over any cell, cells of one step, and stacks of them.

Cells of this library run over all steps in their fused operation, each of a stack over the outputs of
the one below, which comes to the same. A cell of a user's own is traced once for each step.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastseq import ops
from fastseq._arrays import describe, message
from fastseq._symbol import Symbol
from fastseq.layers.base import Layer
from fastseq.layers.calls import flatten, unflatten
from fastseq.layers.description import from_config
from fastseq.layers.rnn import GRU, LSTM, KeepsStates, Recurrent, SimpleRNN
from fastseq.layers.steps import StackedSteps, Steps, TracedSteps

__all__ = ["RNN", "GRUCell", "LSTMCell", "SimpleRNNCell", "StackedRNNCells"]

_OF_SEQUENCES = ("return_sequences", "return_state", "go_backwards", "stateful", "zero_output_for_mask")


class _Cell(Recurrent, abstract=True):
    """One step: (batch, features) and the states before, to the output and the states after."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        for option in _OF_SEQUENCES:
            if getattr(self, option):
                rule = "be left to the RNN around the cell"
                raise ValueError(message(type(self).__name__, option, rule, "True"))

    @property
    def state_size(self) -> Any:
        """The size of its state, or a list of them."""
        sizes = [self.units for _ in self.state_names]
        return sizes if len(sizes) > 1 else sizes[0]

    @property
    def output_size(self) -> int:
        """The size of its output."""
        return int(self.units)

    def build(self, input_shape: Any) -> None:
        super().build((input_shape[0], None, *input_shape[1:]))

    def shape_for_steps(self, shape: tuple[Any, ...]) -> tuple[Any, ...]:
        return shape

    def call(  # type: ignore[override]
        self, inputs: Any, states: Any = None, training: bool | None = None
    ) -> Any:
        before = None if states is None else self._as_states(states)
        _, after = self.join(ops.expand_dims(inputs, 1), before, None, training)
        nested = len(after) > 1 or isinstance(states, (list, tuple))
        return after[0], list(after) if nested else after[0]

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        return {name: value for name, value in config.items() if name not in _OF_SEQUENCES}


class LSTMCell(_Cell, LSTM):
    """One step of an ``LSTM``, whose arguments it takes: (h, [h, c]) from x and [h, c]."""


class GRUCell(_Cell, GRU):
    """One step of a ``GRU``, whose arguments it takes: (h, h) from x and h."""


class SimpleRNNCell(_Cell, SimpleRNN):
    """One step of a ``SimpleRNN``, whose arguments it takes: (h, h) from x and h."""


class StackedRNNCells(Layer):
    """Cells as one: each takes the output of the one before.

    Args:
        cells: The cells, the lowest first.
        options: As for ``Layer``.
    Raises:
        TypeError: One of them is no cell.
    """

    def __init__(self, cells: Sequence[Any], **options: Any) -> None:
        super().__init__(**options)
        if not isinstance(cells, (list, tuple)) or not cells:
            raise TypeError(message("StackedRNNCells", "cells", "be a list of cells", describe(cells)))
        self.cells = [_checked(cell, "StackedRNNCells", "cells") for cell in cells]

    @property
    def state_size(self) -> list[Any]:
        """The states' sizes of each cell."""
        return [cell.state_size for cell in self.cells]

    @property
    def output_size(self) -> Any:
        """That of the last cell."""
        return _output_size(self.cells[-1])

    def build(self, input_shape: Any) -> None:
        shape = tuple(input_shape)
        for cell in self.cells:
            cell.ensure_built(shape)
            shape = (shape[0], _output_size(cell))

    def call(self, inputs: Any, states: Any, training: bool | None = None) -> Any:
        after = []
        for cell, before in zip(self.cells, states, strict=True):
            inputs, state = _step(cell, inputs, before, training)
            after.append(state)
        return inputs, after

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "cells": [_described(cell) for cell in self.cells]}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        return cls(**{**config, "cells": [from_config(cell) for cell in config["cells"]]})


class RNN(KeepsStates):
    """A cell over all steps: (batch, steps, features) to its last output, or to every step's.

    A cell of one's own is a Layer with ``state_size``, an int or a list of them, and ``call(inputs,
    states)`` that gives (output, states after), written with ``fastseq.ops``. As in Keras ``states`` is a
    list even of one; the number of steps must be known. ``return_state`` gives [output, *states], states of
    several arrays as lists: [output, [h, c], [h, c]] for two LSTMCells; ``initial_state`` takes them so, or
    one after another. ``step`` takes one step of a stream with any cell: it gives all states one after
    another, and takes either form.

    Args:
        cell: A cell, or a list of cells to stack.
        return_sequences: Whether every step's output is returned.
        return_state: Whether the final states follow the output.
        go_backwards: Whether the last step comes first; the outputs are in the order of the steps taken.
        stateful: Whether states are kept for the next batch.
        unroll: Accepted: own cells are unrolled, ours need not be.
        zero_output_for_mask: Whether masked steps give 0 instead of the output before.
        options: As for ``Layer``.
    Raises:
        TypeError: ``cell`` is none.
    """

    supports_masking = True

    def __init__(
        self,
        cell: Any,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        zero_output_for_mask: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        several = isinstance(cell, (list, tuple))
        self.cell = StackedRNNCells(cell) if several else _checked(cell, "RNN", "cell")
        self.return_sequences = bool(return_sequences)
        self.return_state = bool(return_state)
        self.go_backwards = bool(go_backwards)
        self.stateful, self.states = bool(stateful), None
        self.unroll = bool(unroll)
        self.zero_output_for_mask = bool(zero_output_for_mask)

    @property
    def state_size(self) -> Any:
        """That of its cell."""
        return self.cell.state_size

    def _fused(self) -> list[Any]:
        """The cells where all of them have a fused operation, else none."""
        cells = self.cell.cells if isinstance(self.cell, StackedRNNCells) else [self.cell]
        return cells if all(_is_fused(cell) for cell in cells) else []

    def build(self, input_shape: Any) -> None:
        if len(input_shape) < 3:
            rule = "have shape (batch, steps, features)"
            raise ValueError(message(self.name, "inputs", rule, f"shape {input_shape}"))
        self.cell.ensure_built((input_shape[0], *input_shape[2:]))
        self._features = tuple(input_shape[2:])
        if self.stateful:
            self.make_states(input_shape[0])

    def state_sizes(self) -> list[tuple[str, int]]:
        return [(f"state_{k}", size) for k, size in enumerate(flatten(self.state_size))]

    def make_steps(self) -> Steps:
        return _steps(self.cell, self._features)

    def call(
        self, sequence: Any, initial_state: Any = None, mask: Any = None, training: bool | None = None
    ) -> Any:
        self.refuse_other_batch(sequence)
        given = self.states if initial_state is None else flatten(initial_state)
        wanted = len(flatten(self.state_size))
        if given is not None and len(given) != wanted:
            raise ValueError(message(self.name, "initial_state", f"be {wanted} arrays", str(len(given))))
        run = self._over_all_steps if self._fused() else self._step_by_step
        outputs, states = run(sequence, given, mask, training)
        if self.states is not None:
            for variable, state in zip(self.states, states, strict=True):
                state = state + 0.0 if state.node is None else state
                state.node.updates.append((variable, state.index))
        output = outputs if self.return_sequences else outputs[:, -1]
        nested = unflatten(self.state_size, states)
        nested = nested if isinstance(nested, (list, tuple)) else [nested]
        return [output, *nested] if self.return_state else output

    def _over_all_steps(self, x: Any, states: Any, mask: Any, training: bool | None) -> Any:
        if self.go_backwards:
            x, mask = x[:, ::-1], None if mask is None else mask[:, ::-1]
        final: list[Any] = []
        for cell in self._fused():
            count = len(cell.state_names)
            before = None if states is None else states[len(final) : len(final) + count]
            x, after = cell.join(x, before, mask, training, zero_output_for_mask=self.zero_output_for_mask)
            final += after
        return x, final

    def _step_by_step(self, x: Any, states: Any, mask: Any, training: bool | None) -> Any:
        steps, sizes = x.shape[1], self.state_size
        if steps is None:
            rule = "have a known number of steps with a cell of one's own"
            raise ValueError(message(self.name, "inputs", rule, f"shape {x.shape}"))
        if states is None:
            zero = ops.cast(ops.not_equal(ops.reshape(x[:, 0], (-1,))[:, :1], 0), x.dtype)
            states = [zero * np.zeros((1, size), x.dtype) for size in flatten(sizes)]
        outputs: list[Symbol] = []
        for t in reversed(range(steps)) if self.go_backwards else range(steps):
            output, after = _step(self.cell, x[:, t], unflatten(sizes, states), training)
            after = flatten(after)
            if mask is not None:
                valid = ops.expand_dims(mask[:, t], -1)
                after = [ops.where(valid, new, old) for new, old in zip(after, states, strict=True)]
                repeats = outputs and not self.zero_output_for_mask
                output = ops.where(valid, output, outputs[-1] if repeats else 0.0)
            states = after
            outputs.append(output)
        return ops.concatenate([ops.expand_dims(output, 1) for output in outputs], axis=1), states

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        mask = mask if self.return_sequences else None
        return [mask, *(None for _ in flatten(self.state_size))] if self.return_state else mask

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "cell": _described(self.cell)}


def _checked(cell: Any, kind: str, argument: str) -> Any:
    if not isinstance(cell, Layer) or not hasattr(cell, "state_size"):
        rule = "be a cell: a layer with state_size and call(inputs, states)"
        raise TypeError(message(kind, argument, rule, describe(cell)))
    return cell


def _is_fused(cell: Any) -> bool:
    """Whether it is a cell of this library, whose call nobody has changed."""
    return isinstance(cell, _Cell) and not cell.has_own_call


def _output_size(cell: Any) -> Any:
    """The size of a cell's output: by default that of its first state."""
    own = getattr(cell, "output_size", None)
    return flatten(cell.state_size)[0] if own is None else own


def _step(cell: Any, inputs: Any, states: Any, training: bool | None) -> tuple[Any, Any]:
    """One call of a cell; it leaves no trace among the cell's calls, of which there is one for each step."""
    _, named, *_ = inspect.signature(cell.call).parameters
    options = {} if training is None else {"training": training}
    given = states if isinstance(states, (list, tuple)) else [states]
    result = cell._trace(inputs, {named: given, **options})
    sizes = flatten(cell.state_size)
    if not isinstance(result, (list, tuple)) or len(flatten(result)) != 1 + len(sizes):
        got = f"{len(flatten(result))} arrays"
        raise ValueError(message(f"{cell.name}.call", "result", f"be (output, states of {sizes} units)", got))
    output, after = result
    return output, after


def _steps(cell: Any, features: tuple[int, ...]) -> Steps:
    """A cell, or cells above one another, to run one step at a time on rows of this shape."""
    if _is_fused(cell):
        return cell.stepper()  # type: ignore[no-any-return]
    if isinstance(cell, StackedRNNCells):
        shapes = [features, *((_output_size(one),) for one in cell.cells)]
        return StackedSteps(cell.name, [_steps(*one) for one in zip(cell.cells, shapes, strict=False)])

    def join(x: Symbol, states: list[Symbol]) -> tuple[Symbol, list[Symbol]]:
        output, after = _step(cell, x, unflatten(cell.state_size, states), None)
        return output, flatten(after)

    return TracedSteps(cell.name, join, features, flatten(cell.state_size), cell.dtype)


def _described(cell: Any) -> dict[str, Any]:
    return {"class_name": type(cell).__name__, "config": cell.get_config()}
