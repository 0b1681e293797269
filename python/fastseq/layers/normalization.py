"""LayerNormalization and BatchNormalization."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastseq import initializers, ops
from fastseq._arrays import describe, message, number
from fastseq._symbol import Variable
from fastseq.layers.base import Layer
from fastseq.ops.batch_norm import moving_batch_norm

__all__ = ["BatchNormalization", "LayerNormalization"]


class LayerNormalization(Layer):
    """Each sample (or step) less its mean, over its standard deviation, times gamma plus beta.

    Args:
        axis: The axis over which mean and variance are taken, or several; not the batch.
        epsilon: Added to the variance.
        center: Whether there is a beta.
        scale: Whether there is a gamma.
        beta_initializer: Of beta, in the sizes of the axes.
        gamma_initializer: Of gamma, likewise.
        beta_regularizer: Of beta: a name, a Regularizer or a function.
        gamma_regularizer: Of gamma.
        beta_constraint: Of beta: a name, a Constraint or a function of its value.
        gamma_constraint: Of gamma.
        options: As for ``Layer``.
    Source:
        Ba, Kiros & Hinton (2016), https://arxiv.org/abs/1607.06450
    """

    supports_masking = True

    def __init__(
        self,
        axis: int | Sequence[int] = -1,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        beta_constraint: Any = None,
        gamma_constraint: Any = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        kind = "LayerNormalization"
        self.keep_rules(
            beta_regularizer=beta_regularizer,
            gamma_regularizer=gamma_regularizer,
            beta_constraint=beta_constraint,
            gamma_constraint=gamma_constraint,
        )
        given = axis if isinstance(axis, (list, tuple)) else [axis]
        axes = [number(one, kind, "axis", whole=True) for one in given]
        self.axis = axes if isinstance(axis, (list, tuple)) else axes[0]
        self.epsilon = number(epsilon, kind, "epsilon", low=0)
        self.center, self.scale = bool(center), bool(scale)
        self.beta_initializer = initializers.get(beta_initializer, kind, "beta_initializer")
        self.gamma_initializer = initializers.get(gamma_initializer, kind, "gamma_initializer")
        self.gamma: Variable | None = None
        self.beta: Variable | None = None

    def _axes(self, rank: int) -> list[int]:
        """The axes from 0, in order."""
        axes = self.axis if isinstance(self.axis, list) else [self.axis]
        for one in axes:
            if not -rank < one < rank or one == 0:
                rule = f"name axes of the input but the batch, in [{1 - rank}, {rank})"
                raise ValueError(message(self.name, "axis", rule, str(one)))
        return sorted({one % rank for one in axes})

    def build(self, input_shape: Any) -> None:
        sizes = [input_shape[axis] for axis in self._axes(len(input_shape))]
        if self.scale:
            self.gamma = self.add_ruled("gamma", sizes, self.gamma_initializer)
        if self.center:
            self.beta = self.add_ruled("beta", sizes, self.beta_initializer)

    def call(self, inputs: Any) -> Any:
        rank = len(inputs.shape)
        axes = self._axes(rank)
        beside = tuple(slice(None) if axis in axes else None for axis in range(axes[0], rank))
        centered = inputs - ops.mean(inputs, axis=axes, keepdims=True)
        variance = ops.mean(ops.square(centered), axis=axes, keepdims=True)
        output = centered / ops.sqrt(variance + self.epsilon)
        if self.gamma is not None:
            output = output * self.gamma[beside]
        return output if self.beta is None else output + self.beta[beside]


class BatchNormalization(Layer):
    """Each channel, the last axis, less its mean, over its standard deviation, times gamma plus beta.

    In training mean and variance are those of the batch (of the rows that a mask leaves), over all axes but
    the last, and moving averages follow them: ``moving * momentum + batch * (1 - momentum)``. Otherwise, and
    where ``trainable`` is False when the model is compiled, they are the moving averages, which stay.

    Args:
        axis: Must be the last one.
        momentum: Of the moving averages.
        epsilon: Added to the variance.
        center: Whether there is a beta.
        scale: Whether there is a gamma.
        beta_initializer: Of beta, (channels,).
        gamma_initializer: Of gamma, likewise.
        moving_mean_initializer: Of the moving mean, likewise.
        moving_variance_initializer: Of the moving variance, likewise.
        beta_regularizer: Must be None, as must the other regularizer and the constraints.
        gamma_regularizer: None.
        beta_constraint: None.
        gamma_constraint: None.
        renorm: Must be False.
        renorm_clipping: None.
        renorm_momentum: Accepted for Keras's sake.
        synchronized: Must be False.
        options: As for ``Layer``.
    Source:
        Ioffe & Szegedy (2015), https://arxiv.org/abs/1502.03167
    """

    supports_masking = True

    def __init__(
        self,
        axis: int = -1,
        momentum: float = 0.99,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        moving_mean_initializer: Any = "zeros",
        moving_variance_initializer: Any = "ones",
        beta_regularizer: None = None,
        gamma_regularizer: None = None,
        beta_constraint: None = None,
        gamma_constraint: None = None,
        renorm: bool = False,
        renorm_clipping: None = None,
        renorm_momentum: float = 0.99,
        synchronized: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        kind = "BatchNormalization"
        self.refuse_unless_none(
            beta_regularizer=beta_regularizer,
            gamma_regularizer=gamma_regularizer,
            beta_constraint=beta_constraint,
            gamma_constraint=gamma_constraint,
            renorm_clipping=renorm_clipping,
        )
        for argument, value in (("renorm", renorm), ("synchronized", synchronized)):
            if value:
                raise ValueError(message(kind, argument, "be False", describe(value)))
        self.axis = number(axis, kind, "axis", whole=True)
        self.momentum = number(momentum, kind, "momentum")
        self.epsilon = number(epsilon, kind, "epsilon", low=0)
        self.center, self.scale = bool(center), bool(scale)
        self.beta_initializer = initializers.get(beta_initializer, kind, "beta_initializer")
        self.gamma_initializer = initializers.get(gamma_initializer, kind, "gamma_initializer")
        self.moving_mean_initializer = initializers.get(
            moving_mean_initializer, kind, "moving_mean_initializer"
        )
        self.moving_variance_initializer = initializers.get(
            moving_variance_initializer, kind, "moving_variance_initializer"
        )
        self.gamma: Variable | None = None
        self.beta: Variable | None = None
        self.moving_mean: Variable
        self.moving_variance: Variable

    def _check(self, shape: Any) -> None:
        if len(shape) < 2:
            rule = "have shape (batch, ..., channels)"
            raise ValueError(message(self.name, "inputs", rule, f"shape {shape}"))
        if self.axis not in (-1, len(shape) - 1):
            rule = f"be the last one, -1 or {len(shape) - 1}"
            raise ValueError(message(self.name, "axis", rule, str(self.axis)))
        if shape[-1] is None:
            rule = "have a known number of channels"
            raise ValueError(message(self.name, "inputs", rule, f"shape {shape}"))

    def build(self, input_shape: Any) -> None:
        self._check(input_shape)
        shape = (input_shape[-1],)
        if self.scale:
            self.gamma = self.add_weight(shape, self.gamma_initializer, name="gamma")
        if self.center:
            self.beta = self.add_weight(shape, self.beta_initializer, name="beta")
        self.moving_mean = self.add_weight(
            shape, self.moving_mean_initializer, trainable=False, name="moving_mean"
        )
        self.moving_variance = self.add_weight(
            shape, self.moving_variance_initializer, trainable=False, name="moving_variance"
        )

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        self._check(inputs.shape)
        if inputs.shape[-1] != self.moving_mean.shape[0]:
            rule = f"have {self.moving_mean.shape[0]} channels"
            raise ValueError(message(self.name, "inputs", rule, f"shape {inputs.shape}"))
        if mask is not None and len(mask.shape) != len(inputs.shape) - 1:
            rule = "have one axis less than the inputs"
            raise ValueError(message(self.name, "mask", rule, f"shape {mask.shape} for {inputs.shape}"))
        output, _, _ = moving_batch_norm(
            inputs,
            self.gamma,
            self.beta,
            self.moving_mean,
            self.moving_variance,
            mask,
            momentum=self.momentum,
            epsilon=self.epsilon,
            frozen=lambda: not self.trainable,
        )
        output.node.random = training
        output.node.updates = [(self.moving_mean, 1), (self.moving_variance, 2)]
        return output
