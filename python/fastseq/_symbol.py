"""Symbol, Node, Op and Variable: what operations need to know of the graph, and no more.

A Symbol stands for an array that does not exist yet. Calling an operation on a Symbol adds a Node;
the graph is those nodes, and ``graph`` turns it into something that runs.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, NoReturn

import numpy as np

from fastseq._arrays import Array

__all__ = ["Node", "Op", "RandomSeed", "Shape", "Symbol", "Variable", "apply", "is_traced", "tracing"]

Shape = tuple["int | None", ...]

# Operators on Symbols, filled by ops (which may import this module, not the other way round).
operators: dict[str, Callable[..., Any]] = {}


def _binary(name: str) -> Callable[[Any, Any], Any]:
    return lambda self, other: operators[name](self, other)


def _swapped(name: str) -> Callable[[Any, Any], Any]:
    return lambda self, other: operators[name](other, self)


class _Arithmetic:
    """The operators of Symbols and Variables. ``==`` is not among them: both are keys of dicts."""

    __slots__ = ()

    __add__, __radd__ = _binary("add"), _swapped("add")
    __sub__, __rsub__ = _binary("subtract"), _swapped("subtract")
    __mul__, __rmul__ = _binary("multiply"), _swapped("multiply")
    __truediv__, __rtruediv__ = _binary("divide"), _swapped("divide")
    __pow__, __rpow__ = _binary("power"), _swapped("power")
    __matmul__, __rmatmul__ = _binary("matmul"), _swapped("matmul")
    __lt__, __le__ = _binary("less"), _binary("less_equal")
    __gt__, __ge__ = _binary("greater"), _binary("greater_equal")
    __and__, __rand__ = _binary("logical_and"), _swapped("logical_and")
    __or__, __ror__ = _binary("logical_or"), _swapped("logical_or")
    __getitem__ = _binary("getitem")

    def __neg__(self) -> Any:
        return operators["multiply"](self, -1)

    def __abs__(self) -> Any:
        return operators["absolute"](self)

    def __invert__(self) -> Any:
        return operators["logical_not"](self)


class _Changing:
    """Around what writes into values in place; what an error or Ctrl-C cuts short is a change too."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        Variable.changes += 1


class Variable(_Arithmetic):
    """A named array that outlives a step: a weight, or the state of a layer.

    Attributes:
        value: The array; changed in place, or replaced when a plan commits a new state.
        gradient: An array like ``value`` to which backward adds; None until ``graph.pack`` made one.
        name: For people.
        trainable: Whether an optimizer may change it.
        regularizer: Its penalty, a function of it as a Symbol, which models add to their loss; or None.
        constraint: What makes a new value of its value after each step, or None.
        place: Where in a flat buffer it lies, set by ``graph.pack``; from then on ``value`` is only
            ever changed in place.
        changes: How often any weights have been assigned, set or trained: copies made before are old.
            Who writes into ``value`` by hand does so within ``changing``.
    """

    changes: ClassVar[int] = 0
    changing: ClassVar[_Changing] = _Changing()

    __slots__ = (
        "__weakref__", "constraint", "gradient", "name", "place", "regularizer", "trainable", "value",
    )  # fmt: skip

    def __init__(self, value: Array, name: str, trainable: bool = True) -> None:
        self.value = value
        self.gradient: Array | None = None
        self.place: Any = None
        self.name = name
        self.trainable = trainable
        self.regularizer: Callable[[Any], Any] | None = None
        self.constraint: Callable[[Array], Array] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        shape: tuple[int, ...] = self.value.shape
        return shape

    @property
    def dtype(self) -> np.dtype[Any]:
        dtype: np.dtype[Any] = self.value.dtype
        return dtype

    def numpy(self) -> Array:
        """A copy of the value."""
        return np.array(self.value)

    def assign(self, value: Any) -> None:
        """Overwrites the value in place.

        Raises:
            ValueError: ``value`` has another shape.
        """
        array = np.asarray(value, dtype=self.value.dtype)
        if array.shape != self.value.shape:
            raise ValueError(f"assign: value must have shape {self.value.shape}, got {array.shape}")
        with Variable.changing:
            self.value[...] = array

    __array_priority__ = 1000.0  # numpy leaves `array + variable` to __radd__

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.array(self.value, dtype=dtype)

    def __repr__(self) -> str:
        return f"<Variable {self.name} shape={self.shape}, dtype={self.dtype}>"


class RandomSeed:
    """The seed of one layer's randomness: a fixed base and the number of steps taken.

    Attributes:
        base: A 64-bit integer drawn when the layer was made.
        steps: How many training steps have used it; a plan adds 1 after each that succeeded.
    """

    __slots__ = ("base", "steps")

    def __init__(self, base: int) -> None:
        self.base = base
        self.steps = 0

    def seed(self, use: int = 0) -> int:
        """The 64-bit seed of this step, another for each ``use`` of the layer within one graph."""
        # Weyl steps through a splitmix64 finisher (Steele, Lea & Flood, 2014).
        z = (self.base + self.steps * 0x9E3779B97F4A7C15 + use * 0xD1B54A32D192ED03) & 0xFFFFFFFFFFFFFFFF
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
        return z ^ (z >> 31)

    def advance(self) -> None:
        self.steps += 1


@dataclass(frozen=True, eq=False)
class Op:
    """A differentiable operation.

    Attributes:
        name: As in ``fastseq.ops``.
        arguments: Names of the arrays it takes, in order; None may stand for an optional one.
        forward: ``forward(*arrays, training=..., **options)`` -> (output, ..., saved).
        backward: ``backward(saved, *doutputs, wanted=(names...), into={name: array})`` -> an object
            with an attribute per name in ``wanted``. Of several outputs' gradients some may be None.
            The field is None where the operation has no gradient.
        infer: ``infer(*arguments, **options)`` -> ((shape, dtype), ...), an entry per output, from
            Symbols, Variables and arrays alike (all have shape and dtype).
        differentiable: The arguments that can have a gradient.
        fresh: Whether each gradient is a new array that nobody else holds.
        adds: Whether backward takes ``into``, so that it adds gradients where they belong.
        whole: The arguments that are whole numbers: labels, ids, lengths; any type of integers will do.
        bind: ``bind(**options)`` -> ``forward`` with its options checked once; by default they are passed on.
        bind_backward: ``bind_backward(wanted, into)`` -> ``backward`` with these, likewise.
    """

    name: str
    arguments: tuple[str, ...]
    forward: Callable[..., tuple[Any, ...]]
    infer: Callable[..., tuple[tuple[Shape, Any], ...]]
    backward: Callable[..., Any] | None = None
    differentiable: tuple[str, ...] = ()
    fresh: bool = True
    adds: bool = False
    whole: tuple[str, ...] = ()
    bind: Callable[..., Callable[..., tuple[Any, ...]]] | None = None
    bind_backward: Callable[..., Callable[..., Any]] | None = None

    @property
    def has_backward(self) -> bool:
        """Whether the operation has a gradient."""
        return self.backward is not None or self.bind_backward is not None

    def bound(self, options: dict[str, Any]) -> Callable[..., tuple[Any, ...]]:
        """``forward`` of arrays alone, for a plan that runs it often."""
        return self.bind(**options) if self.bind else functools.partial(self.forward, **options)

    def bound_backward(self, wanted: tuple[str, ...], into: dict[str, Array]) -> Callable[..., Any]:
        """``backward`` of what was saved and the outputs' gradients alone."""
        if self.bind_backward:
            return self.bind_backward(wanted, into)
        assert self.backward is not None
        return functools.partial(self.backward, wanted=wanted, into=into)


class Node:
    """One use of an operation on Symbols.

    Attributes:
        op: The operation.
        inputs: One Symbol, Variable, RandomSeed, array or None for each of ``op.arguments``.
        options: Keyword options of the operation.
        outputs: The Symbols it makes.
        random: For operations that differ in training (dropout, batch normalization): True or False
            where the caller fixed it, None where the plan decides (as in training in training only).
        updates: (variable, output index): what to keep in a Variable once the step has succeeded.
    """

    __slots__ = ("inputs", "op", "options", "outputs", "random", "updates")

    def __init__(self, op: Op, inputs: Sequence[Any], options: dict[str, Any]) -> None:
        self.op = op
        self.inputs = tuple(inputs)
        self.options = options
        self.random: bool | None = None
        self.updates: list[tuple[Variable, int]] = []
        self.outputs = tuple(
            Symbol(shape, dtype, self, index)
            for index, (shape, dtype) in enumerate(op.infer(*self.inputs, **options))
        )


class Symbol(_Arithmetic):
    """An array that does not exist yet.

    Attributes:
        shape: Its shape; None for an axis not known before the data come (the batch, often the steps).
        dtype: Its numpy dtype.
        node: The Node that makes it, or None for a model's input.
        index: Which of the node's outputs it is.
        mask: A bool Symbol (batch, steps) saying which steps count, or None for all.
        call: The layer call that made it, with ``call_index`` its place among that call's outputs.
    """

    __slots__ = ("__weakref__", "call", "call_index", "dtype", "index", "mask", "name", "node", "shape")

    def __init__(
        self,
        shape: Sequence[int | None],
        dtype: Any = np.float32,
        node: Node | None = None,
        index: int = 0,
        name: str | None = None,
    ) -> None:
        self.shape: Shape = tuple(shape)
        self.dtype = np.dtype(dtype)
        self.node = node
        self.index = index
        self.name = name
        self.mask: Symbol | None = None
        self.call: Any = None
        self.call_index = 0

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __repr__(self) -> str:
        made_by = f", made by {self.node.op.name}" if self.node else ""
        return f"<Symbol shape={self.shape}, dtype={self.dtype}{made_by}>"

    # A Symbol has no values: what asks for them gets a plain answer instead of something odd.
    def _refuse(self, what: str) -> NoReturn:
        raise TypeError(f"a Symbol has no values, so it cannot be {what}; run a model on data instead")

    def __array__(self, *arguments: Any, **options: Any) -> Array:
        self._refuse("turned into an array")

    def __bool__(self) -> bool:
        self._refuse("used as a condition")

    def __len__(self) -> int:
        self._refuse("measured with len()")

    def __iter__(self) -> Any:
        self._refuse("iterated over")

    def __float__(self) -> float:
        self._refuse("turned into a number")

    __array_ufunc__ = None  # numpy leaves `array + symbol` to __radd__


_thread = threading.local()


@contextmanager
def tracing() -> Iterator[None]:
    """Within it Variables count as Symbols: what is computed from a weight alone joins the graph, too."""
    depth = getattr(_thread, "depth", 0)
    _thread.depth = depth + 1
    try:
        yield
    finally:
        _thread.depth = depth


def is_traced(values: Sequence[Any]) -> bool:
    """Whether an operation on these adds a node to the graph."""
    kinds = [type(value) for value in values]
    return Symbol in kinds or (Variable in kinds and getattr(_thread, "depth", 0) > 0)


def apply(op: Op, inputs: Sequence[Any], options: dict[str, Any]) -> Any:
    """Runs ``op`` on arrays, or adds a node where an input is a Symbol (or a Variable, in ``tracing``).

    Returns:
        The output, or a tuple where the operation has several: arrays or Symbols.
    """
    if is_traced(inputs):
        outputs: Sequence[Any] = Node(op, inputs, options).outputs
    else:
        arrays = [value.value if type(value) is Variable else value for value in inputs]
        outputs = op.forward(*arrays, training=False, **options)[:-1]
    return outputs[0] if len(outputs) == 1 else tuple(outputs)
