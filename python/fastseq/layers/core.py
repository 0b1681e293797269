"""Dense, Activation, Dropout, Embedding, Masking, and the layers that change shapes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from fastseq import activations, initializers, ops
from fastseq._arrays import describe, message, number
from fastseq._symbol import Variable
from fastseq.layers.arguments import shape_of
from fastseq.layers.base import Layer

__all__ = [
    "Activation",
    "Dense",
    "Dropout",
    "Embedding",
    "Flatten",
    "Masking",
    "Permute",
    "RepeatVector",
    "Reshape",
]


def with_activation(x: Any, name: str) -> Any:
    """``x`` through an activation; a plan lets the operation before it do that where it can."""
    return x if name == "linear" else ops.activation(x, name)


class Dense(Layer):
    """``activation(inputs @ kernel + bias)`` over the last axis: (..., features) to (..., units).

    Args:
        units: Size of the last axis of the output, at least 1.
        activation: A name of ``fastseq.activations``, or None.
        use_bias: Whether there is a bias.
        kernel_initializer: Of the kernel, (features, units).
        bias_initializer: Of the bias, (units,).
        kernel_regularizer: Of the kernel: a name, a Regularizer or a function.
        bias_regularizer: Of the bias.
        activity_regularizer: Of the output.
        kernel_constraint: Of the kernel: a name, a Constraint or a function of its value.
        bias_constraint: Of the bias.
        options: As for ``Layer``.
    """

    supports_masking = True

    def __init__(
        self,
        units: int,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        **options: Any,
    ) -> None:
        super().__init__(activity_regularizer=activity_regularizer, **options)
        self.keep_rules(
            kernel_regularizer=kernel_regularizer,
            bias_regularizer=bias_regularizer,
            kernel_constraint=kernel_constraint,
            bias_constraint=bias_constraint,
        )
        self.units = number(units, "Dense", "units", low=1, whole=True)
        self.activation = activations.name_of(activation, "Dense", "activation")
        self.use_bias = bool(use_bias)
        self.kernel_initializer = initializers.get(kernel_initializer, "Dense", "kernel_initializer")
        self.bias_initializer = initializers.get(bias_initializer, "Dense", "bias_initializer")
        self.kernel: Variable
        self.bias: Variable | None = None

    def build(self, input_shape: Any) -> None:
        features = input_shape[-1] if len(input_shape) > 1 else None
        if features is None:
            rule = "have a known last axis after the batch"
            raise ValueError(message(self.name, "inputs", rule, f"shape {input_shape}"))
        self.kernel = self.add_ruled("kernel", (features, self.units), self.kernel_initializer)
        if self.use_bias:
            self.bias = self.add_ruled("bias", (self.units,), self.bias_initializer)

    def call(self, inputs: Any) -> Any:
        if inputs.shape[-1] not in (None, self.kernel.shape[0]):
            rule = f"have {self.kernel.shape[0]} features"
            raise ValueError(message(self.name, "inputs", rule, f"shape {inputs.shape}"))
        return with_activation(ops.dense(inputs, self.kernel, self.bias), self.activation)


class Activation(Layer):
    """An activation by itself.

    Args:
        activation: A name of ``fastseq.activations``.
        options: As for ``Layer``.
    """

    supports_masking = True

    def __init__(self, activation: Any, **options: Any) -> None:
        super().__init__(**options)
        self.activation = activations.name_of(activation, "Activation", "activation")

    def call(self, inputs: Any) -> Any:
        return with_activation(inputs, self.activation)


class Dropout(Layer):
    """In training, sets inputs to 0 with probability ``rate`` and divides the others by 1 - rate.

    Args:
        rate: In [0, 1]; at 1 everything is 0.
        noise_shape: Must be None.
        seed: Where its randomness starts; drawn from ``set_seed``'s generator by default.
        options: As for ``Layer``.
    """

    supports_masking = True

    def __init__(
        self, rate: float, noise_shape: None = None, seed: int | None = None, **options: Any
    ) -> None:
        super().__init__(**options)
        self.refuse_unless_none(noise_shape=noise_shape)
        self.rate = number(rate, "Dropout", "rate", low=0, high=1)
        self.seed = seed
        self.random = self.make_seed(seed)

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        if self.rate == 0.0:
            return inputs
        output = ops.dropout(inputs, self.rate, self.random)
        output.node.random = training
        return output


class Embedding(Layer):
    """Rows of a table by number: (batch, ...) integers in [0, input_dim) to (batch, ..., output_dim).

    Args:
        input_dim: How many rows the table has.
        output_dim: How long a row is.
        embeddings_initializer: Of the table, (input_dim, output_dim).
        embeddings_regularizer: Of the table: a name, a Regularizer or a function.
        embeddings_constraint: Of the table: a name, a Constraint or a function of its value.
        mask_zero: Whether 0 is padding, so that the layers after this one skip those steps.
        weights: The table itself, or a list of it.
        options: As for ``Layer``.
    """

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        embeddings_initializer: Any = "uniform",
        embeddings_regularizer: Any = None,
        embeddings_constraint: Any = None,
        mask_zero: bool = False,
        weights: Any = None,
        **options: Any,
    ) -> None:
        self.input_length = options.get("input_length")
        super().__init__(**options)
        self.keep_rules(
            embeddings_regularizer=embeddings_regularizer, embeddings_constraint=embeddings_constraint
        )
        self.input_dim = number(input_dim, "Embedding", "input_dim", low=1, whole=True)
        self.output_dim = number(output_dim, "Embedding", "output_dim", low=1, whole=True)
        self.embeddings_initializer = initializers.get(
            embeddings_initializer, "Embedding", "embeddings_initializer"
        )
        self.mask_zero = self.supports_masking = bool(mask_zero)
        if self.input_length is not None and self.batch_input_shape is None:
            self.batch_input_shape = (None, *shape_of(self.input_length, "Embedding", "input_length"))
        self.embeddings: Variable
        if weights is not None:
            self.ensure_built(None)
            self.set_weights(weights if isinstance(weights, (list, tuple)) else [weights])

    def build(self, input_shape: Any) -> None:
        shape = (self.input_dim, self.output_dim)
        self.embeddings = self.add_ruled("embeddings", shape, self.embeddings_initializer)

    def call(self, inputs: Any) -> Any:
        return ops.embedding(inputs, self.embeddings)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        return ops.not_equal(inputs, 0) if self.mask_zero else None


class Masking(Layer):
    """Masks the steps of (batch, steps, features) whose features all equal ``mask_value``, and zeroes them.

    Args:
        mask_value: A number.
        options: As for ``Layer``.
    """

    supports_masking = True

    def __init__(self, mask_value: float = 0.0, **options: Any) -> None:
        super().__init__(**options)
        self.mask_value = number(mask_value, "Masking", "mask_value")

    def call(self, inputs: Any) -> Any:
        if len(inputs.shape) < 3:
            rule = "have shape (batch, steps, features)"
            raise ValueError(message(self.name, "inputs", rule, str(inputs.shape)))
        mask = ops.any_not_equal(inputs, self.mask_value)
        output = ops.masked(inputs, mask)
        output.mask = mask
        return output


class RepeatVector(Layer):
    """(batch, features) at each of ``n`` steps: (batch, n, features).

    A recurrent layer right after it takes the vector itself: nothing is copied.

    Args:
        n: How many steps, at least 1.
        options: As for ``Layer``.
    """

    def __init__(self, n: int, **options: Any) -> None:
        super().__init__(**options)
        self.n = number(n, "RepeatVector", "n", low=1, whole=True)

    def call(self, inputs: Any) -> Any:
        if len(inputs.shape) != 2:
            raise ValueError(message(self.name, "inputs", "have shape (batch, features)", str(inputs.shape)))
        return ops.repeat(inputs, self.n)


class Flatten(Layer):
    """(batch, ...) as (batch, all the rest).

    Args:
        data_format: Accepted for Keras's sake; "channels_last" or None.
        options: As for ``Layer``.
    """

    def __init__(self, data_format: str | None = None, **options: Any) -> None:
        super().__init__(**options)
        if data_format not in (None, "channels_last"):
            raise ValueError(message("Flatten", "data_format", "be channels_last", describe(data_format)))
        self.data_format = data_format

    def call(self, inputs: Any) -> Any:
        rest = inputs.shape[1:]
        return ops.reshape(inputs, (-1 if None in rest else math.prod(rest),))


class Reshape(Layer):
    """Each sample in another shape.

    Args:
        target_shape: Without the batch; one entry may be -1.
        options: As for ``Layer``.
    """

    def __init__(self, target_shape: Sequence[int], **options: Any) -> None:
        super().__init__(**options)
        shape = tuple(target_shape) if isinstance(target_shape, (list, tuple)) else (target_shape,)
        for size in shape:
            if size != -1:
                number(size, "Reshape", "target_shape", low=0, whole=True)
        if shape.count(-1) > 1:
            raise ValueError(message("Reshape", "target_shape", "hold -1 at most once", str(shape)))
        self.target_shape = tuple(int(size) for size in shape)

    def call(self, inputs: Any) -> Any:
        return ops.reshape(inputs, self.target_shape)


class Permute(Layer):
    """Each sample with its axes in another order.

    Args:
        dims: The axes, counted from 1, the batch (0) left out: ``(2, 1)`` swaps steps and features.
        options: As for ``Layer``.
    """

    def __init__(self, dims: Sequence[int], **options: Any) -> None:
        super().__init__(**options)
        self.dims = tuple(dims)
        if sorted(self.dims) != list(range(1, len(self.dims) + 1)):
            rule = "be an order of the axes 1, 2, ..."
            raise ValueError(message("Permute", "dims", rule, str(self.dims)))

    def call(self, inputs: Any) -> Any:
        if len(inputs.shape) != len(self.dims) + 1:
            rule = f"have {len(self.dims) + 1} axes"
            raise ValueError(message(self.name, "inputs", rule, f"shape {inputs.shape}"))
        return ops.transpose(inputs, (0, *self.dims))
