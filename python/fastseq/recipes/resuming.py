"""Recipes that go on where an earlier run was interrupted: its backup, and whether it was the same run."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from fastseq.callbacks import BackupAndRestore

__all__ = ["Backup", "check_same", "kept_state"]


class Backup(BackupAndRestore):
    """Written after every epoch, read only where training is to go on, and there still when it has ended.

    Args:
        folder: Where the file is.
        going_on: Whether to begin where the training stands that it holds.
    """

    def __init__(self, folder: str | os.PathLike[str], going_on: bool) -> None:
        super().__init__(folder, delete_checkpoint=False)
        self.going_on = going_on

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        if self.going_on:
            super().on_train_begin(logs)
        else:
            self._clear()


def kept_state(name: str, folder: str | os.PathLike[str], callback: type) -> dict[str, Any] | None:
    """What a recipe's own callback told in the backup that a folder holds; None where it holds none.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is damaged, or of another program.
    """
    backup = BackupAndRestore(folder)
    states = backup.callback_states()
    if states is None:
        return None
    state = states.get(f"{callback.__name__}#0")
    if not isinstance(state, dict) or state.get("recipe") != name:
        raise ValueError(f"{name}: folder must hold an earlier run of {name}, got {backup.path!r}")
    return state


def check_same(
    name: str, folder: str | os.PathLike[str], asked: Mapping[str, Any], earlier: Mapping[str, Any], done: int
) -> None:
    """Refuses to go on with a run of other arguments; only the epochs may differ, if not below ``done``."""
    run = f"the run in {os.fspath(folder)!r}"
    for argument, value in asked.items():
        if argument == "epochs":
            if value < done:
                raise ValueError(f"{name}: epochs must be at least the {done} of {run}, got {value}")
        elif earlier.get(argument) != value:
            rule = f"be {earlier.get(argument)!r} as in {run}"
            raise ValueError(f"{name}: {argument} must {rule}, got {value!r}")
