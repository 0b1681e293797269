"""Callbacks: what can be done at each point of training, and the history of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

__all__ = ["Callback", "CallbackList", "History"]

HOOKS = (
    "on_epoch_begin",
    "on_epoch_end",
    "on_train_begin",
    "on_train_end",
    "on_train_batch_begin",
    "on_train_batch_end",
    "on_test_begin",
    "on_test_end",
    "on_test_batch_begin",
    "on_test_batch_end",
    "on_predict_begin",
    "on_predict_end",
    "on_predict_batch_begin",
    "on_predict_batch_end",
)

OLDER = {"on_train_batch_begin": "on_batch_begin", "on_train_batch_end": "on_batch_end"}  # names of Keras's


class Callback:
    """Base of callbacks: override the hooks that are of interest; the others cost nothing.

    Attributes:
        model: The model that is trained, evaluated or asked.
        params: ``{"verbose": ..., "epochs": ..., "steps": ...}``.
        run: What ``BackupAndRestore`` asks where training stands; None outside of ``fit``.
    """

    run: Any = None

    runs_last = False  # whether, of several callbacks, it is called after the others

    def __init__(self) -> None:
        self.model: Any = None
        self.params: dict[str, Any] = {}

    def set_params(self, params: dict[str, Any]) -> None:
        """Is told what the run is like, before it begins."""
        self.params = params

    def set_model(self, model: Any) -> None:
        """Is told which model it is, before it begins."""
        self.model = model

    def get_state(self) -> dict[str, Any]:
        """What a training that is resumed must know: arrays, numbers, texts, lists and dicts of them."""
        return {}

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes on from what ``get_state`` gave; called after ``on_train_begin``."""

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Before epoch number ``epoch``, from 0."""

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """After it; ``logs`` holds losses and metrics, those of validation as ``val_...``."""

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Before the first epoch."""

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """After the last epoch, also where Ctrl-C ended it."""

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Before a training step."""

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """After it; ``logs`` holds the means of the epoch so far."""

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Before an evaluation, also the validation within ``fit``."""

    def on_test_end(self, logs: dict[str, Any] | None = None) -> None:
        """After it."""

    def on_test_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Before a batch of an evaluation."""

    def on_test_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """After it."""

    def on_predict_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Before a prediction."""

    def on_predict_end(self, logs: dict[str, Any] | None = None) -> None:
        """After it."""

    def on_predict_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Before a batch of a prediction."""

    def on_predict_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """After it; ``logs`` holds the ``outputs``."""


class History(Callback):
    """What ``fit`` returns.

    Attributes:
        history: For each loss and metric the list of its values, one per epoch.
        epoch: The numbers of those epochs, from 0.
    """

    def __init__(self) -> None:
        super().__init__()
        self.history: dict[str, list[float]] = {}
        self.epoch: list[int] = []
        self._noted: set[str] = set()  # the names in the logs of the last epoch

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self.epoch = []
        self.history = {}

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.epoch.append(epoch)
        self._noted = set(logs or {})
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(value)

    def complete(self, logs: dict[str, Any]) -> None:
        """Adds what other callbacks have put into the logs of this epoch meanwhile."""
        for name, value in logs.items():
            if name not in self._noted:
                self.history.setdefault(name, []).append(value)
                self._noted.add(name)

    def get_state(self) -> dict[str, Any]:
        return {"history": self.history, "epoch": self.epoch}

    def set_state(self, state: dict[str, Any]) -> None:
        self.history, self.epoch = state["history"], state["epoch"]


class CallbackList:
    """Several callbacks as one. A hook that nobody overrides is never called.

    Args:
        callbacks: The callbacks, called in this order.
        model: Given to each.
        params: Given to each.
    """

    def __init__(self, callbacks: Iterable[Callback], model: Any, params: dict[str, Any]) -> None:
        self.callbacks = list(callbacks)
        self._hooks: dict[str, list[Any]] = {name: [] for name in HOOKS}
        for callback in sorted(self.callbacks, key=lambda callback: getattr(callback, "runs_last", False)):
            callback.set_params(params)
            callback.set_model(model)
            for name in HOOKS:
                hook = getattr(callback, name, None)
                if hook is not None and getattr(hook, "__func__", hook) is not getattr(Callback, name):
                    self._hooks[name].append(hook)
                elif (older := getattr(callback, OLDER.get(name, ""), None)) is not None:
                    self._hooks[name].append(older)

    def hooks(self, name: str) -> list[Any]:
        """The bound methods to be called at the point ``name``; empty where nobody listens."""
        return self._hooks[name]

    def call(self, name: str, *arguments: Any) -> None:
        """Calls the point ``name`` of every callback that listens."""
        for hook in self._hooks[name]:
            hook(*arguments)
