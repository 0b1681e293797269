"""Optimizers: Keras's names and arguments; a step is one call over all parameters."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastseq import ops
from fastseq._arrays import Array, describe, message, number
from fastseq._names import known_as
from fastseq._symbol import Variable

__all__ = ["SGD", "Adam", "Optimizer", "RMSprop", "get"]

# Arguments of Keras's optimizers that must keep their default here.
_ONLY_DEFAULT = {
    "use_ema": False,
    "ema_momentum": 0.99,
    "ema_overwrite_frequency": None,
    "loss_scale_factor": None,
    "gradient_accumulation_steps": None,
}


class Optimizer:
    """Changes parameters along their gradients.

    Args:
        learning_rate: A number more than 0, or a function of the number of steps taken.
        weight_decay: Share of each parameter taken off per unit of learning rate; None for none.
        clipnorm: Largest norm of each variable's gradient; None for any.
        global_clipnorm: Largest norm of all gradients together; None for any.
        clipvalue: Largest absolute value of each gradient's element; None for any.
        name: For people.
        decay: The learning rate is divided by ``1 + decay * steps taken`` (as in old Keras).
        lr: An old name of ``learning_rate``.
    Attributes:
        iterations: Steps taken.
    """

    slots: tuple[str, ...] = ()

    def __init__(
        self,
        learning_rate: Any,
        *,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        name: str | None = None,
        decay: float = 0.0,
        lr: Any = None,
        **others: Any,
    ) -> None:
        kind = type(self).__name__
        for option, value in others.items():
            if option not in _ONLY_DEFAULT:
                rule = f"be among {', '.join(self._options())}"
                raise TypeError(message(kind, "options", rule, describe(option)))
            if value != _ONLY_DEFAULT[option]:
                raise ValueError(message(kind, option, f"be {_ONLY_DEFAULT[option]}", describe(value)))
        self.name = name or kind.lower()
        self.iterations = 0
        self.learning_rate = learning_rate if lr is None else lr
        self.decay = number(decay, kind, "decay", low=0)
        self.clipping: dict[str, float] = {}
        for option, limit in (
            ("clipnorm", clipnorm), ("clipvalue", clipvalue), ("global_clipnorm", global_clipnorm),
        ):  # fmt: skip
            if limit is not None:
                self.clipping[option] = number(limit, kind, option, low=0, open_low=True)
        if len(self.clipping) > 1:
            got = " and ".join(self.clipping)
            raise ValueError(message(kind, "clipping", "be one of clipnorm, clipvalue, global_clipnorm", got))
        self.weight_decay = (
            None if weight_decay is None else number(weight_decay, kind, "weight_decay", low=0)
        )
        self._table: Any = None
        self._built_for: list[tuple[int, int]] = []
        self._state: list[list[Array]] = []

    @classmethod
    def _options(cls) -> list[str]:
        names = {n for base in (cls, Optimizer) for n in inspect.signature(base.__init__).parameters}
        return sorted((names | set(_ONLY_DEFAULT)) - {"self", "options", "others"})

    @property
    def learning_rate(self) -> Any:
        """The learning rate of the next step, before ``decay``."""
        return self._rate(self.iterations) if callable(self._rate) else self._rate

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        self._rate = value if callable(value) else number(value, type(self).__name__, "learning_rate", low=0)

    lr = learning_rate

    @property
    def built(self) -> bool:
        """Whether it has been given parameters."""
        return self._table is not None

    def build(self, variables: Sequence[tuple[Array, Array]]) -> None:
        """Takes the parameters it will change, and starts its own state at 0.

        Args:
            variables: (value, gradient) flat arrays of one dtype each, such as ``graph.segments`` makes:
                one per variable where there is clipping by variable, else as few as possible.
        """
        self._table = ops.ParameterTable(variables)
        self._built_for = [(value.ctypes.data, value.size) for value, _ in variables]
        self._state = [[np.zeros_like(value) for value, _ in variables] for _ in self.slots]

    def built_for(self, variables: Sequence[tuple[Array, Array]]) -> bool:
        """Whether these are the parameters it was built for."""
        return self._built_for == [(value.ctypes.data, value.size) for value, _ in variables]

    def step(self) -> None:
        """Changes the parameters by their gradients and clears the gradients."""
        rate = self.learning_rate
        if self.decay:
            rate /= 1.0 + self.decay * self.iterations
        self._update(rate)
        Variable.changes += 1
        self.iterations += 1

    def _update(self, rate: float) -> None:
        raise NotImplementedError

    def _limits(self) -> dict[str, Any]:
        """What every step of every optimizer is told besides."""
        return {"weight_decay": self.weight_decay or 0.0, **self.clipping}

    @property
    def state(self) -> list[list[Array]]:
        """For each of ``slots`` its arrays, one per segment: what a resumed training needs."""
        return self._state

    def get_config(self) -> dict[str, Any]:
        """The arguments that make this optimizer again."""
        config = {
            "name": self.name,
            "learning_rate": self.learning_rate,
            "weight_decay": self.weight_decay,
            "clipnorm": self.clipping.get("clipnorm"),
            "clipvalue": self.clipping.get("clipvalue"),
            "global_clipnorm": self.clipping.get("global_clipnorm"),
        }
        if self.decay:
            config["decay"] = self.decay
        return config


class SGD(Optimizer):
    """Gradient descent, with momentum if asked for.

    Args:
        learning_rate: A number, or a function of the number of steps taken.
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
            self._state[0] if self.momentum else None,
            learning_rate=rate,
            momentum=self.momentum,
            nesterov=self.nesterov,
            **self._limits(),
        )

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "momentum": self.momentum, "nesterov": self.nesterov}


class Adam(Optimizer):
    """Adam, with Keras's place for epsilon.

    Args:
        learning_rate: A number, or a function of the number of steps taken.
        beta_1: Decay of the mean of the gradients, in [0, 1).
        beta_2: Decay of the mean of their squares, in [0, 1).
        epsilon: Added to the square root.
        amsgrad: Must be False.
        options: As for ``Optimizer``.
    Source:
        Kingma & Ba (2015), https://arxiv.org/abs/1412.6980, the form before section 2.1.
    """

    slots = ("momentum", "velocity")

    def __init__(
        self,
        learning_rate: Any = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        **options: Any,
    ) -> None:
        if amsgrad:
            raise ValueError(message("Adam", "amsgrad", "be False", describe(amsgrad)))
        self.beta_1 = number(beta_1, "Adam", "beta_1", low=0, high=1, open_high=True)
        self.beta_2 = number(beta_2, "Adam", "beta_2", low=0, high=1, open_high=True)
        self.epsilon = number(epsilon, "Adam", "epsilon", low=0)
        super().__init__(learning_rate, **options)

    def _update(self, rate: float) -> None:
        ops.adam_step(
            self._table,
            *self._state,
            step=self.iterations + 1,
            learning_rate=rate,
            beta_1=self.beta_1,
            beta_2=self.beta_2,
            epsilon=self.epsilon,
            **self._limits(),
        )

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        return {**config, "beta_1": self.beta_1, "beta_2": self.beta_2, "epsilon": self.epsilon}


class RMSprop(Optimizer):
    """Gradients divided by the root of a running mean of their squares.

    Args:
        learning_rate: A number, or a function of the number of steps taken.
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
        state = dict(zip(self.slots, self._state, strict=True))
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


KNOWN: dict[str, Callable[..., Optimizer]] = {"adam": Adam, "rmsprop": RMSprop, "sgd": SGD}


def get(identifier: Any, function: str = "optimizers.get", argument: str = "identifier") -> Optimizer:
    """The optimizer meant by a name, a class or an object.

    Raises:
        ValueError: An unknown name; the text lists the known ones.
        TypeError: None of the above.
    """
    if isinstance(identifier, Optimizer):
        return identifier
    if isinstance(identifier, type) and issubclass(identifier, Optimizer):
        return identifier()  # type: ignore[call-arg]
    if isinstance(identifier, str):
        return known_as(identifier, KNOWN, function, argument)()
    raise TypeError(
        message(function, argument, "be the name of an optimizer or an Optimizer", describe(identifier))
    )
