"""BackupAndRestore: a training that was ended in the middle goes on as if it had not been."""

from __future__ import annotations

import contextlib
import glob
import os
from typing import Any

from fastseq._arrays import message
from fastseq.callbacks.base import Callback
from fastseq.callbacks.monitor import frequency
from fastseq.checkpoint import unpacked
from fastseq.weights import read_weights, write_weights

__all__ = ["BackupAndRestore"]

FILE = "training.safetensors"


class BackupAndRestore(Callback):
    """Keeps where ``fit`` stands in a file, and goes on from there when the same program is run again.

    On arrays training then goes on bit for bit as if it had never been ended: weights, optimizer, order of
    rows, dropout, running means, the state of all callbacks of this module, and ``History``. A callback of
    your own joins in with ``get_state`` and ``set_state``. Of a ``PyDataset`` the order of batches and the
    seeds in its workers go on, too; what it keeps itself does not. A generator cannot be wound forward: what
    it gives next is what training goes on with.

    The file is replaced at once or not at all: a process that is killed while it writes leaves the one
    before.

    Args:
        backup_dir: A folder of its own for every training.
        save_freq: "epoch", or after how many batches.
        double_checkpoint: Accepted for Keras's sake: the file is never half-written.
        delete_checkpoint: Whether the file goes when training has come to its end.
    """

    runs_last = True  # what the others do at the same point belongs to what is kept

    def __init__(
        self,
        backup_dir: str | os.PathLike[str],
        save_freq: Any = "epoch",
        double_checkpoint: bool = False,
        delete_checkpoint: bool = True,
    ) -> None:
        super().__init__()
        if not os.fspath(backup_dir):
            raise ValueError(message("BackupAndRestore", "backup_dir", "name a folder", "''"))
        self.backup_dir = os.fspath(backup_dir)
        self.save_freq = frequency(save_freq, "BackupAndRestore")
        self.delete_checkpoint = bool(delete_checkpoint)
        self._batches = 0

    @property
    def path(self) -> str:
        """The file."""
        return os.path.join(self.backup_dir, FILE)

    def callback_states(self) -> dict[str, Any] | None:
        """What the callbacks of the training in the file have told of themselves.

        Returns:
            Of each what its ``get_state`` gave, by the name of its class and its number among those of that
            class, such as "History#0"; None where there is no file.
        Raises:
            ValueError: The file holds something else, or is damaged.
        """
        if not os.path.exists(self.path):
            return None
        arrays, config = read_weights(self.path)
        try:
            states = config["training"]["callbacks"]
            return {name: unpacked(state, arrays) for name, state in states.items()}
        except (TypeError, LookupError, AttributeError) as error:
            rule = "hold a training"
            raise ValueError(message("BackupAndRestore", "backup_dir", rule, repr(self.path))) from error

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self._batches = 0
        self._clear()
        if not os.path.exists(self.path):
            return
        arrays, config = read_weights(self.path)
        try:
            self.run.restore(arrays, config["training"])
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            rule = "hold a training of this model"
            got = f"{self.path!r} ({type(error).__name__}: {error})"
            raise ValueError(message("BackupAndRestore", "backup_dir", rule, got)) from error

    def _clear(self) -> None:
        """Removes what processes that were killed while they wrote have left."""
        for path in glob.glob(os.path.join(glob.escape(self.backup_dir), f".{FILE}.*.tmp")):
            with contextlib.suppress(FileNotFoundError):
                os.remove(path)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        if self.save_freq != "epoch":
            self._batches += 1
            if self._batches >= self.save_freq:
                self._batches = 0
                self._save()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if self.save_freq == "epoch":
            self._save()

    def _save(self) -> None:
        os.makedirs(self.backup_dir, exist_ok=True)
        arrays, config = self.run.capture()
        write_weights(self.path, arrays, {"kind": "backup", "training": config})

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        if self.delete_checkpoint and self.run.finished:
            with contextlib.suppress(FileNotFoundError):
                os.remove(self.path)

    def get_state(self) -> dict[str, Any]:
        return {"batches": self._batches}

    def set_state(self, state: dict[str, Any]) -> None:
        self._batches = int(state["batches"])
