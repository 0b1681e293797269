"""Steps of cells, one at a time: a cell of one's own as a plan, and cells above one another as one."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, Protocol

import numpy as np

from fastseq._arrays import Array, floating, message
from fastseq._symbol import Node, Symbol, Variable
from fastseq.graph import Plan
from fastseq.layers.calls import flatten
from fastseq.ops.rnn import state_parts

__all__ = ["StackedSteps", "Steps", "TracedSteps", "copy_weights"]


class Steps(Protocol):
    """A layer's weights as they were when this was made, ready to take steps; it keeps no state.

    Attributes:
        dtype: Of outputs and states.
        parts: How many arrays a state has.
    """

    dtype: Any
    parts: int

    def step(self, x: Any, state: Any = None) -> tuple[Array, tuple[Array, ...]]:
        """(output, state after), new arrays, from (batch, features) and the state before (None for 0)."""


class TracedSteps:
    """Steps of a cell that is traced: a plan of one call, with copies of the weights.

    Args:
        name: Whose they are, for errors.
        join: ``join(x, states)`` -> (output, states after) of Symbols.
        features: The shape of an input's row.
        sizes: Of the states.
        dtype: Of all of them.
    """

    def __init__(
        self,
        name: str,
        join: Callable[[Symbol, list[Symbol]], tuple[Symbol, list[Symbol]]],
        features: tuple[int, ...],
        sizes: Sequence[int],
        dtype: Any,
    ) -> None:
        self.dtype, self.parts = np.dtype(dtype), len(sizes)
        self._function, self._features, self._sizes = f"{name}.step", features, list(sizes)
        x = Symbol((None, *features), self.dtype)
        states = [Symbol((None, size), self.dtype) for size in sizes]
        output, after = join(x, states)
        copy_weights([output, *after])
        self._plan = Plan([x, *states], [output, *after])

    def step(self, x: Any, state: Any = None) -> tuple[Array, tuple[Array, ...]]:
        """As ``Steps.step``."""
        x = self._checked("x", x, self._features)
        before = [
            np.zeros((len(x), size), self.dtype)
            if part is None
            else self._checked("state", part, (size,), len(x))
            for part, size in zip(
                state_parts(self._function, "state", state, self.parts), self._sizes, strict=True
            )
        ]
        # copies: a cell may give what it was given, or one array as output and state
        output, *after = [np.array(value) for value in self._plan.run([x, *before])]
        return output, tuple(after)

    def _checked(self, argument: str, value: Any, row: tuple[int, ...], batch: int | None = None) -> Array:
        array = floating(value, self._function, argument, dtype=self.dtype)
        if array.ndim != 1 + len(row) or array.shape[1:] != row or batch not in (None, len(array)):
            sizes = ", ".join(str(size) for size in ("batch" if batch is None else batch, *row))
            raise ValueError(message(self._function, argument, f"have shape ({sizes})", str(array.shape)))
        return array


class StackedSteps:
    """Steps of which each takes the output of the one before.

    Args:
        name: Whose they are, for errors.
        steps: The lowest first.
    """

    def __init__(self, name: str, steps: Sequence[Steps]) -> None:
        self._function, self._steps = f"{name}.step", list(steps)
        self.dtype, self.parts = self._steps[-1].dtype, sum(one.parts for one in steps)

    def step(self, x: Any, state: Any = None) -> tuple[Array, tuple[Array, ...]]:
        """As ``Steps.step``; the state's arrays one after another, or nested by cell."""
        flat = None if state is None else flatten(state)
        parts = state_parts(self._function, "state", flat, self.parts)
        after: list[Array] = []
        for one in self._steps:
            x, made = one.step(x, tuple(parts[len(after) : len(after) + one.parts]))
            after += made
        return x, tuple(after)


def copy_weights(outputs: Sequence[Symbol], but: Collection[Variable] = ()) -> None:
    """Puts copies in the place of all Variables that ``outputs`` are computed from, but some."""
    for node in _nodes(outputs):
        node.inputs = tuple(
            value.numpy() if isinstance(value, Variable) and value not in but else value
            for value in node.inputs
        )


def _nodes(outputs: Sequence[Symbol]) -> Iterator[Node]:
    """The nodes that ``outputs`` come from, each once."""
    seen: set[Node] = set()
    stack = list(outputs)
    while stack:
        node = stack.pop().node
        if node is not None and node not in seen:
            seen.add(node)
            stack += [value for value in node.inputs if isinstance(value, Symbol)]
            yield node
