"""The optimizers: Keras's names, arguments and equations."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastseq import ops
from fastseq._arrays import Array, message, number
from fastseq.optimizers.base import Optimizer

__all__ = ["SGD", "Adagrad", "Adam", "AdamW", "Adamax", "Lion", "Nadam", "RMSprop"]


class SGD(Optimizer):
    """Gradient descent, with momentum if asked for.

    Args:
        learning_rate: A number, a schedule, or a function of the number of steps taken.
        momentum: In [0, 1): how much of the last step is repeated.
        nesterov: Whether the gradient is taken as if after that repeat.
        options: As for ``Optimizer``.
    """

    def __init__(
        self, learning_rate: Any = 0.01, momentum: float = 0.0, nesterov: bool = False, **options: Any
    ) -> None:
        self.momentum = number(momentum, "SGD", "momentum", low=0, high=1)
        self.nesterov = bool(nesterov)
        super().__init__(learning_rate, **options)
        self.slots = ("velocity",) if self.momentum else ()

    def _update(self, rate: float) -> None:
        ops.sgd_step(
            self._table,
            self._state.get("velocity"),
            learning_rate=rate,
            momentum=self.momentum,
            nesterov=self.nesterov,
            **self._limits(),
        )

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "momentum": self.momentum, "nesterov": self.nesterov}


class _Moments(Optimizer):
    """Common to those that keep a mean of the gradients and a size of theirs."""

    slots: tuple[str, ...] = ("momentum", "velocity")

    def __init__(
        self,
        learning_rate: Any = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        **options: Any,
    ) -> None:
        kind = type(self).__name__
        self.beta_1 = number(beta_1, kind, "beta_1", low=0, high=1, open_high=True)
        self.beta_2 = number(beta_2, kind, "beta_2", low=0, high=1, open_high=True)
        self.epsilon = number(epsilon, kind, "epsilon", low=0)
        super().__init__(learning_rate, **options)

    def _own(self, rate: float) -> dict[str, Any]:
        """What a step of each of these is told."""
        return {
            "step": self.steps + 1,
            "learning_rate": rate,
            "beta_1": self.beta_1,
            "beta_2": self.beta_2,
            "epsilon": self.epsilon,
            **self._limits(),
        }

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        return {**config, "beta_1": self.beta_1, "beta_2": self.beta_2, "epsilon": self.epsilon}


class Adam(_Moments):
    """Adam, with Keras's place for epsilon.

    Args:
        learning_rate: A number, a schedule, or a function of the number of steps taken.
        beta_1: Decay of the mean of the gradients, in [0, 1).
        beta_2: Decay of the mean of their squares, in [0, 1).
        epsilon: Added to the square root.
        amsgrad: Whether the largest mean of squares so far takes the place of the last one.
        options: As for ``Optimizer``.
    Source:
        Kingma & Ba (2015), https://arxiv.org/abs/1412.6980, the form before section 2.1; ``amsgrad``:
        Reddi, Kale & Kumar (2018), https://arxiv.org/abs/1904.09237.
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(learning_rate, beta_1, beta_2, epsilon, **options)
        self.amsgrad = bool(amsgrad)
        self.slots += ("velocity_hat",) if self.amsgrad else ()

    def _update(self, rate: float) -> None:
        state = self._state
        ops.adam_step(
            self._table, state["momentum"], state["velocity"], state.get("velocity_hat"), **self._own(rate)
        )

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "amsgrad": self.amsgrad}


class AdamW(Adam):
    """Adam with weight decay from the start: ``weight_decay`` of each parameter per unit of learning rate.

    The decay is beside the gradient's means, not in them; ``exclude_from_weight_decay`` spares variables.

    Args:
        learning_rate: A number, a schedule, or a function of the number of steps taken.
        weight_decay: At least 0.
        beta_1: As for ``Adam``, as are the others.
        beta_2: In [0, 1).
        epsilon: Added to the square root.
        amsgrad: Whether the largest mean of squares so far takes the place of the last one.
        options: As for ``Optimizer``.
    Source:
        Loshchilov & Hutter (2019), https://arxiv.org/abs/1711.05101
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        weight_decay: float = 0.004,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        **options: Any,
    ) -> None:
        if weight_decay is None:
            raise TypeError(message("AdamW", "weight_decay", "be a number", "None"))
        super().__init__(
            learning_rate, beta_1, beta_2, epsilon, amsgrad, weight_decay=weight_decay, **options
        )


class Nadam(_Moments):
    """Adam with Nesterov's momentum.

    Args:
        learning_rate: A number, a schedule, or a function of the number of steps taken.
        beta_1: Decay of the mean of the gradients, in [0, 1), from half of which it grows.
        beta_2: Decay of the mean of their squares, in [0, 1).
        epsilon: Added to the square root.
        options: As for ``Optimizer``.
    Source:
        Dozat (2016), https://cs229.stanford.edu/proj2015/054_report.pdf
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        **options: Any,
    ) -> None:
        super().__init__(learning_rate, beta_1, beta_2, epsilon, **options)
        self._product = 0, 1.0  # steps, and the product of their momenta

    def _momentum_product(self) -> float:
        """The product of the momenta of all steps, this one included; from the start after a resume."""
        counted, product = self._product
        if counted > self.steps:
            counted, product = 0, 1.0
        for step in range(counted, self.steps + 1):
            product *= self.beta_1 * (1 - 0.5 * 0.96 ** (step + 1))
        self._product = self.steps + 1, product
        return product

    def _update(self, rate: float) -> None:
        ops.nadam_step(
            self._table,
            self._state["momentum"],
            self._state["velocity"],
            momentum_product=self._momentum_product(),
            **self._own(rate),
        )


class Adamax(_Moments):
    """Adam by the largest gradient, which fades, in place of the mean of squares.

    Args:
        learning_rate: A number, a schedule, or a function of the number of steps taken.
        beta_1: Decay of the mean of the gradients, in [0, 1).
        beta_2: How slowly the largest gradient fades, in [0, 1).
        epsilon: Added to it.
        options: As for ``Optimizer``.
    Source:
        Kingma & Ba (2015), https://arxiv.org/abs/1412.6980, section 7.1
    """

    slots = ("momentum", "norm")

    def _update(self, rate: float) -> None:
        ops.adamax_step(self._table, self._state["momentum"], self._state["norm"], **self._own(rate))


class Adagrad(Optimizer):
    """Gradients divided by the root of the sum of their squares so far.

    Args:
        learning_rate: A number, a schedule, or a function of the number of steps taken.
        initial_accumulator_value: Where that sum starts.
        epsilon: Added to it, within the root.
        options: As for ``Optimizer``.
    Source:
        Duchi, Hazan & Singer (2011), https://jmlr.org/papers/v12/duchi11a.html
    """

    slots = ("accumulator",)

    def __init__(
        self,
        learning_rate: Any = 0.001,
        initial_accumulator_value: float = 0.1,
        epsilon: float = 1e-7,
        **options: Any,
    ) -> None:
        self.initial_accumulator_value = number(
            initial_accumulator_value, "Adagrad", "initial_accumulator_value", low=0
        )
        self.epsilon = number(epsilon, "Adagrad", "epsilon", low=0)
        super().__init__(learning_rate, **options)

    def _start(self, slot: str, value: Array) -> Array:
        start = self.initial_accumulator_value if slot == "accumulator" else 0
        return np.full_like(value, start)

    def _update(self, rate: float) -> None:
        ops.adagrad_step(
            self._table,
            self._state["accumulator"],
            learning_rate=rate,
            epsilon=self.epsilon,
            **self._limits(),
        )

    def get_config(self) -> dict[str, Any]:
        names = ("initial_accumulator_value", "epsilon")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


class Lion(Optimizer):
    """Steps of one size, along the sign of a mean of the gradients.

    Args:
        learning_rate: A number, a schedule, or a function of the number of steps taken.
        beta_1: How much of the running mean is in the mean whose sign is taken, in (0, 1].
        beta_2: Decay of the running mean, in [0, 1].
        options: As for ``Optimizer``.
    Source:
        Chen et al. (2023), https://arxiv.org/abs/2302.06675
    """

    slots = ("momentum",)

    def __init__(
        self, learning_rate: Any = 0.001, beta_1: float = 0.9, beta_2: float = 0.99, **options: Any
    ) -> None:
        self.beta_1 = number(beta_1, "Lion", "beta_1", low=0, high=1, open_low=True)
        self.beta_2 = number(beta_2, "Lion", "beta_2", low=0, high=1)
        super().__init__(learning_rate, **options)

    def _update(self, rate: float) -> None:
        ops.lion_step(
            self._table,
            self._state["momentum"],
            learning_rate=rate,
            beta_1=self.beta_1,
            beta_2=self.beta_2,
            **self._limits(),
        )

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "beta_1": self.beta_1, "beta_2": self.beta_2}


class RMSprop(Optimizer):
    """Gradients divided by the root of a running mean of their squares.

    Args:
        learning_rate: A number, a schedule, or a function of the number of steps taken.
        rho: Decay of the running means, in [0, 1].
        momentum: In [0, 1]: how much of the last step is repeated.
        epsilon: Added to the mean of squares, within the root.
        centered: Whether the square of the gradients' running mean is taken off the mean of squares.
        options: As for ``Optimizer``.
    Source:
        Tieleman & Hinton (2012), lecture 6.5; ``centered``: Graves (2013),
        https://arxiv.org/abs/1308.0850.
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        rho: float = 0.9,
        momentum: float = 0.0,
        epsilon: float = 1e-7,
        centered: bool = False,
        **options: Any,
    ) -> None:
        self.rho = number(rho, "RMSprop", "rho", low=0, high=1)
        self.momentum = number(momentum, "RMSprop", "momentum", low=0, high=1)
        self.epsilon = number(epsilon, "RMSprop", "epsilon", low=0)
        self.centered = bool(centered)
        super().__init__(learning_rate, **options)
        self.slots = ("velocity",)
        self.slots += ("momentum",) if self.momentum else ()
        self.slots += ("average_gradient",) if self.centered else ()

    def _update(self, rate: float) -> None:
        state = self._state
        ops.rmsprop_step(
            self._table,
            state["velocity"],
            state.get("momentum"),
            state.get("average_gradient"),
            learning_rate=rate,
            rho=self.rho,
            momentum=self.momentum,
            epsilon=self.epsilon,
            **self._limits(),
        )

    def get_config(self) -> dict[str, Any]:
        names = ("rho", "momentum", "epsilon", "centered")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}
