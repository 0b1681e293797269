"""Programs: a graph of Symbols made into a list of instructions, and what is fused in or left out of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from fastseq._symbol import Node, Op, RandomSeed, Symbol, Variable, apply
from fastseq.ops import arrays, batch_norm, conv, pool, symbolic

__all__ = ["Instruction", "Program", "activation_before", "attached_losses"]

PRODUCTS = (symbolic.DENSE, conv.CONV2D)  # what applies an activation itself
RECURRENT = (symbolic.LSTM, symbolic.GRU, symbolic.SIMPLE_RNN)


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


class Instruction:
    """One call of an operation: numbers of slots in, numbers of slots out."""

    __slots__ = ("inputs", "op", "options", "outputs", "updates")

    def __init__(self, op: Op, inputs: list[int], options: dict[str, Any], outputs: list[int]) -> None:
        self.op = op
        self.inputs = inputs
        self.options = options
        self.outputs = outputs
        self.updates: list[tuple[Variable, int]] = []


class Program:
    """Instructions in order, while they are still being changed."""

    def __init__(self, inputs: Sequence[Symbol], training: bool) -> None:
        self.training = training
        self.size = 0
        self.slot_of: dict[Any, int] = {}
        self.constants: dict[int, Any] = {}
        self.variables: dict[int, Variable] = {}
        self.seeds: list[tuple[int, RandomSeed, int]] = []
        self.instructions: list[Instruction] = []
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
        instruction = Instruction(op, slots, options, [self._new(symbol) for symbol in node.outputs])
        instruction.updates = [(variable, instruction.outputs[index]) for variable, index in updates]
        self.instructions.append(instruction)

    # What follows changes the instructions; ``needed`` are the slots that somebody outside reads.

    def maker(self, slot: int, op: Op) -> Instruction | None:
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

    def keep_weights(self) -> None:
        """Recurrent layers that only predict keep their weights packed from call to call."""
        for instruction in self.instructions:
            if instruction.op in RECURRENT and not instruction.options.get("training"):
                weights = instruction.inputs[1:4]
                if all(slot in self.variables or slot == self.none for slot in weights):
                    instruction.options["keeps"] = tuple(self.variables.get(slot) for slot in weights)

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

    def _other_direction(self, second: Instruction) -> Instruction | None:
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
