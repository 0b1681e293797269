"""What every optimizer has: its settings, its state and its steps, each one call over all parameters."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from fastseq import ops
from fastseq._arrays import Array, describe, message, number
from fastseq._names import FromArguments, unknown
from fastseq._symbol import Variable
from fastseq.optimizers import schedules

__all__ = ["Optimizer"]


class Optimizer(FromArguments):
    """Changes parameters along their gradients.

    Args:
        learning_rate: A number of at least 0, a schedule, or a function of the number of steps taken (or
            of nothing).
        weight_decay: Share of each parameter taken off per unit of learning rate; None for none.
        clipnorm: Largest norm of each variable's gradient; None for any.
        global_clipnorm: Largest norm of all gradients together; None for any.
        clipvalue: Largest absolute value of each gradient's element; None for any.
        use_ema: Whether a running mean of the parameters is kept, which takes their place at the end of
            ``fit``, also where Ctrl-C ends it, and every ``ema_overwrite_frequency`` steps.
        ema_momentum: How much of that mean stays at a step, in [0, 1].
        ema_overwrite_frequency: In steps; None for the end of ``fit`` alone.
        loss_scale_factor: Must be None: gradients are float32 or float64.
        gradient_accumulation_steps: Take a step every so many batches, at least 2, by the mean of their
            gradients. None for every batch.
        name: For people.
        decay: The learning rate is divided by ``1 + decay * steps taken`` (as in old Keras).
        lr: An old name of ``learning_rate``.
    Attributes:
        iterations: Batches seen; where gradients are accumulated, a step is taken once in so many.
        slots: The names of what it keeps for each parameter.
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
        use_ema: bool = False,
        ema_momentum: float = 0.99,
        ema_overwrite_frequency: int | None = None,
        loss_scale_factor: None = None,
        gradient_accumulation_steps: int | None = None,
        name: str | None = None,
        decay: float = 0.0,
        lr: Any = None,
        **others: Any,
    ) -> None:
        kind = type(self).__name__
        for option in others:
            rule = f"be among {', '.join(self._options())}"
            raise TypeError(message(kind, "options", rule, unknown(option, self._options())))
        if loss_scale_factor is not None:
            raise ValueError(message(kind, "loss_scale_factor", "be None", describe(loss_scale_factor)))
        self.name = name or kind.lower()
        self.iterations = 0
        self._rate: Any = None
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
        self.use_ema = bool(use_ema)
        self.ema_momentum = number(ema_momentum, kind, "ema_momentum", low=0, high=1)
        self.ema_overwrite_frequency = _every(ema_overwrite_frequency, kind, "ema_overwrite_frequency", 1)
        self.gradient_accumulation_steps = _every(
            gradient_accumulation_steps, kind, "gradient_accumulation_steps", 2
        )
        self._kept_from_decay: tuple[set[Variable], list[str]] = (set(), [])
        self._table: Any = None
        self._pairs: list[tuple[Array, Array]] = []
        self._built_for: list[tuple[int, int]] = []
        self._state: dict[str, list[Array]] = {}
        self._aside: list[Array] | None = None  # the parameters, while their means are in their place
        self._held: list[bool] = []  # of each `hold_averages`, whether the means were in place before

    @classmethod
    def _options(cls) -> list[str]:
        names = {n for base in (cls, Optimizer) for n in inspect.signature(base.__init__).parameters}
        return sorted(names - {"self", "options", "others"})

    @property
    def learning_rate(self) -> Any:
        """The learning rate of the next step, before ``decay``."""
        if not callable(self._rate):
            return self._rate
        return float(self._rate(self.iterations) if self._takes_step else self._rate())

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        kind = type(self).__name__
        if isinstance(value, dict):
            value = schedules.deserialize(value)
        if isinstance(self._rate, schedules.LearningRateSchedule) and not callable(value):
            rule = "be left to the schedule it was made with"
            raise TypeError(message(kind, "learning_rate", rule, describe(value)))
        self._rate = value if callable(value) else number(value, kind, "learning_rate", low=0)
        self._takes_step = callable(value) and _takes_argument(value)

    lr = learning_rate

    @property
    def built(self) -> bool:
        """Whether it has been given parameters."""
        return self._table is not None

    def exclude_from_weight_decay(
        self, var_list: Iterable[Variable] | None = None, var_names: Iterable[str] | None = None
    ) -> None:
        """Keeps variables as they are where others decay.

        Args:
            var_list: The variables.
            var_names: Regular expressions; a variable is kept whose name holds one: "bias".
        Raises:
            RuntimeError: Training has begun.
        """
        if self.built:
            function = f"{type(self).__name__}.exclude_from_weight_decay"
            raise RuntimeError(f"{function}: it must be called before training, got an optimizer in use")
        self._kept_from_decay = set(var_list or ()), list(var_names or ())

    def decays(self, variable: Variable) -> bool:
        """Whether weight decay is for this variable."""
        variables, names = self._kept_from_decay
        return variable not in variables and not any(re.search(name, variable.name) for name in names)

    def build(self, variables: Sequence[tuple[Array, Array]], decays: Sequence[bool] | None = None) -> None:
        """Takes the parameters it will change, and starts its own state.

        Args:
            variables: (value, gradient) flat arrays, such as ``graph.segments`` makes.
            decays: For each of them whether weight decay is for it; None for all.
        """
        self._table = ops.ParameterTable(variables, decays)
        self._pairs = list(variables)
        self._built_for = [(value.ctypes.data, value.size) for value, _ in variables]
        self._state = {
            name: [self._start(name, value) for value, _ in variables] for name in self.state_names
        }

    def _start(self, slot: str, value: Array) -> Array:
        """What a slot of a parameter holds before the first step."""
        return np.zeros_like(value)

    def built_for(self, variables: Sequence[tuple[Array, Array]]) -> bool:
        """Whether these are the parameters it was built for."""
        return self._built_for == [(value.ctypes.data, value.size) for value, _ in variables]

    def step(self) -> None:
        """Changes the parameters by their gradients and clears the gradients."""
        with Variable.changing:
            if self._gathered():
                rate = self.learning_rate
                if self.decay:
                    rate /= 1.0 + self.decay * self.iterations
                self._update(rate)
            if self.use_ema:
                self._average()
        self.iterations += 1

    @property
    def steps(self) -> int:
        """Steps taken: ``iterations``, or as many of them as have ended with a step."""
        return self.iterations // (self.gradient_accumulation_steps or 1)

    def _gathered(self) -> bool:
        """Whether the gradients are those of a step; otherwise they are put aside until there is one."""
        every = self.gradient_accumulation_steps
        if every is None:
            return True
        updates = (self.iterations + 1) % every == 0
        for (_, gradient), gathered in zip(self._pairs, self._state["gradient_accumulator"], strict=True):
            gathered += gradient
            gradient.fill(0)
            if updates:
                np.divide(gathered, gathered.dtype.type(every), out=gradient)
                gathered.fill(0)
        return updates

    def _average(self) -> None:
        every = self.ema_overwrite_frequency
        ops.average_step(
            self._table,
            self._state["average"],
            momentum=self.ema_momentum if self.steps else 0.0,
            overwrite=every is not None and (self.steps + 1) % every == 0,
        )

    @property
    def averaged(self) -> bool:
        """Whether the running means are in the parameters' place for now."""
        return self._aside is not None

    def swap_averages(self, averaged: bool) -> None:
        """Puts the running means in the parameters' place, or the parameters back.

        Nothing changes where no means are kept, or no step has been taken yet. What is interrupted can be
        done again: means and parameters both stay whole until the parameters are back.
        """
        if averaged and not self.averaged and self.use_ema and self.built and self.iterations:
            self._aside = [value.copy() for value, _ in self._pairs]
        if self._aside is None:
            return
        values = self._state["average"] if averaged else self._aside
        with Variable.changing:
            for (place, _), value in zip(self._pairs, values, strict=True):
                place[...] = value
        if not averaged:
            self._aside = None

    @property
    def holds(self) -> int:
        """How many ``hold_averages`` have not been released."""
        return len(self._held)

    def hold_averages(self) -> None:
        """Puts the running means in the parameters' place until ``release_averages``; calls may nest."""
        self._held.append(self.averaged)
        self.swap_averages(True)

    def release_averages(self) -> None:
        """Puts back what was there before the last ``hold_averages``, if one is left."""
        if self._held:
            self.swap_averages(self._held.pop())

    def finalize(self) -> None:
        """Puts the running means in the parameters' place for good, where there are some: ``fit``'s end."""
        self.swap_averages(True)
        self._aside = None
        self._held.clear()

    def _update(self, rate: float) -> None:
        raise NotImplementedError

    def _limits(self) -> dict[str, Any]:
        """What every step of every optimizer is told besides."""
        return {"weight_decay": self.weight_decay or 0.0, **self.clipping}

    @property
    def state_names(self) -> tuple[str, ...]:
        """The names of what it keeps for each parameter, in order."""
        names = self.slots
        if self.use_ema:
            names += ("average",)
        if self.gradient_accumulation_steps is not None:
            names += ("gradient_accumulator",)
        return names

    @property
    def state(self) -> list[list[Array]]:
        """For each of ``state_names`` its arrays, one per variable: what a resumed training needs."""
        return list(self._state.values())

    def get_config(self) -> dict[str, Any]:
        """The arguments that make this optimizer again."""
        names = ("use_ema", "ema_momentum", "ema_overwrite_frequency", "gradient_accumulation_steps")
        config = {
            "name": self.name,
            "learning_rate": (
                schedules.serialize(self._rate)
                if isinstance(self._rate, schedules.LearningRateSchedule)
                else self.learning_rate
            ),
            "weight_decay": self.weight_decay,
            "clipnorm": self.clipping.get("clipnorm"),
            "clipvalue": self.clipping.get("clipvalue"),
            "global_clipnorm": self.clipping.get("global_clipnorm"),
            **{name: getattr(self, name) for name in names},
        }
        if self.decay:
            config["decay"] = self.decay
        return config


def _every(value: Any, kind: str, argument: str, low: int) -> int | None:
    """A number of steps, or None."""
    if value is None:
        return None
    every: int = number(value, kind, argument, low=low, whole=True)
    return every


def _takes_argument(function: Callable[..., Any]) -> bool:
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:  # some built-in functions have no signature
        return True
    return any(p.kind is not p.KEYWORD_ONLY and p.kind is not p.VAR_KEYWORD for p in parameters)
