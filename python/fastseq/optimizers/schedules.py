"""Learning rates that change with the number of steps taken: Keras's schedules, in float64."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from fastseq import _registry
from fastseq._arrays import describe, message, number
from fastseq._names import ByArguments, made_from, snake

__all__ = [
    "CosineDecay",
    "CosineDecayRestarts",
    "ExponentialDecay",
    "InverseTimeDecay",
    "LearningRateSchedule",
    "PiecewiseConstantDecay",
    "PolynomialDecay",
    "deserialize",
    "serialize",
]


class LearningRateSchedule(ByArguments):
    """A learning rate for each step; a subclass defines ``__call__`` and keeps its arguments' names."""

    def __call__(self, step: int) -> Any:
        """The learning rate after ``step`` steps, 0 before the first."""
        raise NotImplementedError

    def _number(self, value: Any, argument: str, **bounds: Any) -> Any:
        return number(value, type(self).__name__, argument, **bounds)

    def _period(self, value: Any, argument: str) -> Any:
        return self._number(value, argument, low=0, open_low=True)


class _Decay(LearningRateSchedule):
    """Common to those that follow the share of ``decay_steps`` taken, in whole steps where a staircase."""

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: float,
        decay_rate: float,
        staircase: bool = False,
        name: str | None = None,
    ) -> None:
        self.initial_learning_rate = self._number(initial_learning_rate, "initial_learning_rate")
        self.decay_steps = self._period(decay_steps, "decay_steps")
        self.decay_rate = self._number(decay_rate, "decay_rate")
        self.staircase = bool(staircase)
        self.name = name or type(self).__name__

    def _periods(self, step: int) -> float:
        periods = step / self.decay_steps
        return float(math.floor(periods)) if self.staircase else float(periods)


class ExponentialDecay(_Decay):
    """``initial_learning_rate * decay_rate ** (step / decay_steps)``.

    Args:
        initial_learning_rate: Before the first step.
        decay_steps: Steps per factor ``decay_rate``, more than 0.
        decay_rate: That factor.
        staircase: Whether it is taken all at once, every ``decay_steps`` steps.
        name: For people.
    """

    def __call__(self, step: int) -> Any:
        return self.initial_learning_rate * self.decay_rate ** self._periods(step)


class InverseTimeDecay(_Decay):
    """``initial_learning_rate / (1 + decay_rate * step / decay_steps)``; else as ``ExponentialDecay``."""

    def __call__(self, step: int) -> Any:
        return self.initial_learning_rate / (1 + self.decay_rate * self._periods(step))


class PiecewiseConstantDecay(LearningRateSchedule):
    """``values[k]`` up to and including step ``boundaries[k]``, the last of them afterwards.

    Args:
        boundaries: Steps, growing.
        values: Learning rates, one more.
        name: For people.
    """

    def __init__(
        self, boundaries: Sequence[float], values: Sequence[float], name: str = "PiecewiseConstant"
    ) -> None:
        self.boundaries = [self._number(one, "boundaries") for one in boundaries]
        self.values = [self._number(one, "values") for one in values]
        self.name = name
        kind = type(self).__name__
        if any(a >= b for a, b in zip(self.boundaries, self.boundaries[1:], strict=False)):
            raise ValueError(message(kind, "boundaries", "grow", str(self.boundaries)))
        if len(self.values) != len(self.boundaries) + 1:
            rule = f"be {len(self.boundaries) + 1} numbers, one more than boundaries"
            raise ValueError(message(kind, "values", rule, str(len(self.values))))

    def __call__(self, step: int) -> Any:
        return self.values[sum(step > boundary for boundary in self.boundaries)]


class PolynomialDecay(LearningRateSchedule):
    """From ``initial_learning_rate`` to ``end_learning_rate`` along ``(1 - step / decay_steps) ** power``.

    Args:
        initial_learning_rate: Before the first step.
        decay_steps: Steps to the end, more than 0.
        end_learning_rate: There, and afterwards.
        power: 1 for a straight line.
        cycle: Whether it goes up again at the end, each time on the way to the next multiple of
            ``decay_steps``.
        name: For people.
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: float,
        end_learning_rate: float = 0.0001,
        power: float = 1.0,
        cycle: bool = False,
        name: str = "PolynomialDecay",
    ) -> None:
        self.initial_learning_rate = self._number(initial_learning_rate, "initial_learning_rate")
        self.decay_steps = self._period(decay_steps, "decay_steps")
        self.end_learning_rate = self._number(end_learning_rate, "end_learning_rate")
        self.power = self._number(power, "power")
        self.cycle = bool(cycle)
        self.name = name

    def __call__(self, step: int) -> Any:
        period = self.decay_steps
        if self.cycle:
            period = period * max(math.ceil(step / period), 1)
        left = 1 - min(step, period) / period
        height = self.initial_learning_rate - self.end_learning_rate
        return height * left**self.power + self.end_learning_rate


def _cosine(share: float) -> float:
    """From 1 to 0 while ``share`` goes from 0 to 1."""
    return 0.5 * (1 + math.cos(math.pi * share))


class CosineDecay(LearningRateSchedule):
    """Half a wave of a cosine down to ``alpha`` of the start, after a straight way up if asked for.

    Args:
        initial_learning_rate: Before the first step.
        decay_steps: Steps of the way down, more than 0.
        alpha: The share of the start that is left at the end.
        name: For people.
        warmup_target: The learning rate at the top, None for ``initial_learning_rate`` and no way up.
        warmup_steps: Steps of the way up.
    Source:
        Loshchilov & Hutter (2017), https://arxiv.org/abs/1608.03983
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: float,
        alpha: float = 0.0,
        name: str = "CosineDecay",
        warmup_target: float | None = None,
        warmup_steps: float = 0,
    ) -> None:
        self.initial_learning_rate = self._number(initial_learning_rate, "initial_learning_rate")
        self.decay_steps = self._period(decay_steps, "decay_steps")
        self.alpha = self._number(alpha, "alpha")
        self.name = name
        self.warmup_target = None if warmup_target is None else self._number(warmup_target, "warmup_target")
        self.warmup_steps = self._number(warmup_steps, "warmup_steps", low=0)

    def __call__(self, step: int) -> Any:
        top = self.initial_learning_rate
        if self.warmup_target is not None:
            if step < self.warmup_steps:
                return top + (self.warmup_target - top) * (step / self.warmup_steps)
            top, step = self.warmup_target, step - self.warmup_steps
        share = min(step, self.decay_steps) / self.decay_steps
        return top * ((1 - self.alpha) * _cosine(share) + self.alpha)


class CosineDecayRestarts(LearningRateSchedule):
    """``CosineDecay`` again and again, each time ``t_mul`` as long and from ``m_mul`` as high.

    Args:
        initial_learning_rate: Before the first step.
        first_decay_steps: Steps of the first way down, more than 0.
        t_mul: At least 1.
        m_mul: More than 0.
        alpha: The share of ``initial_learning_rate`` that is left at the end of a way down.
        name: For people.
    Source:
        Loshchilov & Hutter (2017), https://arxiv.org/abs/1608.03983
    """

    def __init__(
        self,
        initial_learning_rate: float,
        first_decay_steps: float,
        t_mul: float = 2.0,
        m_mul: float = 1.0,
        alpha: float = 0.0,
        name: str = "SGDRDecay",
    ) -> None:
        self.initial_learning_rate = self._number(initial_learning_rate, "initial_learning_rate")
        self.first_decay_steps = self._period(first_decay_steps, "first_decay_steps")
        self.t_mul = self._number(t_mul, "t_mul", low=1)
        self.m_mul = self._number(m_mul, "m_mul", low=0, open_low=True)
        self.alpha = self._number(alpha, "alpha")
        self.name = name

    def __call__(self, step: int) -> Any:
        share, height, period = step / self.first_decay_steps, 1.0, 1.0
        if self.t_mul == 1:
            height, share = self.m_mul ** math.floor(share), share % 1.0
        else:
            while share >= period:  # at most as many turns as log(steps) / log(t_mul)
                share -= period
                period *= self.t_mul
                height *= self.m_mul
            share /= period
        return self.initial_learning_rate * ((1 - self.alpha) * height * _cosine(share) + self.alpha)


KNOWN: dict[str, type[LearningRateSchedule]] = {
    snake(cls.__name__): cls
    for cls in (
        CosineDecay, CosineDecayRestarts, ExponentialDecay, InverseTimeDecay, PiecewiseConstantDecay,
        PolynomialDecay,
    )
}  # fmt: skip


def serialize(schedule: LearningRateSchedule) -> dict[str, Any]:
    """``{"class_name": ..., "config": {...}}`` of a schedule."""
    return {"class_name": _registry.get_registered_name(type(schedule)), "config": schedule.get_config()}


def deserialize(description: dict[str, Any]) -> LearningRateSchedule:
    """The schedule that ``serialize`` described.

    Raises:
        ValueError: There is no schedule of that name; the text lists the known ones.
        TypeError: Not such a description.
    """
    function = "schedules.deserialize"
    if not isinstance(description, dict) or "class_name" not in description:
        rule = 'hold "class_name" and "config"'
        raise TypeError(message(function, "description", rule, describe(description)))
    made: LearningRateSchedule = made_from(description, LearningRateSchedule, KNOWN, function, "class_name")
    return made
