"""One call of fit: what it works with, and where it stands, as arrays and plain values to go on from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fastseq._arrays import Array
from fastseq._random import random_state, set_random_state
from fastseq.callbacks import CallbackList
from fastseq.checkpoint import (
    metric_states,
    optimizer_arrays,
    pack_state,
    packed,
    set_metrics,
    set_optimizer,
    unpack_state,
    unpacked,
)
from fastseq.sources import Source

__all__ = ["Run"]


@dataclass
class Run:
    """One call of fit.

    Attributes:
        epoch: The epoch in hand, from 0, or the next one between two.
        step: How many of its batches are done.
        logs: Of the epoch that has just ended, while its callbacks are called.
        finished: Whether training has come to its end, rather than to Ctrl-C or an error.
    """

    model: Any
    source: Source
    validation: Source | None
    epochs: int
    verbose: int
    shuffle: bool
    frequency: Any
    listeners: CallbackList
    interrupt: Any
    epoch: int = 0
    step: int = 0
    finished: bool = False
    logs: dict[str, Any] | None = None
    _resumed: tuple[Mapping[str, Array], Mapping[str, Any]] | None = None

    def capture(self) -> tuple[dict[str, Array], dict[str, Any]]:
        """(arrays by name, plain values): all that ``restore`` needs."""
        if self.logs is not None:
            self.model.history.complete(self.logs)
        self.model.optimizer.swap_averages(False)  # training goes on from its own weights
        arrays, state = pack_state(self.model)
        kept, counts = optimizer_arrays(self.model)
        running, metrics = metric_states(self.model.objective.metrics)
        arrays |= kept | running
        rate = self.model.optimizer.learning_rate
        callbacks = {
            name: packed(callback.get_state(), arrays, f"callbacks/{name}")
            for name, callback in self._callbacks()
        }
        return arrays, {
            **state,
            **counts,
            "epoch": self.epoch,
            "step": self.step,
            "stop": bool(self.model.stop_training),
            "learning_rate": rate if self._has_plain_rate() else None,
            "generator": random_state(),
            "source": self.source.state(),
            "validation": None if self.validation is None else self.validation.state(),
            "metrics": metrics,
            "callbacks": callbacks,
        }

    def _callbacks(self) -> list[tuple[str, Any]]:
        """The callbacks that can tell their state, each with a name of its own: its class's, numbered."""
        named: dict[str, Any] = {}
        for callback in self.listeners.callbacks:
            if hasattr(callback, "get_state"):
                kind = type(callback).__name__
                number = sum(1 for name in named if name.partition("#")[0] == kind)
                named[f"{kind}#{number}"] = callback
        return list(named.items())

    def _has_plain_rate(self) -> bool:
        """Whether the learning rate is a number, rather than what a schedule makes of the steps taken."""
        return isinstance(getattr(self.model.optimizer, "_rate", None), (int, float))

    def restore(self, arrays: Mapping[str, Array], config: Mapping[str, Any]) -> None:
        """Goes on from where ``capture`` found it.

        Raises:
            ValueError, LookupError, TypeError: It is that of another model.
        """
        self.epoch, self.step = int(config["epoch"]), int(config["step"])
        self._resumed = (arrays, config)
        self._restore()
        self.model.stop_training = bool(config["stop"])

    def resume_epoch(self) -> None:
        """Takes back what callbacks have done at the beginning of an epoch that goes on in its middle."""
        if self._resumed is not None and self.step:
            self._restore()
        self._resumed = None

    def _restore(self) -> None:
        assert self._resumed is not None
        arrays, config = self._resumed
        unpack_state(self.model, arrays, config)
        set_optimizer(self.model, arrays, config)
        set_metrics(self.model.objective.metrics, arrays, config["metrics"])
        if config["learning_rate"] is not None and self._has_plain_rate():
            self.model.optimizer.learning_rate = config["learning_rate"]
        self.source.restore(config["source"], self.shuffle)
        if self.validation is not None and config["validation"] is not None:
            self.validation.restore(config["validation"], False)
        for name, callback in self._callbacks():
            if name in config["callbacks"]:
                callback.set_state(unpacked(config["callbacks"][name], arrays))
        set_random_state(config["generator"])
