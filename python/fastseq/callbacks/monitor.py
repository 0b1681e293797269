"""Callbacks that watch a loss or metric: EarlyStopping, ModelCheckpoint, ReduceLROnPlateau."""

from __future__ import annotations

import os
import warnings
from typing import Any

import numpy as np

from fastseq._arrays import Array, describe, message, number
from fastseq.callbacks.base import Callback

__all__ = ["EarlyStopping", "ModelCheckpoint", "Monitor", "ReduceLROnPlateau"]

MODES = ("auto", "min", "max")
# Parts of the names of what should grow, and of what should shrink.
_UP = (
    "acc", "precision", "recall", "auc", "f1", "fbeta", "exact", "match", "top_k", "r2", "iou", "similarity",
    "positives", "negatives", "sensitivity", "specificity",
)  # fmt: skip
_DOWN = (
    "loss", "error", "entropy", "distance", "divergence", "mse", "mae", "mape", "msle", "cer", "wer", "hinge",
    "poisson", "perplexity", "false_positives", "false_negatives",
)  # fmt: skip


class Monitor(Callback):
    """Base of callbacks that watch one value of the logs.

    Args:
        monitor: Its name.
        mode: "min" where less is better, "max" where more is, "auto" to go by the name.
        baseline: What counts as the best before there is one.
        min_delta: How much better is better.
    Attributes:
        best: The best value so far.
    """

    kept: tuple[str, ...] = ("best",)  # attributes that a resumed training needs

    def __init__(
        self,
        monitor: str = "val_loss",
        mode: str = "auto",
        baseline: float | None = None,
        min_delta: float = 0,
    ) -> None:
        super().__init__()
        kind = type(self).__name__
        if mode not in MODES:
            raise ValueError(message(kind, "mode", f"be one of {', '.join(MODES)}", describe(mode)))
        self.monitor = monitor
        self.mode = mode
        self.best = None if baseline is None else number(baseline, kind, "baseline")
        self.min_delta = abs(number(min_delta, kind, "min_delta"))

    def grows(self) -> bool:
        """Whether more is better.

        Raises:
            ValueError: ``mode`` is "auto" and the name does not say.
        """
        if self.mode != "auto":
            return self.mode == "max"
        name = self.monitor.removeprefix("val_").lower()
        for metric in self.model.objective.metrics:
            direction = getattr(metric, "_direction", None)
            if metric.name == name and direction is not None:
                return bool(direction == "up")
        if any(part in name for part in _DOWN):
            return False
        if any(part in name for part in _UP):
            return True
        rule = f"be min or max where monitor is {self.monitor!r}"
        raise ValueError(message(type(self).__name__, "mode", rule, "'auto'"))

    def better(self, value: float, than: float | None) -> bool:
        """Whether ``value`` is better than another, by more than ``min_delta``."""
        if than is None:
            return True
        return bool(value - self.min_delta > than if self.grows() else value + self.min_delta < than)

    def watched(self, logs: dict[str, Any] | None) -> float | None:
        """The value in the logs; None, with a warning, where it is not among them."""
        value = (logs or {}).get(self.monitor)
        if value is None:
            kind, there = type(self).__name__, ", ".join(logs or {})
            warnings.warn(message(kind, "monitor", f"be among {there}", repr(self.monitor)), stacklevel=4)
        return value

    def get_state(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.kept}

    def set_state(self, state: dict[str, Any]) -> None:
        for name in self.kept:
            setattr(self, name, state[name])


class EarlyStopping(Monitor):
    """Ends training when a value has stopped getting better.

    Args:
        monitor: The value's name in the logs.
        min_delta: How much better is better.
        patience: Epochs without that before training ends.
        verbose: 1 says what it does.
        mode: "min", "max" or "auto".
        baseline: Training also ends where this is not beaten within ``patience``.
        restore_best_weights: Whether the weights of the best epoch are put back in the end.
        start_from_epoch: Epochs before this one are not looked at.
    Attributes:
        wait: Epochs since the best one.
        stopped_epoch: The epoch, from 0, that was the last one; 0 where it did not end training.
        best_epoch: The epoch, from 0, of the best value.
        best_weights: Its weights, where they are to be put back.
    """

    kept = ("best", "wait", "stopped_epoch", "best_epoch", "best_weights")

    def __init__(
        self,
        monitor: str = "val_loss",
        min_delta: float = 0,
        patience: int = 0,
        verbose: int = 0,
        mode: str = "auto",
        baseline: float | None = None,
        restore_best_weights: bool = False,
        start_from_epoch: int = 0,
    ) -> None:
        super().__init__(monitor, mode, None, min_delta)
        self.patience = number(patience, "EarlyStopping", "patience", low=0, whole=True)
        self.verbose = verbose
        self.baseline = None if baseline is None else number(baseline, "EarlyStopping", "baseline")
        self.restore_best_weights = bool(restore_best_weights)
        self.start_from_epoch = number(
            start_from_epoch, "EarlyStopping", "start_from_epoch", low=0, whole=True
        )
        self.wait = self.stopped_epoch = self.best_epoch = 0
        self.best_weights: list[Array] | None = None

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self.wait = self.stopped_epoch = self.best_epoch = 0
        self.best = self.best_weights = None

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        current = self.watched(logs)
        if current is None or epoch < self.start_from_epoch:
            return
        if self.restore_best_weights and self.best_weights is None:
            self.best_weights, self.best_epoch = self.model.get_weights(), epoch
        self.wait += 1
        if self.better(current, self.best):
            self.best, self.best_epoch = current, epoch
            if self.restore_best_weights:
                self.best_weights = self.model.get_weights()
            if self.baseline is None or self.better(current, self.baseline):
                self.wait = 0
        elif self.wait >= self.patience and epoch > 0:
            self.stopped_epoch = epoch
            self.model.stop_training = True

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        if self.stopped_epoch and self.verbose:
            print(f"Epoch {self.stopped_epoch + 1}: early stopping")
        if self.best_weights is not None:
            if self.verbose:
                print(f"Restoring model weights from the end of the best epoch: {self.best_epoch + 1}.")
            self.model.set_weights(self.best_weights)


class ModelCheckpoint(Monitor):
    """Saves the model, or its weights, after every epoch or so many batches.

    Args:
        filepath: The file; ``{epoch}``, ``{batch}`` and names of the logs in braces are filled in, as in
            ``"{epoch:02d}-{val_loss:.2f}.safetensors"``.
        monitor: The value that says which is best.
        verbose: 1 says what it does.
        save_best_only: Whether only a model better than those before is saved.
        save_weights_only: Whether ``Model.save_weights`` writes, rather than ``Model.save``.
        mode: "min", "max" or "auto".
        save_freq: "epoch", or after how many batches.
        initial_value_threshold: What the first model must be better than.
    """

    kept = ("best", "batches_since_save")

    def __init__(
        self,
        filepath: str | os.PathLike[str],
        monitor: str = "val_loss",
        verbose: int = 0,
        save_best_only: bool = False,
        save_weights_only: bool = False,
        mode: str = "auto",
        save_freq: Any = "epoch",
        initial_value_threshold: float | None = None,
    ) -> None:
        super().__init__(monitor, mode, initial_value_threshold)
        self.filepath = os.fspath(filepath)
        self.verbose = verbose
        self.save_best_only = bool(save_best_only)
        self.save_weights_only = bool(save_weights_only)
        self.save_freq = frequency(save_freq, "ModelCheckpoint")
        self.batches_since_save = 0
        self._epoch = 0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        if self.save_freq != "epoch":
            self.batches_since_save += 1
            if self.batches_since_save >= self.save_freq:
                self.batches_since_save = 0
                self._save(self._epoch, logs or {}, batch)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if self.save_freq == "epoch":
            self._save(epoch, logs or {})

    def _save(self, epoch: int, logs: dict[str, Any], batch: int | None = None) -> None:
        named = {"epoch": epoch + 1} if batch is None else {"epoch": epoch + 1, "batch": batch + 1}
        try:
            path = self.filepath.format(**{**named, **logs})
        except KeyError as error:
            known = ", ".join([*named, *logs])
            rule = f"name values among {known}"
            raise KeyError(message("ModelCheckpoint", "filepath", rule, str(error))) from None
        if not self._wanted(epoch, logs, path):
            return
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        if self.save_weights_only:
            self.model.save_weights(path)
        else:
            self.model.save(path)
        self._say(f"\nEpoch {epoch + 1}: finished saving model to {path}")

    def _wanted(self, epoch: int, logs: dict[str, Any], path: str) -> bool:
        if not self.save_best_only:
            self._say(f"\nEpoch {epoch + 1}: saving model to {path}")
            return True
        current = self.watched(logs)
        if current is None:
            return True
        best = "None" if self.best is None else f"{self.best:.5f}"
        if not self.better(current, self.best):
            self._say(f"\nEpoch {epoch + 1}: {self.monitor} did not improve from {best}")
            return False
        improved = f"{self.monitor} improved from {best} to {current:.5f}"
        self._say(f"\nEpoch {epoch + 1}: {improved}, saving model to {path}")
        self.best = current
        return True

    def _say(self, text: str) -> None:
        if self.verbose:
            print(text)


def frequency(value: Any, kind: str) -> Any:
    """ "epoch", or a number of batches."""
    return value if value == "epoch" else number(value, kind, "save_freq", low=1, whole=True)


class ReduceLROnPlateau(Monitor):
    """Makes the learning rate smaller when a value has stopped getting better.

    Args:
        monitor: The value's name in the logs.
        factor: What the learning rate is multiplied with, less than 1.
        patience: Epochs without getting better before that.
        verbose: 1 says what it does.
        mode: "min", "max" or "auto".
        min_delta: How much better is better.
        cooldown: Epochs after that in which nothing is counted.
        min_lr: The learning rate never is less.
    """

    kept = ("best", "wait", "cooldown_counter")

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        verbose: int = 0,
        mode: str = "auto",
        min_delta: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
    ) -> None:
        super().__init__(monitor, mode, None, min_delta)
        kind = "ReduceLROnPlateau"
        self.factor = number(factor, kind, "factor", low=0, high=1, open_low=True, open_high=True)
        self.patience = number(patience, kind, "patience", low=0, whole=True)
        self.verbose = verbose
        self.cooldown = number(cooldown, kind, "cooldown", low=0, whole=True)
        self.min_lr = number(min_lr, kind, "min_lr", low=0)
        self.wait = self.cooldown_counter = 0

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self.best = None
        self.wait = self.cooldown_counter = 0

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        logs = {} if logs is None else logs
        logs["learning_rate"] = self.model.optimizer.learning_rate
        current = self.watched(logs)
        if current is None:
            return
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.wait = 0
        if self.better(current, self.best):
            self.best, self.wait = current, 0
        elif self.cooldown_counter == 0:
            self.wait += 1
            if self.wait >= self.patience:
                self._reduce(epoch)

    def _reduce(self, epoch: int) -> None:
        optimizer = self.model.optimizer
        if optimizer.learning_rate <= np.float32(self.min_lr):  # as Keras compares
            return
        optimizer.learning_rate = max(optimizer.learning_rate * self.factor, self.min_lr)
        self.cooldown_counter, self.wait = self.cooldown, 0
        if self.verbose:
            rate = optimizer.learning_rate
            print(f"\nEpoch {epoch + 1}: ReduceLROnPlateau reducing learning rate to {rate}.")
