"""Conv2D and the layers that pool images: (batch, height, width, channels)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastseq import activations, initializers, ops
from fastseq._arrays import describe, message, number
from fastseq._symbol import Variable
from fastseq.layers.base import Layer
from fastseq.layers.core import with_activation
from fastseq.ops._windows import padding_of, pair

__all__ = [
    "AveragePooling2D",
    "AvgPool2D",
    "Conv2D",
    "Convolution2D",
    "GlobalAveragePooling2D",
    "GlobalAvgPool2D",
    "GlobalMaxPool2D",
    "GlobalMaxPooling2D",
    "MaxPool2D",
    "MaxPooling2D",
]


def channels_last(data_format: Any, kind: str) -> str | None:
    """The data format, which has to be what it is by default."""
    if data_format not in (None, "channels_last"):
        raise ValueError(message(kind, "data_format", "be channels_last", describe(data_format)))
    chosen: str | None = data_format
    return chosen


class Conv2D(Layer):
    """``activation(inputs convolved with the kernel + bias)``: (batch, height, width, channels) in and out.

    Args:
        filters: Channels of the output, at least 1.
        kernel_size: Of the window: an int, or (height, width).
        strides: How far the window moves: an int, or (height, width).
        padding: "valid", or "same" for an output of ceil(size / stride).
        data_format: "channels_last" or None.
        dilation_rate: How far neighbours in the window are apart: an int, or (height, width).
        groups: Must be 1.
        activation: A name of ``fastseq.activations``, or None.
        use_bias: Whether there is a bias.
        kernel_initializer: Of the kernel, (height, width, channels, filters).
        bias_initializer: Of the bias, (filters,).
        kernel_regularizer: Must be None, as must the other regularizers and constraints.
        bias_regularizer: None.
        activity_regularizer: None.
        kernel_constraint: None.
        bias_constraint: None.
        options: As for ``Layer``.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = (1, 1),
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: Any = (1, 1),
        groups: int = 1,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: None = None,
        bias_regularizer: None = None,
        activity_regularizer: None = None,
        kernel_constraint: None = None,
        bias_constraint: None = None,
        **options: Any,
    ) -> None:
        super().__init__(activity_regularizer=activity_regularizer, **options)
        self.refuse_unless_none(
            kernel_regularizer=kernel_regularizer,
            bias_regularizer=bias_regularizer,
            kernel_constraint=kernel_constraint,
            bias_constraint=bias_constraint,
        )
        self.filters = number(filters, "Conv2D", "filters", low=1, whole=True)
        self.kernel_size = pair(kernel_size, "Conv2D", "kernel_size")
        self.strides = pair(strides, "Conv2D", "strides")
        self.padding = padding_of(padding, "Conv2D")
        self.data_format = channels_last(data_format, "Conv2D")
        self.dilation_rate = pair(dilation_rate, "Conv2D", "dilation_rate")
        if groups != 1:
            raise ValueError(message("Conv2D", "groups", "be 1", describe(groups)))
        self.groups = 1
        self.activation = activations.name_of(activation, "Conv2D", "activation")
        self.use_bias = bool(use_bias)
        self.kernel_initializer = initializers.get(kernel_initializer, "Conv2D", "kernel_initializer")
        self.bias_initializer = initializers.get(bias_initializer, "Conv2D", "bias_initializer")
        self.kernel: Variable
        self.bias: Variable | None = None

    def build(self, input_shape: Any) -> None:
        self._check_rank(input_shape)
        if input_shape[3] is None:
            rule = "have a known number of channels"
            raise ValueError(message(self.name, "inputs", rule, f"shape {input_shape}"))
        shape = (*self.kernel_size, input_shape[3], self.filters)
        self.kernel = self.add_weight(shape, self.kernel_initializer, name="kernel")
        if self.use_bias:
            self.bias = self.add_weight((self.filters,), self.bias_initializer, name="bias")

    def _check_rank(self, shape: Any) -> None:
        if len(shape) != 4:
            rule = "have shape (batch, height, width, channels)"
            raise ValueError(message(self.name, "inputs", rule, f"shape {shape}"))

    def call(self, inputs: Any) -> Any:
        self._check_rank(inputs.shape)
        if inputs.shape[3] not in (None, self.kernel.shape[2]):
            rule = f"have {self.kernel.shape[2]} channels"
            raise ValueError(message(self.name, "inputs", rule, f"shape {inputs.shape}"))
        sums = ops.conv2d(
            inputs,
            self.kernel,
            self.bias,
            strides=self.strides,
            padding=self.padding,
            dilation_rate=self.dilation_rate,
        )
        return with_activation(sums, self.activation)


class _Pooling2D(Layer, abstract=True):
    """What the pooling layers share."""

    _operation: Callable[..., Any]

    def __init__(
        self,
        pool_size: Any = (2, 2),
        strides: Any = None,
        padding: str = "valid",
        data_format: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        kind = type(self).__name__
        self.pool_size = pair(pool_size, kind, "pool_size")
        self.strides = self.pool_size if strides is None else pair(strides, kind, "strides")
        self.padding = padding_of(padding, kind)
        self.data_format = channels_last(data_format, kind)

    def call(self, inputs: Any) -> Any:
        return type(self)._operation(inputs, self.pool_size, self.strides, self.padding)


class MaxPooling2D(_Pooling2D):
    """The largest of each window and channel of (batch, height, width, channels).

    Args:
        pool_size: The window: an int, or (height, width).
        strides: How far it moves; as far as it is large by default.
        padding: "valid", or "same" for an output of ceil(size / stride).
        data_format: "channels_last" or None.
        options: As for ``Layer``.
    """

    _operation = staticmethod(ops.max_pool2d)


class AveragePooling2D(_Pooling2D):
    """The mean of each window and channel, over what lies in the image; arguments as ``MaxPooling2D``."""

    _operation = staticmethod(ops.average_pool2d)


class _GlobalPooling2D(Layer, abstract=True):
    """What the layers that pool whole images share."""

    _operation: Callable[..., Any]

    def __init__(self, data_format: str | None = None, keepdims: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.data_format = channels_last(data_format, type(self).__name__)
        self.keepdims = bool(keepdims)

    def call(self, inputs: Any) -> Any:
        if len(inputs.shape) != 4:
            rule = "have shape (batch, height, width, channels)"
            raise ValueError(message(self.name, "inputs", rule, f"shape {inputs.shape}"))
        return type(self)._operation(inputs, axis=(1, 2), keepdims=self.keepdims)


class GlobalMaxPooling2D(_GlobalPooling2D):
    """The largest of each channel over the whole image: (batch, channels).

    Args:
        data_format: "channels_last" or None.
        keepdims: Whether height and width stay, with size 1.
        options: As for ``Layer``.
    """

    _operation = staticmethod(ops.max)


class GlobalAveragePooling2D(_GlobalPooling2D):
    """The mean of each channel over the whole image; arguments as ``GlobalMaxPooling2D``."""

    _operation = staticmethod(ops.mean)


Convolution2D = Conv2D
MaxPool2D, AvgPool2D = MaxPooling2D, AveragePooling2D
GlobalMaxPool2D, GlobalAvgPool2D = GlobalMaxPooling2D, GlobalAveragePooling2D
