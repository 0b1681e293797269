"""The only conversion of user input to arrays.

Every function returns a C-contiguous, aligned array in native byte order and says what is wrong
with anything else; an array that is already right comes back itself, untouched and uncopied.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastseq import _core

if TYPE_CHECKING:  # importing numpy.typing takes as long as half of this package
    from numpy.typing import DTypeLike

__all__ = [
    "DATA_TYPES",
    "Array",
    "boolean",
    "column",
    "describe",
    "floating",
    "integer",
    "message",
    "number",
    "real",
    "total",
]

Array = np.ndarray[Any, np.dtype[Any]]

FLOAT32 = np.dtype(np.float32)
FLOAT64 = np.dtype(np.float64)
BOOL = np.dtype(np.bool_)
INT32 = np.dtype(np.int32)
INT64 = np.dtype(np.int64)

# What a dataset's column may be; the per-batch gather reads these and converts as it copies.
DATA_TYPES = frozenset((FLOAT32, FLOAT64, BOOL, np.dtype(np.uint8), INT32, INT64))


def message(function: str, argument: str, rule: str, got: str) -> str:
    """The text of an error: ``<function>: <argument> must <rule>, got <what came>``."""
    return f"{function}: {argument} must {rule}, got {got}"


def describe(value: object) -> str:
    """A few words for what came: an array's dtype and shape, a number's value, or a type's name."""
    if isinstance(value, np.ndarray):
        return f"{value.dtype} array of shape {value.shape}"
    if value is None or isinstance(value, (bool, int, float, complex, str, np.generic)):
        return repr(value.item()) if isinstance(value, np.generic) else repr(value)
    return type(value).__name__


def real(value: Any, function: str, argument: str) -> Array:
    """Any array, list or scalar as a numpy array of real numbers or bools, in the type it has.

    Raises:
        TypeError: Not real numbers or bools.
        ValueError: Ragged.
    """
    if type(value) is np.ndarray:
        array = value
    else:
        try:
            array = np.asarray(value)
        except ValueError:
            rule = "be an array with rows of equal length"
            raise ValueError(message(function, argument, rule, f"a ragged {type(value).__name__}")) from None
    if array.dtype.kind not in "fiub":
        got = f"{array.dtype} array of shape {array.shape}" if array.ndim else describe(value)
        raise TypeError(message(function, argument, "be an array of real numbers", got))
    return array


def _laid_out(array: Array, dtype: np.dtype[Any]) -> Array:
    """The array as C-contiguous, aligned ``dtype``; itself if it is that already."""
    if array.dtype == dtype and _core.is_laid_out(array):
        return array
    return np.require(array, dtype=dtype, requirements=["C", "A"])


def _rank(array: Array, ndim: int | None, function: str, argument: str) -> None:
    if ndim is not None and array.ndim != ndim:
        raise ValueError(message(function, argument, f"have {ndim} dimensions", f"shape {array.shape}"))


def floating(
    value: Any, function: str, argument: str, *, dtype: DTypeLike | None = None, ndim: int | None = None
) -> Array:
    """An array of float32 or float64.

    Args:
        value: An array, list or scalar of real numbers or bools, of any memory layout.
        function: The public function that asks, for the error's text.
        argument: The argument's name, for the error's text.
        dtype: float32 or float64; None keeps those two and turns anything else into float32.
        ndim: The number of dimensions it must have; None takes any.
    Raises:
        TypeError: Not real numbers.
        ValueError: Ragged, or another number of dimensions.
    """
    if _core.is_floating(value, dtype):
        array: Array = value
    else:
        array = real(value, function, argument)
        if dtype is None:
            dtype = FLOAT64 if array.dtype.kind == "f" and array.dtype.itemsize == 8 else FLOAT32
        array = _laid_out(array, np.dtype(dtype))
    if ndim is not None:
        _rank(array, ndim, function, argument)
    return array


def integer(value: Any, function: str, argument: str, *, ndim: int | None = None) -> Array:
    """An array of int32 or int64: labels, ids, lengths.

    Floats are taken when every one of them is a whole number, as Keras takes them.

    Raises:
        TypeError: Not real numbers.
        ValueError: A fraction, NaN or infinity; ragged; another number of dimensions.
    """
    array = real(value, function, argument)
    if array.dtype.kind == "f":
        with np.errstate(invalid="ignore"):
            whole = array.astype(np.int64)
        wrong = whole != array
        if wrong.any():
            raise ValueError(
                message(function, argument, "be whole numbers", repr(float(array[wrong].flat[0])))
            )
        array = whole
    _rank(array, ndim, function, argument)
    return _laid_out(array, INT32 if array.dtype in (INT32, BOOL) else INT64)


def total(values: Array) -> float:
    """The sum of all elements, added up in float64."""
    if _core.is_floating(values, None):
        return _core.total(values)
    return float(values.sum(dtype=np.float64))


def boolean(value: Any, function: str, argument: str, *, shape: tuple[int, ...] | None = None) -> Array:
    """A mask: bools, or numbers of which 0 means False.

    Raises:
        TypeError: Not real numbers or bools.
        ValueError: Ragged, or not of ``shape``.
    """
    array = real(value, function, argument)
    if shape is not None and array.shape != shape:
        raise ValueError(message(function, argument, f"have shape {shape}", f"{array.shape}"))
    return _laid_out(array if array.dtype == BOOL else array != 0, BOOL)


def column(value: Any, function: str, argument: str) -> Array:
    """A dataset's column, (rows, ...), kept in the type it came in where the gather can read it.

    A bool one-hot stays bool, a quarter of its float32: the per-batch gather converts. Types the
    gather does not read are widened once (float16 to float32, int16 to int32, uint64 to int64).

    Raises:
        TypeError: Not real numbers or bools.
        ValueError: Ragged, or a scalar.
    """
    array = real(value, function, argument)
    if array.ndim == 0:
        raise ValueError(message(function, argument, "have rows", describe(value)))
    if array.dtype in DATA_TYPES:
        return _laid_out(array, array.dtype)
    if array.dtype.kind == "f":
        return _laid_out(array, FLOAT32 if array.dtype.itemsize < 8 else FLOAT64)
    return _laid_out(array, INT32 if array.dtype.itemsize < 4 else INT64)


def number(
    value: Any,
    function: str,
    argument: str,
    *,
    low: float | None = None,
    high: float | None = None,
    open_low: bool = False,
    open_high: bool = False,
    whole: bool = False,
) -> Any:
    """A Python int or float within bounds.

    Args:
        value: The number.
        function: The public function that asks.
        argument: The argument's name.
        low: Lower bound, or None.
        high: Upper bound, or None.
        open_low: Whether ``low`` itself is refused.
        open_high: Whether ``high`` itself is refused.
        whole: Whether it must be an integer.
    Raises:
        TypeError: Not a number (bools are not), or not an integer where one is asked for.
        ValueError: Out of bounds or NaN.
    """
    kinds = (int, np.integer) if whole else (int, float, np.integer, np.floating)
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, kinds):
        rule = "be an integer" if whole else "be a number"
        raise TypeError(message(function, argument, rule, describe(value)))
    number = int(value) if whole else float(value)
    below = low is not None and (number <= low if open_low else number < low)
    above = high is not None and (number >= high if open_high else number > high)
    if below or above or number != number:
        if low is not None and high is not None:
            rule = f"be in {'(' if open_low else '['}{low}, {high}{')' if open_high else ']'}"
        elif low is not None:
            rule = f"be {'more than' if open_low else 'at least'} {low}"
        elif high is not None:
            rule = f"be {'less than' if open_high else 'at most'} {high}"
        else:
            rule = "be a number"
        raise ValueError(message(function, argument, rule, repr(number)))
    return number
