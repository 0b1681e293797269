"""Arithmetic, element by element: on arrays it runs at once, on Symbols it adds a node.

Shapes are broadcast as numpy does it. Floats win over integers and bools whatever their sizes, a Python
number (or any constant of no dimensions) takes the type of what it meets, and in a graph constants take
the Symbols' type of float, so that nothing turns into float64 unasked. Values outside a function's domain
give inf or NaN, without a warning.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from fastseq._arrays import FLOAT32, INT64, Array, floating, message, number, real
from fastseq._symbol import Op, Shape, Symbol, Variable, apply, operators

__all__ = [
    "abs", "absolute", "add", "average", "cast", "clip", "divide", "equal", "exp", "greater", "greater_equal",
    "less", "less_equal", "log", "logical_and", "logical_not", "logical_or", "maximum", "minimum",
    "multiply", "not_equal", "power", "sqrt", "square", "subtract", "where",
]  # fmt: skip

_X = namedtuple("_X", "x")
_Pair = namedtuple("_Pair", "a b")
_Infer = tuple[tuple[Shape, Any], ...]
_quiet = partial(np.errstate, all="ignore")


# --- types and shapes -----------------------------------------------------------------------------


def common_type(*values: Any) -> np.dtype[Any]:
    """The type in which values are joined: arrays and Symbols count by dtype, Python numbers by kind."""
    dtypes = [value.dtype for value in values if hasattr(value, "dtype")]
    floats = [dtype for dtype in dtypes if dtype.kind == "f"]
    if floats:
        return np.result_type(*floats)
    loose = [value for value in values if not hasattr(value, "dtype")]
    if any(isinstance(value, float) for value in loose):
        return FLOAT32
    whole = [dtype for dtype in dtypes if dtype.kind in "iu"]
    if whole:
        return np.result_type(*whole)
    return INT64 if any(not isinstance(value, bool) for value in loose) else np.dtype(np.bool_)


def float_type(*values: Any) -> np.dtype[Any]:
    """``common_type`` where the result is fractional: float32 for integers and bools."""
    dtype = common_type(*values)
    return dtype if dtype.kind == "f" else FLOAT32


def _type_of_two(a: Any, b: Any) -> np.dtype[Any]:
    if type(a) is np.ndarray and type(b) is np.ndarray and a.dtype == b.dtype:
        dtype: np.dtype[Any] = a.dtype
        return dtype
    return common_type(a, b)


def operands(function: str, **values: Any) -> list[Any]:
    """What an operation takes: Symbols, Variables and Python numbers as they are, all else as arrays.

    Args:
        function: Who asks, for the error's text.
        values: By the arguments' names.
    Raises:
        TypeError: Not real numbers or bools.
        ValueError: Ragged.
    """
    made: dict[str, Any] = {}
    for name, value in values.items():
        is_number = isinstance(value, (bool, int, float)) and not isinstance(value, np.generic)
        made[name] = value if is_number or _is_symbolic(value) else real(value, function, name)
    in_graph = [value for value in made.values() if _is_symbolic(value)]
    arrays = [value for value in made.values() if isinstance(value, np.ndarray) and value.ndim]
    for name, value in made.items():
        if isinstance(value, (bool, int, float)):
            if not in_graph and not arrays:
                made[name] = np.asarray(value, common_type(value))
        elif isinstance(value, np.ndarray):
            if value.ndim == 0 and (in_graph or arrays):
                made[name] = value.item()
            elif in_graph and value.dtype.kind == "f":
                made[name] = floating(value, function, name, dtype=float_type(*in_graph))
    return list(made.values())


def _is_symbolic(value: Any) -> bool:
    return isinstance(value, (Symbol, Variable))


def _shape_of(value: Any) -> Shape:
    shape: Shape = value.shape if hasattr(value, "shape") else np.shape(value)
    return shape


def broadcast(function: str, *shapes: Shape) -> Shape:
    """The shape of what is joined, None where an axis is not known.

    Raises:
        ValueError: They do not fit; the text names them.
    """
    width = max(len(shape) for shape in shapes)
    joined: list[int | None] = []
    for sizes in zip(*((1,) * (width - len(shape)) + tuple(shape) for shape in shapes), strict=True):
        wide = {size for size in sizes if size not in (1, None)}
        if len(wide) > 1:
            got = " and ".join(str(tuple(shape)) for shape in shapes)
            raise ValueError(message(function, "shapes", "match or be 1", got))
        joined.append(wide.pop() if wide else None if None in sizes else 1)
    return tuple(joined)


def unbroadcast(gradient: Array, shape: tuple[int, ...]) -> Array:
    """The gradient of an input that numpy stretched: summed over the stretched axes."""
    if gradient.shape == shape:
        return gradient
    extra = gradient.ndim - len(shape)
    gradient = gradient.sum(axis=tuple(range(extra))) if extra else gradient
    stretched = tuple(axis for axis, size in enumerate(shape) if size == 1 and gradient.shape[axis] != 1)
    return np.asarray(gradient.sum(axis=stretched, keepdims=True) if stretched else gradient)


# --- two at a time --------------------------------------------------------------------------------

_AB = ("a", "b")


def _pair(
    name: str,
    ufunc: Callable[..., Any],
    da: Callable[..., Array],
    db: Callable[..., Array],
    kept: Callable[[Any, Any, Any], Any] = lambda a, b, y: None,
    type_of: Callable[[Any, Any], np.dtype[Any]] = _type_of_two,
) -> Op:
    """The Op of ``ufunc(a, b)``.

    Args:
        name: As in ``fastseq.ops``.
        ufunc: Of numpy.
        da: ``da(dy, kept)``: the gradient of ``a`` before it is summed over what was stretched.
        db: The same of ``b``.
        kept: ``kept(a, b, y)``: what those need.
        type_of: The result's type.
    """

    def forward(a: Any, b: Any, *, training: bool) -> tuple[Any, ...]:
        with _quiet():
            y = np.asarray(ufunc(a, b, dtype=type_of(a, b)))
        return y, (kept(a, b, y), np.shape(a), np.shape(b)) if training else None

    def backward(saved: Any, dy: Array, *, wanted: Sequence[str] = _AB, **_: Any) -> _Pair:
        values, left, right = saved
        with _quiet():
            return _Pair(
                unbroadcast(da(dy, values), left) if "a" in wanted else None,
                unbroadcast(db(dy, values), right) if "b" in wanted else None,
            )

    def infer(a: Any, b: Any) -> _Infer:
        return ((broadcast(name, _shape_of(a), _shape_of(b)), type_of(a, b)),)

    return Op(name, _AB, forward, infer, backward, _AB, fresh=False)


def _chosen(dy: Array, first: Any) -> Array:
    return np.where(first, dy, dy.dtype.type(0))


ADD = _pair("add", np.add, lambda dy, _: dy, lambda dy, _: dy)
SUBTRACT = _pair("subtract", np.subtract, lambda dy, _: dy, lambda dy, _: -dy)
MULTIPLY = _pair(
    "multiply", np.multiply, lambda dy, ab: dy * ab[1], lambda dy, ab: dy * ab[0], lambda a, b, y: (a, b)
)
DIVIDE = _pair(
    "divide", np.true_divide, lambda dy, by: dy / by[0], lambda dy, by: -dy * by[1] / by[0],
    lambda a, b, y: (b, y), float_type,
)  # fmt: skip
MAXIMUM = _pair(
    "maximum", np.maximum, _chosen, lambda dy, first: _chosen(dy, ~first),
    lambda a, b, y: np.greater_equal(a, b),
)  # fmt: skip
MINIMUM = _pair(
    "minimum", np.minimum, _chosen, lambda dy, first: _chosen(dy, ~first),
    lambda a, b, y: np.less_equal(a, b),
)  # fmt: skip


def _power_of_base(dy: Array, kept: Any) -> Array:
    a, b, _ = kept
    slope = np.where(np.equal(b, 0), 0, b * a ** np.where(np.equal(b, 0), 1, b - 1))
    return np.asarray(dy * slope, dy.dtype)


def _power_of_exponent(dy: Array, kept: Any) -> Array:
    a, _, y = kept
    return np.asarray(dy * np.where(np.greater(a, 0), y * np.log(a), 0), dy.dtype)  # TensorFlow's 0 at 0


POWERS = _pair(
    "powers", np.power, _power_of_base, _power_of_exponent, lambda a, b, y: (a, b, y), float_type
)  # fmt: skip


def _run_pair(op: Op, a: Any, b: Any) -> Any:
    return apply(op, operands(op.name, a=a, b=b), {})


def add(a: Any, b: Any) -> Any:
    """``a + b``."""
    return _run_pair(ADD, a, b)


def subtract(a: Any, b: Any) -> Any:
    """``a - b``."""
    return _run_pair(SUBTRACT, a, b)


def multiply(a: Any, b: Any) -> Any:
    """``a * b``."""
    return _run_pair(MULTIPLY, a, b)


def divide(a: Any, b: Any) -> Any:
    """``a / b``, a float."""
    return _run_pair(DIVIDE, a, b)


def maximum(a: Any, b: Any) -> Any:
    """The larger of ``a`` and ``b``, element by element; ties give their gradient to ``a``."""
    return _run_pair(MAXIMUM, a, b)


def minimum(a: Any, b: Any) -> Any:
    """The smaller of ``a`` and ``b``, element by element; ties give their gradient to ``a``."""
    return _run_pair(MINIMUM, a, b)


def clip(x: Any, low: Any, high: Any) -> Any:
    """``x`` where it lies in [low, high], else the nearer of the two."""
    return minimum(maximum(x, low), high)


def average(inputs: Sequence[Any]) -> Any:
    """The mean of several arrays of one shape."""
    total = inputs[0]
    for value in inputs[1:]:
        total = add(total, value)
    return multiply(total, 1.0 / len(inputs))


# --- one at a time --------------------------------------------------------------------------------


def _unary(
    name: str,
    value: Callable[..., Any],
    slope: Callable[..., Any],
    type_of: Callable[..., np.dtype[Any]] = float_type,
) -> Op:
    """The Op of an elementwise function.

    Args:
        name: As in ``fastseq.ops``.
        value: ``value(x, **options)``.
        slope: ``slope(x, y, **options)``: its derivative.
        type_of: The type in which it is computed, from x.
    """

    def forward(x: Array, *, training: bool, **options: Any) -> tuple[Any, ...]:
        x = x.astype(type_of(x), copy=False)
        with _quiet():
            y = np.asarray(value(x, **options)).astype(x.dtype, copy=False)
        return y, (x, y, options)

    def backward(saved: Any, dy: Array, **_: Any) -> _X:
        x, y, options = saved
        with _quiet():
            return _X(np.asarray(dy * slope(x, y, **options)).astype(dy.dtype, copy=False))

    def infer(x: Any, **_: Any) -> _Infer:
        return ((x.shape, type_of(x)),)

    return Op(name, ("x",), forward, infer, backward, ("x",))


def _power_slope(x: Array, y: Array, exponent: float) -> Any:
    return exponent * x ** (exponent - 1.0) if exponent else x.dtype.type(0)


EXP = _unary("exp", np.exp, lambda x, y: y)
LOG = _unary("log", np.log, lambda x, y: 1 / x)
SQRT = _unary("sqrt", np.sqrt, lambda x, y: x.dtype.type(0.5) / y)
ABSOLUTE = _unary("absolute", np.absolute, lambda x, y: np.sign(x), common_type)
SQUARE = _unary("square", lambda x: x * x, lambda x, y: 2 * x, common_type)
POWER = _unary("power", lambda x, exponent: x**exponent, _power_slope)


def _run_unary(op: Op, x: Any, **options: Any) -> Any:
    return apply(op, operands(op.name, x=x), options)


def exp(x: Any) -> Any:
    """e to the power of each element."""
    return _run_unary(EXP, x)


def log(x: Any) -> Any:
    """The natural logarithm: -inf of 0, NaN of negative numbers."""
    return _run_unary(LOG, x)


def sqrt(x: Any) -> Any:
    """The square root; its slope at 0 is inf."""
    return _run_unary(SQRT, x)


def absolute(x: Any) -> Any:
    """``abs(x)``; its slope at 0 is 0."""
    return _run_unary(ABSOLUTE, x)


abs = absolute  # Keras has both names


def square(x: Any) -> Any:
    """``x * x``."""
    return _run_unary(SQUARE, x)


def power(x: Any, exponent: Any) -> Any:
    """``x ** exponent``, a float; NaN where a negative number has a fractional exponent.

    Raises:
        TypeError: Not real numbers.
        ValueError: ``x`` is a number of at most 0, and the exponent more than one number.
    """
    x, exponent = _item(x), _item(exponent)
    if not _is_symbolic(exponent) and np.ndim(exponent) == 0:
        return _run_unary(POWER, x, exponent=number(exponent, "power", "exponent"))
    if not _is_symbolic(x) and np.ndim(x) == 0:
        base = number(x, "power", "x", low=0, open_low=True)
        return exp(multiply(exponent, float(np.log(base))))
    return apply(POWERS, operands("power", x=x, exponent=exponent), {})


def _item(value: Any) -> Any:
    """A number of no dimensions as Python's."""
    return value.item() if isinstance(value, (np.ndarray, np.generic)) and value.ndim == 0 else value


def _cast_forward(x: Array, *, dtype: np.dtype[Any], training: bool) -> tuple[Any, ...]:
    return x.astype(dtype, copy=False), x.dtype


def _cast_backward(saved: Any, dy: Array, **_: Any) -> _X:
    return _X(dy.astype(saved, copy=False) if dy.dtype.kind == "f" else np.zeros(dy.shape, saved))


CAST = Op(
    "cast", ("x",), _cast_forward, lambda x, dtype: ((x.shape, dtype),), _cast_backward, ("x",), fresh=False
)


def cast(x: Any, dtype: Any) -> Any:
    """``x`` as another type of numbers; fractions are cut off where that is one of integers.

    Raises:
        TypeError: Not a type of real numbers or bools.
    """
    made = np.dtype(dtype)
    if made.kind not in "fiub":
        raise TypeError(message("cast", "dtype", "be a type of real numbers", str(made)))
    return apply(CAST, operands("cast", x=x), {"dtype": made})


# --- comparisons and choices ----------------------------------------------------------------------


def _comparison(name: str, ufunc: Callable[..., Any]) -> Op:
    """The Op of a ufunc that gives bools, which have no gradient."""

    def forward(a: Any, b: Any, *, training: bool) -> tuple[Any, ...]:
        return np.asarray(ufunc(a, b)), None

    def infer(a: Any, b: Any) -> _Infer:
        return ((broadcast(name, _shape_of(a), _shape_of(b)), np.dtype(np.bool_)),)

    return Op(name, _AB, forward, infer)


EQUAL = _comparison("equal", np.equal)
NOT_EQUAL = _comparison("not_equal", np.not_equal)
LESS = _comparison("less", np.less)
LESS_EQUAL = _comparison("less_equal", np.less_equal)
GREATER = _comparison("greater", np.greater)
GREATER_EQUAL = _comparison("greater_equal", np.greater_equal)
LOGICAL_AND = _comparison("logical_and", np.logical_and)
LOGICAL_OR = _comparison("logical_or", np.logical_or)


def equal(a: Any, b: Any) -> Any:
    """``a == b``, element by element: bool. (The operator asks whether two Symbols are one and the same.)"""
    return _run_pair(EQUAL, a, b)


def less(a: Any, b: Any) -> Any:
    """``a < b``: bool."""
    return _run_pair(LESS, a, b)


def less_equal(a: Any, b: Any) -> Any:
    """``a <= b``: bool."""
    return _run_pair(LESS_EQUAL, a, b)


def greater(a: Any, b: Any) -> Any:
    """``a > b``: bool."""
    return _run_pair(GREATER, a, b)


def greater_equal(a: Any, b: Any) -> Any:
    """``a >= b``: bool."""
    return _run_pair(GREATER_EQUAL, a, b)


def logical_and(a: Any, b: Any) -> Any:
    """Whether both are true (not 0): bool."""
    return _run_pair(LOGICAL_AND, a, b)


def logical_or(a: Any, b: Any) -> Any:
    """Whether one of them is true (not 0): bool."""
    return _run_pair(LOGICAL_OR, a, b)


def logical_not(x: Any) -> Any:
    """Whether it is false (0): bool."""
    return equal(x, 0)


def _differs_forward(x: Array, *, value: float, training: bool) -> tuple[Any, ...]:
    return np.not_equal(x, value), None


# Of ids and a number, as masks need it: it leaves ids the integers they are.
DIFFERS = Op("differs", ("x",), _differs_forward, lambda x, value: ((x.shape, np.bool_),), whole=("x",))


def not_equal(x: Any, value: Any) -> Any:
    """Where ``x`` differs from ``value``: bool."""
    if isinstance(value, int):
        return apply(DIFFERS, (x,), {"value": value})
    return _run_pair(NOT_EQUAL, x, value)


def _where_forward(condition: Any, a: Any, b: Any, *, training: bool) -> tuple[Any, ...]:
    condition = np.not_equal(condition, 0)
    chosen = np.where(condition, a, b).astype(_type_of_two(a, b), copy=False)
    return chosen, (condition, np.shape(a), np.shape(b))


def _where_backward(saved: Any, dy: Array, *, wanted: Sequence[str] = _AB, **_: Any) -> _Pair:
    condition, left, right = saved
    return _Pair(
        unbroadcast(_chosen(dy, condition), left) if "a" in wanted else None,
        unbroadcast(_chosen(dy, ~condition), right) if "b" in wanted else None,
    )


def _where_infer(condition: Any, a: Any, b: Any) -> _Infer:
    shape = broadcast("where", _shape_of(condition), _shape_of(a), _shape_of(b))
    return ((shape, _type_of_two(a, b)),)


WHERE = Op("where", ("condition", *_AB), _where_forward, _where_infer, _where_backward, _AB)


def where(condition: Any, a: Any, b: Any) -> Any:
    """``a`` where ``condition`` is true (not 0), else ``b``; the one not chosen has gradient 0."""
    return apply(WHERE, operands("where", condition=condition, a=a, b=b), {})


operators.update(
    add=add, subtract=subtract, multiply=multiply, divide=divide, power=power, absolute=absolute,
    less=less, less_equal=less_equal, greater=greater, greater_equal=greater_equal,
    logical_and=logical_and, logical_or=logical_or, logical_not=logical_not,
)  # fmt: skip
