"""LearningRateScheduler, TerminateOnNaN, LambdaCallback and CSVLogger."""

from __future__ import annotations

import csv
import inspect
import math
import os
from collections.abc import Callable
from typing import Any, TextIO

import numpy as np

from fastseq._arrays import describe, message
from fastseq.callbacks.base import HOOKS, Callback

__all__ = ["CSVLogger", "LambdaCallback", "LearningRateScheduler", "TerminateOnNaN"]


class LearningRateScheduler(Callback):
    """Sets the learning rate before every epoch.

    Args:
        schedule: ``schedule(epoch, rate)`` or ``schedule(epoch)``, epochs from 0, gives the new rate.
        verbose: 1 says what it does.
    """

    def __init__(self, schedule: Callable[..., Any], verbose: int = 0) -> None:
        super().__init__()
        if not callable(schedule):
            rule = "be a function"
            raise TypeError(message("LearningRateScheduler", "schedule", rule, describe(schedule)))
        self.schedule = schedule
        self.verbose = verbose
        try:
            inspect.signature(schedule).bind(0, 0.0)
            self._takes_rate = True
        except (TypeError, ValueError):
            self._takes_rate = False

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        optimizer = self.model.optimizer
        given = (epoch, float(optimizer.learning_rate)) if self._takes_rate else (epoch,)
        rate = self.schedule(*given)
        if isinstance(rate, bool) or not isinstance(rate, (float, int, np.floating)):
            raise ValueError(message("LearningRateScheduler", "schedule", "return a number", describe(rate)))
        optimizer.learning_rate = float(rate)
        if self.verbose:
            print(f"\nEpoch {epoch + 1}: LearningRateScheduler setting learning rate to {rate}.")

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if logs is not None:
            logs["learning_rate"] = float(self.model.optimizer.learning_rate)


class TerminateOnNaN(Callback):
    """Ends training when the loss is NaN or infinite.

    Args:
        raise_error: Whether by a RuntimeError.
    """

    def __init__(self, raise_error: bool = False) -> None:
        super().__init__()
        self.raise_error = bool(raise_error)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        loss = (logs or {}).get("loss")
        if loss is None or math.isfinite(loss):
            return
        if self.raise_error:
            raise RuntimeError(message("TerminateOnNaN", "loss", f"be finite at batch {batch}", repr(loss)))
        print(f"Batch {batch}: Invalid loss, terminating training")
        self.model.stop_training = True


class LambdaCallback(Callback):
    """Functions at points of training.

    Args:
        on_epoch_begin: ``f(epoch, logs)``.
        on_epoch_end: ``f(epoch, logs)``.
        on_train_begin: ``f(logs)``.
        on_train_end: ``f(logs)``.
        on_train_batch_begin: ``f(batch, logs)``.
        on_train_batch_end: ``f(batch, logs)``.
        others: Other hooks of ``Callback``, by name.
    Raises:
        TypeError: There is no such hook.
    """

    def __init__(
        self,
        on_epoch_begin: Callable[..., Any] | None = None,
        on_epoch_end: Callable[..., Any] | None = None,
        on_train_begin: Callable[..., Any] | None = None,
        on_train_end: Callable[..., Any] | None = None,
        on_train_batch_begin: Callable[..., Any] | None = None,
        on_train_batch_end: Callable[..., Any] | None = None,
        **others: Callable[..., Any] | None,
    ) -> None:
        super().__init__()
        given = {
            "on_epoch_begin": on_epoch_begin,
            "on_epoch_end": on_epoch_end,
            "on_train_begin": on_train_begin,
            "on_train_end": on_train_end,
            "on_train_batch_begin": on_train_batch_begin,
            "on_train_batch_end": on_train_batch_end,
            **others,
        }
        for name, function in given.items():
            if name not in HOOKS:
                raise TypeError(
                    message("LambdaCallback", "others", f"be among {', '.join(HOOKS)}", repr(name))
                )
            if function is not None:
                setattr(self, name, function)


class CSVLogger(Callback):
    """Writes the logs of every epoch as a line of a file.

    Args:
        filename: The file.
        separator: Between two values.
        append: Whether lines are added to what the file holds.
    """

    def __init__(self, filename: str | os.PathLike[str], separator: str = ",", append: bool = False) -> None:
        super().__init__()
        self.filename = os.fspath(filename)
        self.separator = separator
        self.append = bool(append)
        self.keys: list[str] | None = None
        self._file: TextIO | None = None

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self.keys = None
        self._close()  # where an error has ended the training before

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        logs = logs or {}
        if self.keys is None:
            self.keys = sorted(logs)
            if not any(key.startswith("val_") for key in self.keys):
                self.keys += [f"val_{key}" for key in self.keys]  # validation may come only later
        file = self._opened()
        if file.tell() == 0:
            self._write(["epoch", *self.keys])
        self._write([epoch, *(logs.get(key, "NA") for key in self.keys)])
        file.flush()

    def _opened(self) -> TextIO:
        """The file; not opened before there is a line, so that a resumed training finds what it holds."""
        if self._file is None:
            self._file = open(self.filename, "a" if self.append else "w", newline="")  # noqa: SIM115
            self._file.seek(0, os.SEEK_END)
        return self._file

    def _write(self, row: list[Any]) -> None:
        csv.writer(self._opened(), delimiter=self.separator).writerow(row)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        self._opened()
        self._close()

    def get_state(self) -> dict[str, Any]:
        written = None if self._file is None else self._file.tell()
        if written is None and self.append and os.path.exists(self.filename):
            written = os.path.getsize(self.filename)
        return {"keys": self.keys, "written": written}

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes on behind the lines that were written then; those after them come once more."""
        self.keys = state["keys"]
        self._close()
        if state["written"] is not None and os.path.exists(self.filename):
            os.truncate(self.filename, min(state["written"], os.path.getsize(self.filename)))
            self._file = open(self.filename, "a", newline="")  # noqa: SIM115
            self._file.seek(0, os.SEEK_END)
