"""Worker processes that make a dataset's batches ahead of training, and hand them over in order."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import time
import traceback
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from multiprocessing import spawn, util
from multiprocessing.connection import Connection
from typing import Any

from fastseq._arrays import message
from fastseq.data.shared import Receiver
from fastseq.data.worker import serve

__all__ = ["Workers"]

POLL = 0.1  # seconds between two looks at whether training is to end
PATIENCE = 1.0  # seconds that a worker is given to end by itself
FRESH = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from fastseq.data import worker; worker.main(int(sys.argv[2]))"  # noqa: E501
ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class WorkerTraceback(Exception):
    """What a worker's error looked like where it happened; the cause of the error that users see."""

    def __str__(self) -> str:
        return f'\n"""\n{self.args[0]}"""'


class _Forked:
    """A child made by ``fork``, under the names that ``subprocess.Popen`` has."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        if self.returncode is None:
            with contextlib.suppress(ChildProcessError):
                pid, status = os.waitpid(self.pid, os.WNOHANG)
                if pid == 0:
                    return None
                self.returncode = os.waitstatus_to_exitcode(status)
                return self.returncode
            self.returncode = 0  # somebody else has waited for it
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)


class _Worker:
    """One process and the connection to it."""

    def __init__(self, process: Any, connection: Connection) -> None:
        self.process = process
        self.connection = connection
        self.receiver = Receiver(connection)
        self.free: list[int] = []  # slots that nobody uses
        self.slots = 0

    def take_slot(self) -> int:
        if self.free:
            return self.free.pop()
        self.slots += 1
        return self.slots - 1

    def hang_up(self) -> None:
        """Ends the connection for both sides, whoever else has inherited this end of it."""
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(self.connection.fileno())) as end:
            end.shutdown(socket.SHUT_RDWR)
        self.connection.close()


def _fresh(pickled: bytes) -> _Worker:
    """A new Python process that shares nothing with this one."""
    ours, theirs = socket.socketpair()
    flags = util._args_from_interpreter_flags()  # type: ignore[attr-defined]
    paths = json.dumps([path for path in sys.path if isinstance(path, str)])
    command = [os.fsdecode(spawn.get_executable()), *flags, "-c", FRESH, paths, str(theirs.fileno())]
    environment = {**dict.fromkeys(ONE_THREAD, "1"), **os.environ}
    with theirs:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            env=environment,
            start_new_session=True,  # Ctrl-C is for the training process, which then ends this one
        )
    worker = _Worker(process, Connection(ours.detach()))
    worker.connection.send(("dataset", pickled))
    return worker


def _forked(dataset: Any, others: Iterable[_Worker]) -> _Worker:
    """A fork of this process."""
    ours, theirs = socket.socketpair()
    sys.stdout.flush()
    sys.stderr.flush()
    with warnings.catch_warnings():
        # Python warns of locks that other threads hold: fastseq's threads hold none between two calls.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        _be_forked(dataset, theirs, [ours.fileno(), *(other.connection.fileno() for other in others)])
    theirs.close()
    return _Worker(_Forked(pid), Connection(ours.detach()))


def _be_forked(dataset: Any, end: socket.socket, foreign: Iterable[int]) -> None:
    """The rest of the life of a fork."""
    code = 1
    try:
        os.setsid()
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        for descriptor in foreign:
            os.close(descriptor)
        with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
            serve(Connection(end.detach()), dataset)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(BaseException):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _pickled(dataset: Any) -> bytes | None:
    """The dataset for a fresh process; None where such a process could not make it."""
    try:
        made = pickle.dumps(dataset, protocol=5)
    except Exception:
        return None
    return None if b"__main__" in made else made


class _Copies:
    """What the workers know of a dataset, so that only what has changed is sent again."""

    def __init__(self, dataset: Any) -> None:
        self._digests = {name: digest for name, (_, digest) in self._attributes(dataset).items()}

    @staticmethod
    def _attributes(dataset: Any) -> dict[str, tuple[bytes, bytes]]:
        made = {name: pickle.dumps(value, protocol=5) for name, value in vars(dataset).items()}
        return {name: (value, hashlib.blake2b(value).digest()) for name, value in made.items()}

    def changes(self, dataset: Any) -> tuple[dict[str, bytes], list[str]]:
        """(attributes that are new or other, pickled; names of those that are gone)."""
        now = self._attributes(dataset)
        changed = {name: value for name, (value, digest) in now.items() if self._digests.get(name) != digest}
        removed = [name for name in self._digests if name not in now]
        self._digests = {name: digest for name, (_, digest) in now.items()}
        return changed, removed


def _changes_by_epoch(dataset: Any) -> bool:
    """Whether its class does something before or after an epoch."""
    hooks = (getattr(type(dataset), name, None) for name in ("on_epoch_begin", "on_epoch_end"))
    return any(hook is not None and hook.__module__ != "fastseq.data.dataset" for hook in hooks)


class Workers:
    """Processes that make the batches of one dataset.

    Args:
        dataset: A PyDataset.
        count: How many processes.
        ahead: How many batches may be under way or wait.
        function: Who asks, for errors.
    Raises:
        RuntimeError: This system cannot make the processes that the dataset needs.
    """

    def __init__(self, dataset: Any, count: int, ahead: int, function: str) -> None:
        self._dataset = dataset
        self._ahead = max(ahead, count)
        self._function = function
        self._workers: list[_Worker] = []
        self._pending: deque[tuple[_Worker, int, int]] = deque()  # (who makes it, its index, slot)
        self._count = count
        self._pickled = _pickled(dataset)
        self._changing = _changes_by_epoch(dataset)
        self._copies: _Copies | None = None
        if self._pickled is None and (sys.platform == "darwin" or not hasattr(os, "fork")):
            rule = "be picklable and of a class that a module defines, for workers above 1"
            raise RuntimeError(message(function, "x", rule, type(dataset).__name__))

    def begin_epoch(self) -> None:
        """Starts the processes, or tells them what has changed on the dataset."""
        self._drain()
        if self._pickled is None:
            if self._workers and not self._changing:
                return
            self.close()
            for _ in range(self._count):
                self._workers.append(_forked(self._dataset, self._workers))
        elif not self._workers:
            self._start_fresh()
        elif self._changing:
            self._send_changes()

    def _start_fresh(self) -> None:
        pickled = _pickled(self._dataset)  # it may have changed since it was first looked at
        assert pickled is not None
        for _ in range(self._count):
            self._workers.append(_fresh(pickled))
        own = {"__getstate__", "__slots__", "__reduce__", "__reduce_ex__"}
        plain = all(own.isdisjoint(vars(cls)) for cls in type(self._dataset).__mro__[:-1])
        self._copies = _Copies(self._dataset) if self._changing and plain else None

    def _send_changes(self) -> None:
        if self._copies is None:
            request: tuple[Any, ...] = ("dataset", pickle.dumps(self._dataset, protocol=5))
        else:
            changes = self._copies.changes(self._dataset)
            if not any(changes):
                return
            request = ("changes", *changes)
        for worker in self._workers:
            self._send(worker, request)

    def load(self, indices: Iterable[int], seed: int, cancelled: Callable[[], bool]) -> Iterator[Any]:
        """The batches of these indices in this order, each valid until the next; made ahead.

        Args:
            indices: Numbers of batches.
            seed: Of the random numbers that making them may draw.
            cancelled: Asked while waiting; where it says yes, nothing more comes.
        """
        waiting = iter(indices)
        position = 0
        while True:
            while len(self._pending) < self._ahead and (index := next(waiting, None)) is not None:
                worker = self._workers[position % self._count]
                slot = worker.take_slot()
                self._send(worker, ("load", index, seed, slot))
                self._pending.append((worker, index, slot))
                position += 1
            if not self._pending:
                return
            worker, index, slot = self._pending[0]
            while not self._ready(worker, index):
                if cancelled():
                    return
            made, value = self._receive(worker, index, slot)
            self._pending.popleft()
            try:
                if not made:
                    error, text = value
                    raise error from WorkerTraceback(text)
                yield value
            finally:
                worker.free.append(slot)

    def _send(self, worker: _Worker, request: Any) -> None:
        try:
            worker.connection.send(request)
        except OSError:
            raise self._death(worker, "before its next batch") from None

    def _ready(self, worker: _Worker, index: int) -> bool:
        try:
            return worker.connection.poll(POLL)
        except OSError:
            raise self._death(worker, f"while it made batch {index}") from None

    def _receive(self, worker: _Worker, index: int, slot: int) -> Any:
        try:
            return worker.receiver.receive(slot)
        except (EOFError, OSError):
            raise self._death(worker, f"while it made batch {index}") from None

    def _death(self, worker: _Worker, when: str) -> RuntimeError:
        ends = time.monotonic() + PATIENCE
        while (code := worker.process.poll()) is None and time.monotonic() < ends:
            time.sleep(0.01)
        if code is not None and code < 0:
            how = f"one ended by signal {-code} ({signal.Signals(-code).name})"
        else:
            how = "one that closed its connection" if code is None else f"one that ended with status {code}"
        return RuntimeError(message(self._function, "worker", f"live ({when})", how))

    def _drain(self) -> None:
        """Receives what an epoch that ended early has left under way."""
        while self._pending:
            worker, index, slot = self._pending.popleft()
            self._receive(worker, index, slot)
            worker.free.append(slot)

    def close(self) -> None:
        """Ends the processes: at once where they wait, by force where they are busy for long."""
        for worker in self._workers:
            worker.hang_up()
        for number in (signal.SIGTERM, signal.SIGKILL, None):
            ends = time.monotonic() + PATIENCE
            alive = [worker for worker in self._workers if worker.process.poll() is None]
            while alive and time.monotonic() < ends:
                time.sleep(0.002)
                alive = [worker for worker in alive if worker.process.poll() is None]
            if not alive or number is None:
                break
            for worker in alive:
                worker.process.send_signal(number)
        self._workers = []
        self._pending.clear()
