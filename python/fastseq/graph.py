"""Plans: a graph of Symbols made into flat lists of calls, forward and backward, and the flat buffers
in which weights and their gradients lie.

A plan is made once per (outputs, training) and holds no sizes: it runs on any batch. The steps are
plain tuples, every array has a numbered slot, and nothing is checked again while it runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from operator import itemgetter
from typing import Any

import numpy as np

from fastseq._arrays import Array
from fastseq._symbol import Node, Op, RandomSeed, Symbol, Variable, apply
from fastseq.ops import arrays, batch_norm, conv, pool, symbolic

__all__ = ["Head", "Plan", "activation_before", "attached_losses", "pack", "segments"]

# --- flat buffers ---------------------------------------------------------------------------------

ALIGNMENT = 64  # bytes: a cache line, and the widest register


def _aligned_zeros(size: int, dtype: np.dtype[Any]) -> Array:
    raw = np.zeros(size * dtype.itemsize + ALIGNMENT, np.uint8)
    offset = -raw.ctypes.data % ALIGNMENT
    return raw[offset : offset + size * dtype.itemsize].view(dtype)


class _Store:
    """One flat buffer of values and one of gradients; variables are views at 64-byte steps."""

    def __init__(self, variables: Sequence[Variable], dtype: np.dtype[Any]) -> None:
        step = ALIGNMENT // dtype.itemsize
        sizes = [-(-variable.value.size // step) * step for variable in variables]
        self.values = _aligned_zeros(sum(sizes), dtype)
        self.gradients = _aligned_zeros(sum(sizes), dtype)
        begin = 0
        for variable, size in zip(variables, sizes, strict=True):
            shape, end = variable.value.shape, begin + variable.value.size
            view = self.values[begin:end].reshape(shape)
            view[...] = variable.value
            variable.value = view
            variable.gradient = self.gradients[begin:end].reshape(shape)
            variable.place = (self, begin, begin + size)
            begin += size


def pack(variables: Iterable[Variable]) -> None:
    """Moves variables into flat buffers, one per dtype, each with a buffer of gradients (all 0).

    Those that have a place already keep it, for good: plans remember where they are.
    """
    by_dtype: dict[np.dtype[Any], list[Variable]] = {}
    for variable in dict.fromkeys(variables):
        if variable.place is None:
            by_dtype.setdefault(variable.dtype, []).append(variable)
    for dtype, group in by_dtype.items():
        _Store(group, dtype)


def segments(variables: Iterable[Variable], merge: bool = True) -> list[tuple[Array, Array]]:
    """(value, gradient) flat arrays that cover packed ``variables``; neighbours are one segment.

    Args:
        variables: Packed variables, each counted once.
        merge: False gives one segment per variable, for settings that differ between them.
    """
    spans: list[tuple[_Store, int, int]] = []
    for variable in dict.fromkeys(variables):
        assert variable.place is not None
        store, begin, end = variable.place
        if merge and spans and spans[-1][0] is store and spans[-1][2] == begin:
            spans[-1] = (store, spans[-1][1], end)
        else:
            spans.append((store, begin, end if merge else begin + variable.value.size))
    return [(store.values[begin:end], store.gradients[begin:end]) for store, begin, end in spans]


# --- from Symbols to instructions -----------------------------------------------------------------


class _Instruction:
    """One call of an operation: numbers of slots in, numbers of slots out."""

    __slots__ = ("inputs", "op", "options", "outputs", "updates")

    def __init__(self, op: Op, inputs: list[int], options: dict[str, Any], outputs: list[int]) -> None:
        self.op = op
        self.inputs = inputs
        self.options = options
        self.outputs = outputs
        self.updates: list[tuple[Variable, int]] = []


class Head:
    """A loss on one output of a plan.

    Attributes:
        output: The Symbol that is compared with the target.
        loss: ``loss(prediction, target, weights, mask, from_logits, want_gradient)`` -> (a number,
            its gradient with respect to the prediction, or None); see ``losses.Loss.measure``.
        absorbs: The activation (see ``activation_before``) whose input the loss reads instead of the
            output where it is what made the output, or None.
        keep: Whether the output's own values are needed besides (for metrics).
        target: The Symbol that stands for the target where the graph computes with it, or None.
    """

    def __init__(
        self,
        output: Symbol,
        loss: Callable[..., Any],
        absorbs: str | None = None,
        keep: bool = True,
        target: Symbol | None = None,
    ) -> None:
        self.output = output
        self.loss = loss
        self.absorbs = absorbs
        self.keep = keep
        self.target = target


def activation_before(output: Symbol) -> tuple[str, Symbol]:
    """What made the rows of ``output``: the name of an activation, and what that was given.

    Slices, reshapes and the like that leave the last axis alone are followed, and done to what the
    activation was given. A Dense or Conv2D without one is "linear" and gives ``output`` itself; another
    operation gives its own name, a model's input "input".
    """
    moves = []
    node = output.node
    while node is not None and arrays.moves_rows(node):
        moves.append(node)
        node = node.inputs[0].node
    if node is None:
        return "input", output
    if node.op not in (symbolic.SOFTMAX, symbolic.ACTIVATION):
        linear = node.op in PRODUCTS and node.options["activation"] == "linear"
        return "linear" if linear else node.op.name, output
    source = node.inputs[0]
    for move in reversed(moves):
        source = apply(move.op, (source, *move.inputs[1:]), move.options)
    return "softmax" if node.op is symbolic.SOFTMAX else node.options["name"], source


def attached_losses(outputs: Iterable[Symbol]) -> list[Symbol]:
    """What layers on the way to ``outputs`` add to the loss, each once."""
    found: dict[Any, None] = {}
    seen: set[Node] = set()
    stack = [symbol.node for symbol in outputs]
    while stack:
        node = stack.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if node.op is arrays.ATTACHED:
            found[node.inputs[1]] = None
        stack += [value.node for value in node.inputs if isinstance(value, Symbol)]
    return list(found)


class _Program:
    """Instructions in order, while they are still being changed."""

    def __init__(self, inputs: Sequence[Symbol], training: bool) -> None:
        self.training = training
        self.size = 0
        self.slot_of: dict[Any, int] = {}
        self.constants: dict[int, Any] = {}
        self.variables: dict[int, Variable] = {}
        self.seeds: list[tuple[int, RandomSeed, int]] = []
        self.instructions: list[_Instruction] = []
        self.inputs = [self._new(symbol) for symbol in inputs]
        self.none = self._constant(None)

    def _new(self, key: Any = None) -> int:
        slot = self.size
        self.size += 1
        if key is not None:
            self.slot_of[key] = slot
        return slot

    def _constant(self, value: Any) -> int:
        slot = self._new()
        self.constants[slot] = value
        return slot

    def _input(self, value: Any) -> int:
        """The slot of one input of a node."""
        if isinstance(value, Symbol):
            return self.slot_of[value]
        if value is None:
            return self.none
        if isinstance(value, Variable):
            if value not in self.slot_of:
                self.variables[self._new(value)] = value
            return self.slot_of[value]
        if isinstance(value, RandomSeed):
            use = sum(1 for _, seed, _ in self.seeds if seed is value)
            self.seeds.append((self._new(), value, use))
            return self.size - 1
        return self._constant(value)

    def add(self, symbols: Iterable[Symbol]) -> None:
        """Adds what computes ``symbols``, each node once, inputs before users."""
        stack = [(symbol, False) for symbol in reversed(list(symbols))]
        while stack:
            symbol, ready = stack.pop()
            if symbol in self.slot_of:
                continue
            node = symbol.node
            if node is None:
                raise ValueError(
                    f"Model: outputs must be computed from the inputs, got one that needs {symbol}"
                )
            if ready:
                self._emit(node)
            else:
                stack.append((symbol, True))
                stack.extend((s, False) for s in reversed(node.inputs) if isinstance(s, Symbol))

    def _emit(self, node: Node) -> None:
        op, options, inputs = node.op, dict(node.options), list(node.inputs)
        if op in (arrays.IDENTITY, arrays.ATTACHED):
            self.slot_of[node.outputs[0]] = self.slot_of[inputs[0]]
            return
        if "seed" in op.arguments and inputs[op.arguments.index("seed")] is not None:
            if self.training if node.random is None else node.random:
                options["training"] = True
            elif op is symbolic.DROPOUT:
                self.slot_of[node.outputs[0]] = self.slot_of[inputs[0]]
                return
            else:
                options.update(dropout=0.0, recurrent_dropout=0.0)
                inputs[op.arguments.index("seed")] = None
        updates = node.updates
        if op is batch_norm.BATCH_NORM:
            frozen = options.pop("frozen")()
            options["measure"] = not frozen and (self.training if node.random is None else node.random)
            updates = updates if options["measure"] else []
        slots = [self._input(value) for value in inputs]
        instruction = _Instruction(op, slots, options, [self._new(symbol) for symbol in node.outputs])
        instruction.updates = [(variable, instruction.outputs[index]) for variable, index in updates]
        self.instructions.append(instruction)

    # What follows changes the instructions; ``needed`` are the slots that somebody outside reads.

    def maker(self, slot: int, op: Op) -> _Instruction | None:
        """The instruction of ``op`` that makes ``slot``, if that is what makes it."""
        return next((i for i in self.instructions if i.op is op and i.outputs[0] == slot), None)

    def is_whole(self, slot: int) -> bool:
        """Whether ``slot`` is read, and only where whole numbers are wanted."""
        uses = [
            name in i.op.whole
            for i in self.instructions
            for name, used in zip(i.op.arguments, i.inputs, strict=True)
            if used == slot
        ]
        return bool(uses) and all(uses)

    def users(self, slot: int, needed: Sequence[int]) -> int:
        uses = sum(i.inputs.count(slot) + sum(s == slot for _, s in i.updates) for i in self.instructions)
        return uses + list(needed).count(slot)

    def fuse_repeat(self) -> None:
        """A recurrent layer after RepeatVector takes the row itself, and how often."""
        for instruction in self.instructions:
            if instruction.op in RECURRENT and (made := self.maker(instruction.inputs[0], arrays.REPEAT)):
                instruction.inputs[0] = made.inputs[0]
                instruction.options["repeat"] = made.options["n"]

    def fuse_activation(self, needed: Sequence[int]) -> None:
        """Dense or Conv2D followed by nothing but an activation applies it itself."""
        for instruction in list(self.instructions):
            if instruction.op is not symbolic.ACTIVATION:
                continue
            made = next(filter(None, (self.maker(instruction.inputs[0], op) for op in PRODUCTS)), None)
            if made and made.options["activation"] == "linear" and self.users(made.outputs[0], needed) == 1:
                made.options["activation"] = instruction.options["name"]
                made.outputs = instruction.outputs
                self.instructions.remove(instruction)

    def fuse_pooling(self, needed: Sequence[int]) -> None:
        """Conv2D followed by nothing but the maxima of its blocks makes only those."""
        for instruction in list(self.instructions):
            if instruction.op is not pool.MAX_POOL2D:
                continue
            made = self.maker(instruction.inputs[0], conv.CONV2D)
            if (
                made
                and self.users(made.outputs[0], needed) == 1
                and conv.pools(made.options, instruction.options)
            ):
                made.options["pool_size"] = instruction.options["pool_size"]
                made.outputs = instruction.outputs
                self.instructions.remove(instruction)

    def drop_unused(self, needed: Sequence[int]) -> None:
        """Leaves out what nobody reads; a recurrent layer whose sequence is unread makes none."""
        read = set(needed)
        kept = []
        for instruction in reversed(self.instructions):
            if instruction.updates or not read.isdisjoint(instruction.outputs):
                read.update(instruction.inputs)
                read.update(slot for _, slot in instruction.updates)
                kept.append(instruction)
        self.instructions = kept[::-1]
        self.seeds = [entry for entry in self.seeds if entry[0] in read]
        for instruction in self.instructions:
            if instruction.op in RECURRENT and instruction.outputs[0] not in read:
                instruction.options["return_sequence"] = False

    def fuse_directions(self) -> None:
        """Two recurrent layers over the same input, once in either direction, run at once."""
        for second in list(self.instructions):
            first = self._other_direction(second)
            if first is None:
                continue
            second.op, options = symbolic.TWO_AT_ONCE[second.op], second.options
            second.options = {"first": first.options, "second": options}
            second.inputs = first.inputs + second.inputs
            second.outputs = first.outputs + second.outputs
            second.updates = first.updates + second.updates
            self.instructions.remove(first)

    def _other_direction(self, second: _Instruction) -> _Instruction | None:
        """What could as well run at the time of ``second``, and shares no weights with it."""
        if second.op not in RECURRENT:
            return None
        at = self.instructions.index(second)
        for place in range(at - 1, -1, -1):
            first = self.instructions[place]
            if first.op is not second.op or first.inputs[0] != second.inputs[0]:
                continue
            opposite = first.options.get("go_backwards", False) != second.options.get("go_backwards", False)
            shared = set(first.inputs) & set(second.inputs) & set(self.variables)
            readers = self.instructions[place + 1 : at + 1]
            read = any(not set(first.outputs).isdisjoint(reader.inputs) for reader in readers)
            if opposite and not shared and not read:
                return first
        return None


PRODUCTS = (symbolic.DENSE, conv.CONV2D)  # what applies an activation itself
RECURRENT = (symbolic.LSTM, symbolic.GRU, symbolic.SIMPLE_RNN)


# --- plans ----------------------------------------------------------------------------------------

# What a backward step does with a gradient: it is the first, or is added to the one there, in place
# where nobody else holds that one.
_ASSIGN, _ADD, _ADD_IN_PLACE = range(3)


def _pick(indices: Sequence[int]) -> Callable[[list[Any]], tuple[Any, ...]]:
    """Takes the entries ``indices`` of a list, as a tuple."""
    if len(indices) == 1:
        (only,) = indices
        return lambda values: (values[only],)
    return itemgetter(*indices)


class Plan:
    """The computation of some outputs from some inputs, ready to run on any batch.

    Args:
        inputs: The model's inputs.
        outputs: What is computed.
        training: Whether random operations are random and, with ``heads``, whether ``step`` makes
            gradients.
        heads: Losses; an output whose head is not to be kept may come out as logits.
        wanted: The variables whose gradients ``step`` adds to, all of them packed.
    Attributes:
        outputs: The numbers of the slots that hold the outputs.
        integer_inputs: For each input, whether it is only used as ids (so that it may stay integer).
        operations: (name, options) of what runs forward, in order.
        backward_operations: (name, gradients wanted, those of them added in place) in order.
    """

    def __init__(
        self,
        inputs: Sequence[Symbol],
        outputs: Sequence[Symbol],
        *,
        training: bool = False,
        heads: Sequence[Head] = (),
        wanted: Iterable[Variable] = (),
    ) -> None:
        targets = [(place, head.target) for place, head in enumerate(heads) if head.target is not None]
        program = _Program([*inputs, *(symbol for _, symbol in targets)], training)
        masks = [head.output.mask for head in heads]
        read = [self._read_by(head) for head in heads]
        program.add([*outputs, *(symbol for symbol, _ in read), *(m for m in masks if m is not None)])
        output_slots = [program.slot_of[symbol] for symbol in outputs]
        mask_slots = [None if mask is None else program.slot_of[mask] for mask in masks]

        program.fuse_repeat()
        sources = [(program.slot_of[symbol], logits) for symbol, logits in read]
        for head, (source, _) in zip(heads, sources, strict=True):
            if not head.keep and (slot := program.slot_of.get(head.output)) is not None:
                output_slots = [source if s == slot else s for s in output_slots]
        needed = output_slots + [source for source, _ in sources] + [s for s in mask_slots if s is not None]
        program.fuse_activation(needed)
        program.fuse_pooling(needed)
        program.drop_unused(needed)
        program.fuse_directions()

        self.training = training
        self._has_heads = bool(heads)
        self._loose: list[tuple[Any, int]] = []
        self._lay_out(program)
        number = self._number
        self._targets_read = [place for place, _ in targets]
        self.integer_inputs = [program.is_whole(slot) for slot in program.inputs[: len(inputs)]]
        self.outputs = [number[slot] for slot in output_slots]
        self._heads = [
            (head.loss, number[slot], logits, None if mask is None else number[mask])
            for head, (slot, logits), mask in zip(heads, sources, mask_slots, strict=True)
        ]
        self.operations: list[tuple[str, dict[str, Any]]] = []
        self.backward_operations: list[tuple[str, tuple[str, ...], dict[str, Array]]] = []
        self._forward = [self._forward_step(instruction) for instruction in program.instructions]
        self._backward: list[tuple[Any, ...]] = []
        self._wanted = list(dict.fromkeys(wanted))
        if heads and training:
            self._plan_backward(program, {slot for slot, _ in sources})

    @staticmethod
    def _read_by(head: Head) -> tuple[Symbol, bool]:
        """(what the loss reads, whether that is the input of the activation it absorbs)."""
        if head.absorbs is not None:
            name, source = activation_before(head.output)
            if name == head.absorbs:
                return source, True
        return head.output, False

    def _lay_out(self, program: _Program) -> None:
        """Numbers the slots: an instruction's outputs and what it saves are neighbours; the second
        half of the list holds the gradients of the first."""
        slots = [*program.inputs, *program.constants, *program.variables]
        slots += [slot for slot, _, _ in program.seeds]
        number = {slot: index for index, slot in enumerate(slots)}
        size = len(number)
        for instruction in program.instructions:
            for slot in instruction.outputs:
                number[slot] = size
                size += 1
            size += 1  # what it saves
        self._number = number
        self._size = size
        self._template: list[Any] = [None] * (2 * size)
        for slot, value in program.constants.items():
            self._template[number[slot]] = value
        self._live = []
        for slot, variable in program.variables.items():
            if variable.place is None:
                self._live.append((number[slot], variable))
            else:
                self._template[number[slot]] = variable.value
        self._inputs = [number[slot] for slot in program.inputs]
        self._seeds = [(number[slot], seed, use) for slot, seed, use in program.seeds]
        self._spent = list(dict.fromkeys(seed for _, seed, _ in program.seeds))
        self._updates = [(v, number[s]) for i in program.instructions for v, s in i.updates]

    def _forward_step(self, instruction: _Instruction) -> tuple[Any, ...]:
        first = self._number[instruction.outputs[0]]
        take = _pick([self._number[slot] for slot in instruction.inputs])
        options = {"training": self.training and self._has_heads, **instruction.options}
        op = instruction.op
        self.operations.append((op.name, options))
        return first, first + len(instruction.outputs) + 1, op.bound(options), take

    def _plan_backward(self, program: _Program, reached: set[int]) -> None:
        """Backward steps for what lies between the wanted variables and the heads, and no more."""
        number, wanted = self._number, set(self._wanted)
        grows = {slot for slot, variable in program.variables.items() if variable in wanted}
        for i in program.instructions:  # slots whose values depend on a wanted variable
            names = zip(i.op.arguments, i.inputs, strict=True)
            if any(slot in grows and name in i.op.differentiable for name, slot in names):
                grows.update(i.outputs)
        owned: set[int] = set()  # slots whose gradient nobody else holds
        for i in reversed(program.instructions):
            if not i.op.has_backward or reached.isdisjoint(i.outputs):
                continue
            asked: list[str] = []
            into: dict[str, Array] = {}
            targets: list[tuple[str, int, int]] = []
            for name, slot in zip(i.op.arguments, i.inputs, strict=True):
                if name not in i.op.differentiable or slot not in grows:
                    continue
                asked.append(name)
                variable = program.variables.get(slot)
                if variable is not None and i.op.adds:
                    assert variable.gradient is not None
                    into[name] = variable.gradient
                    continue
                how = _ADD_IN_PLACE if slot in owned else _ADD if slot in reached else _ASSIGN
                targets.append((name, number[slot] + self._size, how))
                if i.op.fresh or how != _ASSIGN:
                    owned.add(slot)
                reached.add(slot)
            if asked:
                saved = number[i.outputs[-1]] + 1
                take = _pick([saved, *(number[slot] + self._size for slot in i.outputs)])
                self.backward_operations.append((i.op.name, tuple(asked), into))
                function = i.op.bound_backward(tuple(asked), into)
                self._backward.append((function, take, tuple(targets)))
        self._loose = [
            (variable.gradient, number[slot] + self._size)
            for slot, variable in program.variables.items()
            if slot in reached
        ]

    def forward(self, inputs: Sequence[Array], targets: Sequence[Array] = ()) -> list[Any]:
        """Runs forward; the slots that ``outputs`` names hold the outputs afterwards.

        Args:
            inputs: One array per input.
            targets: One per head; of a plan without heads, none.
        """
        slots = self._template.copy()
        arrays = [*inputs, *(targets[place] for place in self._targets_read)]
        for slot, array in zip(self._inputs, arrays, strict=True):
            slots[slot] = array
        for slot, variable in self._live:
            slots[slot] = variable.value
        for slot, seed, use in self._seeds:
            slots[slot] = seed.seed(use)
        for first, last, function, take in self._forward:
            slots[first:last] = function(*take(slots))
        return slots

    def measure(
        self, slots: list[Any], targets: Sequence[Array], weights: Sequence[Array | None]
    ) -> list[float]:
        """The losses of the heads, one number each; in training their gradients go into ``slots``."""
        values = []
        for (loss, slot, logits, mask), target, weight in zip(self._heads, targets, weights, strict=True):
            value, gradient = loss(
                slots[slot], target, weight, None if mask is None else slots[mask], logits, self.training
            )
            values.append(value)
            if gradient is not None:
                at = slot + self._size
                slots[at] = gradient if slots[at] is None else slots[at] + gradient
        return values

    def mask(self, slots: list[Any], head: int) -> Array | None:
        """The mask of the output of head number ``head``, after ``forward``."""
        slot = self._heads[head][3]
        return None if slot is None else slots[slot]

    def backward(self, slots: list[Any]) -> None:
        """Adds the gradients of the sum of the losses to the gradients of the wanted variables."""
        for function, take, targets in self._backward:
            gradients = function(*take(slots))
            for name, slot, how in targets:
                if how == _ASSIGN:
                    slots[slot] = getattr(gradients, name)
                elif how == _ADD:
                    slots[slot] = slots[slot] + getattr(gradients, name)
                else:
                    slots[slot] += getattr(gradients, name)
        for gradient, slot in self._loose:
            gradient += slots[slot]

    def commit(self, slots: list[Any]) -> None:
        """Keeps what the step leaves behind: new states, and seeds that are used up."""
        for variable, slot in self._updates:
            variable.value = slots[slot]
        for seed in self._spent:
            seed.advance()

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """The outputs."""
        slots = self.forward(inputs)
        self.commit(slots)
        return [slots[slot] for slot in self.outputs]

    def step(
        self, inputs: Sequence[Array], targets: Sequence[Array], weights: Sequence[Array | None]
    ) -> tuple[list[float], list[Any]]:
        """Forward, losses, backward: (the losses, the slots). A step that fails leaves no trace."""
        slots = self.forward(inputs, targets)
        values = self.measure(slots, targets, weights)
        try:
            self.backward(slots)
        except BaseException:
            for variable in self._wanted:
                variable.gradient.fill(0)  # type: ignore[union-attr]
            raise
        self.commit(slots)
        return values, slots
