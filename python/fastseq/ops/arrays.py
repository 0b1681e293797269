"""Operations that move arrays: shapes, slices, joins and masks.

They are memory traffic, not arithmetic, so numpy does them. Each takes arrays (and runs at once) or
Symbols (and adds a node). ``x_forward`` and ``x_backward`` follow the rules of ``fastseq.ops``;
gradients of most of them share memory with what came in, so nobody may write into them.
"""

from __future__ import annotations

import math
from collections import namedtuple
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastseq._arrays import Array, describe, message, number
from fastseq._symbol import Node, Op, Shape, Symbol, apply, operators

__all__ = [
    "any_not_equal",
    "attached",
    "causal_mask",
    "concatenate",
    "expand_dims",
    "fold_steps",
    "getitem",
    "identity",
    "masked",
    "repeat",
    "reshape",
    "reverse",
    "rows",
    "squeeze",
    "stack",
    "transpose",
    "unfold_steps",
]

_X = namedtuple("_X", "x")


# --- identity -------------------------------------------------------------------------------------


def _identity_forward(x: Array, *, training: bool) -> tuple[Any, ...]:
    return x, None


def _identity_backward(saved: Any, dy: Array, **_: Any) -> _X:
    return _X(dy)


def _same(x: Any, **_: Any) -> tuple[tuple[Shape, Any], ...]:
    return ((x.shape, x.dtype),)


IDENTITY = Op("identity", ("x",), _identity_forward, _same, _identity_backward, ("x",), fresh=False)


def identity(x: Any) -> Any:
    """``x`` under another name; a plan leaves it out."""
    return apply(IDENTITY, (x,), {})


def _attached_forward(x: Array, loss: Any, *, training: bool) -> tuple[Any, ...]:
    return x, None


def _attached_backward(saved: Any, dy: Array, **_: Any) -> _X:
    return _X(dy)


ATTACHED = Op(
    "attached", ("x", "loss"), _attached_forward, lambda x, loss: ((x.shape, x.dtype),),
    _attached_backward, ("x",), fresh=False,
)  # fmt: skip


def attached(x: Any, loss: Any) -> Any:
    """``x``, and with it a number that models add to their loss; a plan leaves the operation itself out."""
    return apply(ATTACHED, (x, loss), {})


def _rows_forward(x: Array, *, training: bool) -> tuple[Any, ...]:
    return np.asarray(len(x), x.dtype), None


ROWS = Op("rows", ("x",), _rows_forward, lambda x: (((), x.dtype),))


def rows(x: Any) -> Any:
    """How many rows ``x`` has, a number of its type."""
    return apply(ROWS, (x,), {})


# --- reshape, transpose, reverse, repeat ----------------------------------------------------------


def _reshape_forward(x: Array, *, shape: tuple[int, ...], training: bool) -> tuple[Any, ...]:
    return x.reshape((x.shape[0], *shape) if x.size else _empty_shape(x.shape, shape)), x.shape


def _empty_shape(source: tuple[int, ...], target: tuple[int, ...]) -> tuple[int, ...]:
    """numpy cannot infer -1 for an empty array; the row's size says what it is."""
    known = math.prod(n for n in target if n >= 0)
    row = math.prod(source[1:])
    return (source[0], *(n if n >= 0 else row // max(known, 1) for n in target))


def _reshape_backward(saved: tuple[int, ...], dy: Array, **_: Any) -> _X:
    return _X(dy.reshape(saved))


def _reshape_infer(x: Any, *, shape: tuple[int, ...]) -> tuple[tuple[Shape, Any], ...]:
    row = x.shape[1:]
    size = None if None in row else math.prod(row)
    known = math.prod(n for n in shape if n >= 0)
    fits = size is None or (size == known if -1 not in shape else known > 0 and size % known == 0)
    if not fits or shape.count(-1) > 1:
        rule = f"have as many elements per row as shape {shape}"
        raise ValueError(message("reshape", "x", rule, f"shape {x.shape}"))
    filled = tuple(n if n >= 0 else (None if size is None else size // known) for n in shape)
    return (((x.shape[0], *filled), x.dtype),)


RESHAPE = Op("reshape", ("x",), _reshape_forward, _reshape_infer, _reshape_backward, ("x",), fresh=False)


def reshape(x: Any, shape: Sequence[int]) -> Any:
    """Each row of ``x``, (batch, ...), in another shape.

    Args:
        x: (batch, ...).
        shape: The row's new shape, without the batch; one entry may be -1.
    Raises:
        ValueError: The row does not have that many elements.
    """
    if not isinstance(x, Symbol):
        _reshape_infer(x, shape=tuple(shape))
    return apply(RESHAPE, (x,), {"shape": tuple(int(n) for n in shape)})


def _transpose_forward(x: Array, *, axes: tuple[int, ...], training: bool) -> tuple[Any, ...]:
    return np.ascontiguousarray(x.transpose(axes)), axes


def _transpose_backward(saved: tuple[int, ...], dy: Array, **_: Any) -> _X:
    return _X(np.ascontiguousarray(dy.transpose(np.argsort(saved))))


def _transpose_infer(x: Any, *, axes: tuple[int, ...]) -> tuple[tuple[Shape, Any], ...]:
    return ((tuple(x.shape[axis] for axis in axes), x.dtype),)


TRANSPOSE = Op("transpose", ("x",), _transpose_forward, _transpose_infer, _transpose_backward, ("x",))


def transpose(x: Any, axes: Sequence[int]) -> Any:
    """``x`` with its axes in the order ``axes``, contiguous.

    Raises:
        ValueError: ``axes`` is not an order of x's axes.
    """
    if sorted(axes) != list(range(len(x.shape))):
        rule = f"be an order of the axes 0 to {len(x.shape) - 1}"
        raise ValueError(message("transpose", "axes", rule, str(tuple(axes))))
    return apply(TRANSPOSE, (x,), {"axes": tuple(int(axis) for axis in axes)})


def _reverse_forward(x: Array, *, training: bool) -> tuple[Any, ...]:
    return np.ascontiguousarray(x[:, ::-1]), None


def _reverse_backward(saved: Any, dy: Array, **_: Any) -> _X:
    return _X(np.ascontiguousarray(dy[:, ::-1]))


REVERSE = Op("reverse", ("x",), _reverse_forward, _same, _reverse_backward, ("x",))


def reverse(x: Any) -> Any:
    """(batch, steps, ...) with its steps from last to first."""
    return apply(REVERSE, (x,), {})


def _repeat_forward(x: Array, *, n: int, training: bool) -> tuple[Any, ...]:
    return np.repeat(x[:, None], n, axis=1), None


def _repeat_backward(saved: Any, dy: Array, **_: Any) -> _X:
    return _X(dy.sum(axis=1))


def _repeat_infer(x: Any, *, n: int) -> tuple[tuple[Shape, Any], ...]:
    return (((x.shape[0], n, *x.shape[1:]), x.dtype),)


REPEAT = Op("repeat", ("x",), _repeat_forward, _repeat_infer, _repeat_backward, ("x",))


def repeat(x: Any, n: int) -> Any:
    """(batch, features) at each of ``n`` steps: (batch, n, features)."""
    return apply(REPEAT, (x,), {"n": int(n)})


# --- steps folded into the batch ------------------------------------------------------------------


def _fold_forward(x: Array, *, training: bool) -> tuple[Any, ...]:
    return x.reshape(x.shape[0] * x.shape[1], *x.shape[2:]), x.shape


FOLD_STEPS = Op(
    "fold_steps",
    ("x",),
    _fold_forward,
    lambda x: (((None, *x.shape[2:]), x.dtype),),
    _reshape_backward,
    ("x",),
    fresh=False,
)


def fold_steps(x: Any) -> Any:
    """(batch, steps, ...) as (batch * steps, ...)."""
    return apply(FOLD_STEPS, (x,), {})


def _unfold_forward(x: Array, like: Array, *, training: bool) -> tuple[Any, ...]:
    return x.reshape(*like.shape[:2], *x.shape[1:]), x.shape


UNFOLD_STEPS = Op(
    "unfold_steps",
    ("x", "like"),
    _unfold_forward,
    lambda x, like: (((*like.shape[:2], *x.shape[1:]), x.dtype),),
    _reshape_backward,
    ("x",),
    fresh=False,
)


def unfold_steps(x: Any, like: Any) -> Any:
    """(batch * steps, ...) as (batch, steps, ...), with the batch and steps of ``like``."""
    return apply(UNFOLD_STEPS, (x, like), {})


# --- slices ---------------------------------------------------------------------------------------


def _getitem_forward(x: Array, *, key: Any, training: bool) -> tuple[Any, ...]:
    return np.ascontiguousarray(x[key]), (x.shape, key)


def _getitem_backward(saved: Any, dy: Array, **_: Any) -> _X:
    shape, key = saved
    dx = np.zeros(shape, dy.dtype)
    dx[key] = dy  # slices and integers name every element at most once
    return _X(dx)


def _getitem_infer(x: Any, *, key: Any) -> tuple[tuple[Shape, Any], ...]:
    keys = list(key) if isinstance(key, tuple) else [key]
    if Ellipsis in keys:
        at = keys.index(Ellipsis)
        used = sum(1 for k in keys if k is not None and k is not Ellipsis)
        keys[at : at + 1] = [slice(None)] * (len(x.shape) - used)
    axes = list(x.shape)
    shape: list[int | None] = []
    for k in keys:
        if k is None:
            shape.append(1)
            continue
        if not axes or not isinstance(k, (int, np.integer, slice)):
            rule = f"be slices, integers, None or ... for {len(x.shape)} axes"
            raise TypeError(message("getitem", "key", rule, repr(key)))
        size = axes.pop(0)
        if isinstance(k, slice):
            whole = k == slice(None)
            shape.append(size if whole else (None if size is None else len(range(*k.indices(size)))))
        elif size is not None and not -size <= k < size:
            raise IndexError(message("getitem", "key", f"be in [{-size}, {size})", str(k)))
    return (((*shape, *axes), x.dtype),)


GETITEM = Op("getitem", ("x",), _getitem_forward, _getitem_infer, _getitem_backward, ("x",))


def getitem(x: Any, key: Any) -> Any:
    """``x[key]`` for slices, integers, ``None`` and ``...``.

    Raises:
        TypeError: Another kind of key, or more of them than axes.
        IndexError: An integer beyond a known axis.
    """
    if not isinstance(x, Symbol):
        _getitem_infer(x, key=key)
    return apply(GETITEM, (x,), {"key": key})


def expand_dims(x: Any, axis: int) -> Any:
    """``x`` with a new axis of size 1 at place ``axis``, negative ones counted from the end.

    Raises:
        TypeError: ``axis`` is no integer.
        ValueError: There is no such place.
    """
    rank = len(x.shape) + 1
    at = number(axis, "expand_dims", "axis", whole=True)
    if not -rank <= at < rank:
        raise ValueError(message("expand_dims", "axis", f"lie in [{-rank}, {rank})", str(at)))
    return getitem(x, (slice(None),) * (at % rank) + (None,))


def squeeze(x: Any, axis: int) -> Any:
    """``x`` without its axis ``axis``, of size 1.

    Raises:
        TypeError: ``axis`` is no integer.
        ValueError: There is no such axis, or it has another size or one that is not known.
    """
    rank = len(x.shape)
    at = number(axis, "squeeze", "axis", whole=True)
    if not -rank <= at < rank or x.shape[at] != 1:
        raise ValueError(message("squeeze", "axis", "be one of size 1", f"{at} of shape {tuple(x.shape)}"))
    return getitem(x, (slice(None),) * (at % rank) + (0,))


# --- joins ----------------------------------------------------------------------------------------


def _concatenate_forward(*arrays: Array, axis: int, training: bool) -> tuple[Any, ...]:
    sizes = [array.shape[axis] for array in arrays]
    return np.concatenate(arrays, axis=axis), (np.cumsum(sizes)[:-1], axis)


def _concatenate_backward(saved: Any, dy: Array, **_: Any) -> list[Array]:
    at, axis = saved
    return [np.ascontiguousarray(part) for part in np.split(dy, at, axis=axis)]


def _concatenate_infer(*inputs: Any, axis: int) -> tuple[tuple[Shape, Any], ...]:
    first = inputs[0].shape
    at = axis % len(first)
    for other in inputs[1:]:
        known = [
            (m, n) for k, (m, n) in enumerate(zip(first, other.shape, strict=False))
            if k != at and m is not None and n is not None
        ]  # fmt: skip
        if len(other.shape) != len(first) or any(m != n for m, n in known):
            shapes = ", ".join(str(value.shape) for value in inputs)
            raise ValueError(message("concatenate", "inputs", f"match in all axes but {axis}", shapes))
    sizes = [value.shape[at] for value in inputs]
    joined = None if None in sizes else sum(sizes)
    return (((*first[:at], joined, *first[at + 1 :]), inputs[0].dtype),)


def concatenate(inputs: Sequence[Any], axis: int = -1) -> Any:
    """Arrays joined along ``axis``.

    Raises:
        ValueError: They differ in another axis.
    """
    names = tuple(f"x{k}" for k in range(len(inputs)))
    gradients: Any = namedtuple("gradients", names)  # type: ignore[misc]

    def backward(saved: Any, dy: Array, **_: Any) -> Any:
        return gradients(*_concatenate_backward(saved, dy))

    op = Op("concatenate", names, _concatenate_forward, _concatenate_infer, backward, names)
    return apply(op, tuple(inputs), {"axis": axis})


def stack(inputs: Sequence[Any], axis: int = 0) -> Any:
    """Arrays of one shape along a new axis.

    Raises:
        ValueError: Their shapes differ, or there is no such place.
    """
    return concatenate([expand_dims(value, axis) for value in inputs], axis)


# --- masks ----------------------------------------------------------------------------------------


def _any_not_equal_forward(x: Array, *, value: float, training: bool) -> tuple[Any, ...]:
    return np.not_equal(x, value).any(axis=-1), None


ANY_NOT_EQUAL = Op(
    "any_not_equal", ("x",), _any_not_equal_forward, lambda x, value: ((x.shape[:-1], np.bool_),)
)


def any_not_equal(x: Any, value: float) -> Any:
    """Where any feature of a step differs from ``value``: (batch, steps, features) to bool (batch, steps)."""
    return apply(ANY_NOT_EQUAL, (x,), {"value": value})


def _causal_forward(x: Array, *, training: bool) -> tuple[Any, ...]:
    return np.tri(*x.shape[-2:], dtype=np.bool_)[None], None


CAUSAL_MASK = Op("causal_mask", ("x",), _causal_forward, lambda x: (((1, *x.shape[-2:]), np.bool_),))


def causal_mask(x: Any) -> Any:
    """Of (..., rows, columns): bool (1, rows, columns), True where the column is not beyond the row."""
    return apply(CAUSAL_MASK, (x,), {})


def _masked_forward(x: Array, mask: Array, *, training: bool) -> tuple[Any, ...]:
    return np.where(mask[..., None], x, x.dtype.type(0)), mask


def _masked_backward(saved: Array, dy: Array, **_: Any) -> _X:
    return _X(np.where(saved[..., None], dy, dy.dtype.type(0)))


MASKED = Op("masked", ("x", "mask"), _masked_forward, lambda x, mask: ((x.shape, x.dtype),),
            _masked_backward, ("x",))  # fmt: skip


def masked(x: Any, mask: Any) -> Any:
    """(batch, steps, features) with 0 in the steps where ``mask``, (batch, steps), is False."""
    if tuple(mask.shape) != tuple(x.shape[:-1]):
        raise ValueError(message("masked", "mask", f"have shape {x.shape[:-1]}", describe(mask)))
    return apply(MASKED, (x, mask), {})


# --- which of them leave rows as they are ---------------------------------------------------------


def _key_leaves_last(node: Node) -> bool:
    keys = node.options["key"]
    keys = list(keys) if isinstance(keys, tuple) else [keys]
    rank = len(node.inputs[0].shape)
    if Ellipsis not in keys and sum(key is not None for key in keys) < rank:
        return True
    return keys[-1] is Ellipsis or keys[-1] == slice(None)


def _reshape_leaves_last(node: Node) -> bool:
    before, after = node.inputs[0].shape, node.outputs[0].shape
    return len(before) > 1 and len(after) > 1 and before[-1] is not None and before[-1] == after[-1]


# By operation: whether a node only moves whole rows, its first input's last axis, from place to place.
_MOVES: dict[Op, Callable[[Node], bool]] = {
    IDENTITY: lambda node: True,
    ATTACHED: lambda node: True,
    RESHAPE: _reshape_leaves_last,
    TRANSPOSE: lambda node: node.options["axes"][-1] == len(node.options["axes"]) - 1,
    REVERSE: lambda node: len(node.inputs[0].shape) > 2,
    FOLD_STEPS: lambda node: len(node.inputs[0].shape) > 2,
    UNFOLD_STEPS: lambda node: len(node.inputs[0].shape) > 1,
    GETITEM: _key_leaves_last,
}


def moves_rows(node: Node) -> bool:
    """Whether a node moves whole rows (its last axis) and does nothing else.

    What is done row by row, such as softmax, may then as well be done after it as before.
    """
    rule = _MOVES.get(node.op)
    return rule is not None and rule(node)


operators.update(getitem=getitem)
