"""The geometry of windows over images: what convolution and pooling take and refuse."""

from __future__ import annotations

from typing import Any

from fastseq._arrays import describe, message, number

__all__ = ["Axis", "along", "axes_of", "output_shape", "padding_of", "pair", "pooled"]

# One axis as the kernels take it: output, taps, stride, dilation, zeros before the first input.
Axis = tuple[int, int, int, int, int]


def pair(value: Any, function: str, argument: str) -> tuple[int, int]:
    """(height, width) from one positive integer for both or two of them.

    Raises:
        TypeError: Not integers.
        ValueError: Not two, or not positive.
    """
    values = value if isinstance(value, (list, tuple)) else (value, value)
    if len(values) != 2:
        raise ValueError(message(function, argument, "be an integer or two of them", describe(str(value))))
    high, wide = (number(one, function, argument, low=1, whole=True) for one in values)
    return high, wide


def padding_of(value: Any, function: str) -> str:
    """ "same" or "valid", in any case.

    Raises:
        ValueError: Something else.
    """
    name = value.lower() if isinstance(value, str) else value
    if name not in ("same", "valid"):
        raise ValueError(message(function, "padding", "be same or valid", describe(value)))
    return str(name)


def along(size: int, taps: int, stride: int, dilation: int, padding: str) -> Axis:
    """One axis of ``size`` inputs; of an output that does not exist the first entry is 0 or less."""
    reach = (taps - 1) * dilation + 1
    if padding == "valid":
        return (size - reach) // stride + 1, taps, stride, dilation, 0
    output = -(-size // stride)
    # the odd zero goes behind, as in TensorFlow
    before = max((output - 1) * stride + reach - size, 0) // 2
    return output, taps, stride, dilation, before


def axes_of(
    function: str,
    shape: tuple[int | None, ...],
    taps: tuple[int, int],
    strides: tuple[int, int],
    dilation: tuple[int, int],
    padding: str,
) -> tuple[Axis | None, Axis | None]:
    """Height and width of images of ``shape``, None where a size is not known.

    Raises:
        ValueError: Not (batch, height, width, channels), or smaller than a window.
    """
    if len(shape) != 4:
        rule = "have shape (batch, height, width, channels)"
        raise ValueError(message(function, "x", rule, str(tuple(shape))))
    axes: list[Axis | None] = []
    for axis, size in enumerate(shape[1:3]):
        if size is None:
            axes.append(None)
            continue
        made = along(size, taps[axis], strides[axis], dilation[axis], padding)
        if made[0] < 1 and padding == "valid":
            reach = (taps[axis] - 1) * dilation[axis] + 1
            rule = f"be at least {reach} {('high', 'wide')[axis]}, as the window is"
            raise ValueError(message(function, "x", rule, f"shape {tuple(shape)}"))
        axes.append(made)
    return axes[0], axes[1]


def pooled(
    function: str, axes: tuple[Axis | None, Axis | None], pool: tuple[int, int]
) -> tuple[Axis | None, Axis | None]:
    """The axes without the outputs that make no whole block of ``pool``.

    Raises:
        ValueError: There is no whole block.
    """
    made: list[Axis | None] = []
    for axis, size in zip(axes, pool, strict=True):
        if axis is not None and axis[0] < size:
            rule = f"be at most the output, {axis[0]} along this axis"
            raise ValueError(message(function, "pool_size", rule, str(size)))
        made.append(None if axis is None else (axis[0] - axis[0] % size, *axis[1:]))
    return made[0], made[1]


def output_shape(
    shape: tuple[int | None, ...], axes: tuple[Axis | None, Axis | None], channels: int | None
) -> tuple[int | None, ...]:
    """(batch, height, width, channels) of the output."""
    high, wide = (None if axis is None else axis[0] for axis in axes)
    return shape[0], high, wide, channels
