"""Stepper: a model run one step of its sequences at a time, with a state that can be kept.

The model's layers are joined once more, on Symbols without the axis of steps. A recurrent layer becomes
an operation that takes the state before and gives the one after; the plan keeps that when the whole
step has succeeded.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from fastseq import ops
from fastseq._arrays import Array, floating, integer, message, number
from fastseq._symbol import Node, Op, Symbol, Variable
from fastseq.graph import Plan
from fastseq.layers.base import Layer
from fastseq.layers.calls import LayerCall, flatten, unflatten
from fastseq.layers.core import Activation, Dense, Dropout, Embedding, Masking
from fastseq.layers.input import InputLayer
from fastseq.layers.merge import Concatenate, Dot, _Merge
from fastseq.layers.normalization import BatchNormalization, LayerNormalization
from fastseq.layers.rnn import KeepsStates, Recurrent
from fastseq.layers.steps import Steps, copy_weights
from fastseq.layers.wrappers import TimeDistributed
from fastseq.ops.arrays import ATTACHED, IDENTITY
from fastseq.ops.symbolic import DROPOUT
from fastseq.weights import read_weights, write_weights

__all__ = ["Stepper"]

_Step = Callable[[Any, Any], tuple[Array, tuple[Array, ...]]]  # (x, state) -> (output, state)

_KIND = "a model's stepper"  # what a file of states says it is


class Stepper:
    """A model that is given one step at a time. Made by ``Model.stepper``.

    It holds the weights as they were when it was made, or last refreshed. A step that fails leaves the
    state as it was. One stepper serves one thread at a time (steps taken at once may get lost, no more);
    several steppers of one model share nothing.

    Args:
        model: A built model.
        batch_size: Sequences that run side by side.
    Attributes:
        state_names: A name for each array of ``state``: the layer and the part.
    """

    def __init__(self, model: Any, batch_size: int = 1) -> None:
        self._model = model
        self.batch_size: int = number(batch_size, "stepper", "batch_size", low=1, whole=True)
        self._states: list[Variable] = []
        self.state_names: list[str] = []
        self.refresh()

    def refresh(self) -> None:
        """Takes the weights that the model has now; the state stays."""
        graph = _StepGraph(self._model, self.batch_size)
        plan = Plan(graph.inputs, graph.outputs)
        for new, old in zip(graph.states, self._states, strict=bool(self._states)):
            new.value = old.value
        self._plan, self._states, self.state_names = plan, graph.states, graph.state_names
        self._structure = self._model.output
        self._shapes = [symbol.shape for symbol in graph.inputs]
        self._dtypes = [symbol.dtype for symbol in graph.inputs]
        self._single = len(self._shapes) == 1 and isinstance(self._structure, Symbol)
        self._chain = graph.chain() if self._single else None

    def step(self, x: Any) -> Any:
        """The outputs for the next step.

        Args:
            x: (batch, features), or (batch,) ids where the model starts with an Embedding; the structure
                of them that the model's inputs have.
        Returns:
            (batch, ...): ``predict`` for all steps so far gives the same at its last one. A masked step
            keeps the state and gives what the model's layers give for one.
        Raises:
            TypeError: Something is not an array of real numbers.
            ValueError: Shapes disagree, or an id is out of range.
        """
        if self._chain is not None:
            return self._through_chain(x)
        if self._single:
            return self._plan.run((self._input(0, x),))[0]
        given = self._leaves(x)
        if len(given) != len(self._shapes):
            raise ValueError(message("stepper", "x", f"be {len(self._shapes)} arrays", str(len(given))))
        outputs = self._plan.run([self._input(k, value) for k, value in enumerate(given)])
        return unflatten(self._structure, outputs)

    def _through_chain(self, x: Any) -> Array:
        """The step of recurrent layers one after another: what the plan does, in a third of the time."""
        assert self._chain is not None
        value = x if type(x) is np.ndarray and x.shape == self._shapes[0] else self._input(0, x)
        after: list[Array] = []
        for take, states in self._chain:
            value, state = take(value, tuple([variable.value for variable in states]))
            after += state
        for variable, array in zip(self._states, after, strict=True):
            variable.value = array
        return value

    def _leaves(self, x: Any) -> list[Any]:
        if isinstance(self._model.input, Symbol):
            return [x]
        names = self._model.input_names
        if isinstance(x, dict):
            if set(x) != set(names):
                raise ValueError(message("stepper", "x", f"have the keys {names}", str(sorted(x))))
            return [x[name] for name in names]
        return list(x)

    def _input(self, k: int, value: Any) -> Array:
        if self._plan.integer_inputs[k]:
            array = integer(value, "stepper", "x")
        else:
            array = floating(value, "stepper", "x", dtype=self._dtypes[k])
        shape = self._shapes[k]
        if array.shape != shape:
            known = len(array.shape) == len(shape) and None in shape
            if not known or any(m not in (None, n) for m, n in zip(shape, array.shape, strict=True)):
                raise ValueError(message("stepper", "x", f"have shape {shape}", str(array.shape)))
        return array

    @property
    def state(self) -> list[Array]:
        """Copies of all that is kept between steps, in the order of ``state_names``; set it to go on.

        Raises:
            TypeError: Set to something that is not arrays of real numbers.
            ValueError: Set to another number of arrays, or to other shapes.
        """
        return [variable.numpy() for variable in self._states]

    @state.setter
    def state(self, values: Sequence[Any]) -> None:
        values = list(values)
        if len(values) != len(self._states):
            raise ValueError(message("stepper", "state", f"be {len(self._states)} arrays", str(len(values))))
        made = []
        for name, variable, value in zip(self.state_names, self._states, values, strict=True):
            array = np.array(floating(value, "stepper", name, dtype=variable.dtype))
            if array.shape != variable.shape:
                raise ValueError(message("stepper", name, f"have shape {variable.shape}", str(array.shape)))
            made.append(array)
        for variable, array in zip(self._states, made, strict=True):
            variable.value = array

    def reset(self) -> None:
        """Starts new sequences: the state is 0 again."""
        for variable in self._states:
            variable.value = np.zeros_like(variable.value)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the state into a safetensors file; ``path`` holds either what it held or all of it.

        Raises:
            OSError: The file cannot be written.
        """
        write_weights(path, dict(zip(self.state_names, self.state, strict=True)), {"holds": _KIND})

    def load(self, path: str | os.PathLike[str]) -> None:
        """Goes on from a state that ``save`` wrote, of a model with the same layers and batch size.

        Raises:
            OSError: The file cannot be read.
            ValueError: It is no such file, or of another model or batch size.
        """
        values, configuration = read_weights(path)
        if configuration.get("holds") != _KIND or set(values) != set(self.state_names):
            names = ", ".join(self.state_names)
            got = ", ".join(sorted(values))
            raise ValueError(message("stepper", "path", f"hold the state of {names}", f"{got or 'none'}"))
        self.state = [values[name] for name in self.state_names]


class _StepGraph:
    """A model's graph for one step.

    Attributes:
        inputs: Symbols of one step's inputs.
        outputs: Symbols of its outputs.
        states: The Variables in which the plan keeps the states.
        state_names: A name for each.
    """

    def __init__(self, model: Any, batch: int) -> None:
        self._batch = batch
        self._steps: dict[Node, tuple[_Step, list[Variable]]] = {}
        self.states: list[Variable] = []
        self.state_names: list[str] = []
        self.inputs = []
        made: dict[Symbol, Symbol] = {}
        for symbol in model.inputs:
            if symbol.ndim < 2:
                rule = "have shape (batch, steps, ...)"
                raise ValueError(message("stepper", "inputs", rule, f"shape {symbol.shape}"))
            made[symbol] = Symbol((batch, *symbol.shape[2:]), symbol.dtype)
            self.inputs.append(made[symbol])
        self.outputs = self._rejoin(model.outputs, made)
        copy_weights(self.outputs, but=self.states)  # as recurrent layers have copies of theirs

    def _rejoin(self, outputs: Sequence[Symbol], made: dict[Symbol, Symbol]) -> list[Symbol]:
        """One step's Symbols for ``outputs``, from those in ``made``."""
        stack = list(outputs)
        while stack:
            symbol = stack[-1]
            if symbol in made:
                stack.pop()
                continue
            call = symbol.call
            if call is None or isinstance(call.layer, InputLayer):
                got = symbol.node.op.name if symbol.node else "an input"
                rule = "be made of layers that work step by step"
                raise ValueError(message("stepper", "the model", rule, got))
            if missing := [value for value in call.inputs if value not in made]:
                stack += missing
            else:
                made.update(zip(call.outputs, self._one_step(call, made), strict=True))
        return [made[symbol] for symbol in outputs]

    def _one_step(self, call: LayerCall, made: dict[Symbol, Symbol]) -> list[Symbol]:
        layer = call.layer
        inputs = [made[symbol] for symbol in flatten(call.arguments)]
        if (graph := getattr(layer, "outputs", None)) is not None:  # a model within
            return self._rejoin(graph, dict(zip(layer.inputs, inputs, strict=True)))  # type: ignore[attr-defined]
        if not inputs[0].shape[1:] and not isinstance(layer, Embedding):
            _refuse(layer, " on inputs without features")
        if isinstance(layer, KeepsStates):
            return self._recurrent(layer, call, inputs, made)
        if isinstance(layer, Masking):
            mask = ops.any_not_equal(inputs[0], layer.mask_value)
            output = ops.masked(inputs[0], mask)
            output.mask = mask
            return [output]
        if isinstance(layer, TimeDistributed):
            (inner,) = flatten(layer.layer._trace(ops.identity(inputs[0]), {}))
            inner.mask = inputs[0].mask
            return [inner]
        if isinstance(layer, Concatenate):
            first = flatten(call.arguments)[0]
            if layer.axis not in (-1, first.ndim - 1):
                _refuse(layer, f" with axis={layer.axis}")
            output = ops.concatenate(inputs)
            output.mask = layer.compute_mask(inputs, [symbol.mask for symbol in inputs])
            return [output]
        if isinstance(layer, (BatchNormalization, LayerNormalization)):
            axes = layer.axis if isinstance(layer.axis, list) else [layer.axis]
            if not all(
                1 - inputs[0].ndim <= axis < 0 for axis in axes
            ):  # named from the end, without the steps
                _refuse(layer, f" with axis={layer.axis}")
        elif isinstance(layer, Dot) or not isinstance(layer, (Activation, Dense, Dropout, Embedding, _Merge)):
            _refuse(layer, "")
        return flatten(layer._trace(unflatten(call.arguments, inputs), {}))

    def _recurrent(
        self, layer: KeepsStates, call: LayerCall, inputs: list[Symbol], made: Mapping[Symbol, Symbol]
    ) -> list[Symbol]:
        if layer.go_backwards:
            _refuse(layer, " with go_backwards=True")
        if layer.has_own_call:
            _refuse(layer, " with a call of its own")
        if len(inputs) > 1 or call.options.get("initial_state") is not None:
            _refuse(layer, " with an initial_state")
        x = inputs[0]
        given = call.options.get("mask")
        mask = x.mask if given is None else made[given]
        steps = layer.stepper()
        row = call.outputs[0].shape[2 if layer.return_sequences else 1 :]
        # a masked step shows the output before it, which h is where a fused layer's last one is asked for
        is_h = isinstance(layer, Recurrent) and not layer.return_sequences
        repeats = mask is not None and not layer.zero_output_for_mask and not is_h
        shapes = [("output", row)] if repeats else []
        shapes += [(name, (size,)) for name, size in layer.state_sizes()]
        states = [self._state(layer, name, shape, steps.dtype) for name, shape in shapes]
        node = Node(_recurrent_op(steps, repeats, layer, row, states), (x, mask, *states), {})
        node.updates = [(variable, k + 1) for k, variable in enumerate(states)]
        if mask is None and not layer.return_state:
            self._steps[node] = steps.step, states
        output, *shown = node.outputs[0], *node.outputs[1 + len(states) :]
        if layer.return_sequences:
            output.mask = mask
        return [output, *shown]

    def chain(self) -> list[tuple[_Step, list[Variable]]] | None:
        """(a layer's step, its states) where the graph is recurrent layers one after another, else None."""
        found: list[tuple[_Step, list[Variable]]] = []
        symbol = self.outputs[0]
        while (node := symbol.node) is not None:
            if node in self._steps:
                found.append(self._steps[node])
            elif node.op not in (IDENTITY, ATTACHED) and (node.op is not DROPOUT or node.random):
                return None
            symbol = node.inputs[0]
        # in the order of the states: a layer that nothing reads has states too
        found.reverse()
        return found if [v for _, states in found for v in states] == self.states else None

    def _state(self, layer: Layer, part: str, shape: tuple[Any, ...], dtype: Any) -> Variable:
        name = f"{layer.name}/{part}"
        uses = sum(other == name or other.startswith(f"{name}_") for other in self.state_names)
        self.state_names.append(f"{name}_{uses}" if uses else name)
        zeros = np.zeros((self._batch, *shape), dtype)
        self.states.append(Variable(zeros, self.state_names[-1], trainable=False))
        return self.states[-1]


def _refuse(layer: Layer, how: str) -> None:
    got = f"{layer.name} ({type(layer).__name__}){how}"
    raise ValueError(message("stepper", "layers", "work step by step", got))


def _recurrent_op(
    steps: Steps, repeats: bool, layer: KeepsStates, row: tuple[Any, ...], kept: Sequence[Variable]
) -> Op:
    """One step of a recurrent layer: (output, *kept) from x, the mask and what was kept before it.

    What ``return_state`` shows are copies: nobody but the plan holds what is kept.

    Args:
        steps: Takes them.
        repeats: Whether the output is kept before the states, since a masked step shows it again.
        layer: Whose step it is.
        row: The shape of an output's row.
        kept: The Variables.
    """
    step, shows = steps.step, layer.return_state

    def forward(x: Array, mask: Array | None, *before: Array, training: bool = False) -> tuple[Any, ...]:
        if mask is None:
            output, state = step(x, before)
            if shows:
                return (output, *state, *(part.copy() for part in state), None)
            return (output, *state, None)
        states = before[1:] if repeats else before
        output, state = step(x, states)
        keep = mask[:, None]
        after = [np.where(keep, new, old) for new, old in zip(state, states, strict=True)]
        # a masked step shows the output before it; or 0; or, where only the last output counts, the state
        zero = layer.zero_output_for_mask
        hidden = before[0] if repeats else output.dtype.type(0) if zero else states[0]
        output = np.where(keep, output, hidden)
        shown = [part.copy() for part in after] if shows else []
        return (output, *((output.copy(),) if repeats else ()), *after, *shown, None)

    def bind(**_: Any) -> Any:
        return forward

    def infer(x: Any, *_: Any) -> Any:
        shapes = [variable.shape for variable in kept]
        shown = shapes[repeats:] if shows else []
        return tuple((shape, steps.dtype) for shape in [(x.shape[0], *row), *shapes, *shown])

    arguments = ("x", "mask", *(f"kept_{k}" for k in range(len(kept))))
    return Op("recurrent_step", arguments, forward, infer, bind=bind)
