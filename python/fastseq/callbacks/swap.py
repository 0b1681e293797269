"""SwapEMAWeights: a model is judged by the running means of its weights, and trained by the weights."""

from __future__ import annotations

from typing import Any

from fastseq._arrays import message
from fastseq.callbacks.base import Callback

__all__ = ["SwapEMAWeights"]


class SwapEMAWeights(Callback):
    """Has the running means that an optimizer with ``use_ema=True`` keeps stand in for the weights.

    They do so while the model is evaluated, within ``fit`` too, and while it predicts; before the first step
    there are none. ``fit`` ends with them in the weights' place, whether this callback is there or not.

    Args:
        swap_on_epoch: Whether they also do from the end of an epoch to the beginning of the next, for the
            callbacks listed after this one: ``ModelCheckpoint`` saves the means then, ``EarlyStopping`` puts
            those of the best epoch back. ``BackupAndRestore`` keeps both in any case. What a callback
            writes into the weights meanwhile is lost.
    Raises:
        ValueError: The optimizer keeps no means.
    """

    def __init__(self, swap_on_epoch: bool = False) -> None:
        super().__init__()
        self.swap_on_epoch = bool(swap_on_epoch)

    def _optimizer(self) -> Any:
        optimizer = self.model.optimizer
        if not getattr(optimizer, "use_ema", False):
            got = "none" if optimizer is None else f"{type(optimizer).__name__} with use_ema=False"
            raise ValueError(message("SwapEMAWeights", "optimizer", "have use_ema=True", got))
        return optimizer

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self._optimizer()

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if self.swap_on_epoch:
            self._optimizer().swap_averages(False)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if self.swap_on_epoch:
            self._optimizer().swap_averages(True)

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        optimizer = self._optimizer()
        if optimizer.iterations:  # those of a model from a file wait for its first step
            self.model.objective.prepare_optimizer(self.model.trainable_weights)
        optimizer.hold_averages()

    def on_test_end(self, logs: dict[str, Any] | None = None) -> None:
        self._optimizer().release_averages()

    def on_predict_begin(self, logs: dict[str, Any] | None = None) -> None:
        self.on_test_begin(logs)

    def on_predict_end(self, logs: dict[str, Any] | None = None) -> None:
        self.on_test_end(logs)
