"""LayerNormalization."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastseq import initializers, ops
from fastseq._arrays import message, number
from fastseq._symbol import Variable
from fastseq.layers.base import Layer

__all__ = ["LayerNormalization"]


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
