"""What a worker process does: makes the batches it is asked for, until the training process is gone."""

from __future__ import annotations

import contextlib
import os
import pickle
import random
import select
import sys
import threading
import traceback
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from fastseq._random import set_seed
from fastseq.data.shared import Sender
from fastseq.threads import set_num_threads

__all__ = ["main", "serve"]


def main(descriptor: int) -> None:
    """A fresh process: the dataset comes as the first message."""
    connection = Connection(descriptor)
    # the training process may end any time, and then nobody waits for what is left
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        serve(connection, None)


def serve(connection: Connection, dataset: Any) -> None:
    """Answers requests: ("dataset", pickled), ("changes", attributes) and ("load", index, seed, slot)."""
    threading.Thread(target=_end_with_parent, args=(connection.fileno(),), daemon=True).start()
    set_num_threads(1)  # the cores belong to the kernels
    sender = Sender(connection)
    while True:
        kind, *values = connection.recv()
        if kind == "stop":
            return
        try:
            if kind == "dataset":
                dataset = pickle.loads(values[0])
                continue
            if kind == "changes":
                _change(dataset, *values)
                continue
            index, seed, slot = values
            _seed(seed, index)
            answer = True, dataset[index]
        except BaseException as error:
            answer = False, (_portable(error), traceback.format_exc())
            if kind != "load":
                dataset = _Broken(answer[1])
                continue
        sys.stdout.flush()
        try:
            sender.send(answer, slot)
        except OSError:
            raise
        except Exception as error:  # the batch holds what cannot be sent
            sender.send((False, (_portable(error), traceback.format_exc())), slot)


class _Broken:
    """Stands for a dataset that did not arrive: every batch of it raises what went wrong."""

    def __init__(self, failure: tuple[Exception, str]) -> None:
        self.failure = failure

    def __getitem__(self, index: int) -> Any:
        error, text = self.failure
        raise error from RuntimeError(text)


def _end_with_parent(descriptor: int) -> None:
    """Ends this process at once, whatever it is doing, when the other end of the connection is gone."""
    poll = select.poll()
    poll.register(descriptor, 0)
    while not any(event & (select.POLLHUP | select.POLLERR) for _, event in poll.poll()):
        pass
    os._exit(1)


def _change(dataset: Any, changed: dict[str, bytes], removed: list[str]) -> None:
    for name in removed:
        delattr(dataset, name)
    for name, value in changed.items():
        object.__setattr__(dataset, name, pickle.loads(value))


def _seed(seed: int, index: int) -> None:
    """Seeds what a dataset may draw from, another for every index."""
    words = np.random.SeedSequence((seed, index)).generate_state(4)
    np.random.seed(words)  # noqa: NPY002 (what users draw from)
    value = int.from_bytes(words.tobytes(), "little")
    random.seed(value)
    set_seed(value)


def _portable(error: BaseException) -> Exception:
    """The error itself where another process can be given it, else one that says the same."""
    if isinstance(error, Exception):
        try:
            if type(pickle.loads(pickle.dumps(error))) is type(error):
                return error
        except Exception:
            pass
    return RuntimeError(f"{type(error).__name__}: {error}")
