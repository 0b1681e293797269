"""Plans: a program made into flat lists of calls, forward and backward.

A plan is made once per (outputs, training) and holds no sizes: it runs on any batch. The steps are
plain tuples, every array has a numbered slot, and nothing is checked again while it runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from operator import itemgetter
from typing import Any

from fastseq._arrays import Array
from fastseq._symbol import Symbol, Variable
from fastseq.graph.program import Instruction, Program, activation_before

__all__ = ["Head", "Plan"]

# What a backward step does with a gradient: it is the first, or is added to the one there, in place
# where nobody else holds that one.
_ASSIGN, _ADD, _ADD_IN_PLACE = range(3)


def _pick(indices: Sequence[int]) -> Callable[[list[Any]], tuple[Any, ...]]:
    """Takes the entries ``indices`` of a list, as a tuple."""
    if len(indices) == 1:
        (only,) = indices
        return lambda values: (values[only],)
    return itemgetter(*indices)


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
        program = Program([*inputs, *(symbol for _, symbol in targets)], training)
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
        if not training:
            program.keep_weights()
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

    def _lay_out(self, program: Program) -> None:
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

    def _forward_step(self, instruction: Instruction) -> tuple[Any, ...]:
        first = self._number[instruction.outputs[0]]
        take = _pick([self._number[slot] for slot in instruction.inputs])
        options = {"training": self.training and self._has_heads, **instruction.options}
        op = instruction.op
        self.operations.append((op.name, options))
        return first, first + len(instruction.outputs) + 1, op.bound(options), take

    def _plan_backward(self, program: Program, reached: set[int]) -> None:
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
        arrays = inputs
        if self._targets_read:
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
