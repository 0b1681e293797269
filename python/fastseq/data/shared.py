"""Arrays handed from one process to another in memory that both see.

Memory has no name: it is passed as an open file over a socket, so none is left behind however a process ends.
"""

from __future__ import annotations

import mmap
import os
import pickle
import tempfile
from collections.abc import Sequence
from multiprocessing import reduction
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

__all__ = ["Receiver", "Sender"]

INLINE = 16384  # bytes: less than this goes through the socket itself
ALIGNMENT = 64  # bytes


def _anonymous_file(size: int) -> int:
    """A file without a name, of zeros."""
    if hasattr(os, "memfd_create"):
        descriptor: int = os.memfd_create("fastseq-batches")
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, size)
    return descriptor


def _contiguous(value: Any) -> Any:
    """``value`` with its arrays laid out in one piece, which pickle can leave where they are."""
    if isinstance(value, np.ndarray):
        whole = value.flags.c_contiguous or value.flags.f_contiguous or value.dtype.hasobject
        return value if whole else np.ascontiguousarray(value)
    if type(value) in (list, tuple):
        return type(value)(_contiguous(one) for one in value)
    return {key: _contiguous(one) for key, one in value.items()} if type(value) is dict else value


class Sender:
    """The side that makes the arrays; keeps a piece of memory for each ``slot``."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._memories: dict[int, mmap.mmap] = {}

    def send(self, value: Any, slot: int) -> None:
        """Sends any value; its arrays stay in the memory of ``slot`` until the slot is used again."""
        buffers: list[pickle.PickleBuffer] = []
        payload = pickle.dumps(_contiguous(value), protocol=5, buffer_callback=buffers.append)
        views = [buffer.raw() for buffer in buffers]
        if sum(view.nbytes for view in views) < INLINE:
            self._connection.send((payload, [bytes(view) for view in views], 0))
            return
        spans, end = [], 0
        for view in views:
            spans.append((end, view.nbytes))
            end += -(-view.nbytes // ALIGNMENT) * ALIGNMENT
        memory = self._memories.get(slot)
        grown = None
        if memory is None or len(memory) < end:
            size = -(-(end + end // 4) // mmap.PAGESIZE) * mmap.PAGESIZE  # the next may be somewhat larger
            grown = _anonymous_file(size)
            memory = self._memories[slot] = mmap.mmap(grown, size)
        for (begin, size), view in zip(spans, views, strict=True):
            memory[begin : begin + size] = view
        self._connection.send((payload, spans, len(memory) if grown is not None else -1))
        if grown is not None:
            reduction.send_handle(self._connection, grown, None)
            os.close(grown)


class Receiver:
    """The side that uses them."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._memories: dict[int, mmap.mmap] = {}

    def receive(self, slot: int) -> Any:
        """The next value; its arrays are valid until the slot is used again.

        Raises:
            EOFError, OSError: The other side has ended.
        """
        payload, places, size = self._connection.recv()
        if size > 0:
            descriptor = reduction.recv_handle(self._connection)
            self._memories[slot] = mmap.mmap(descriptor, size)
            os.close(descriptor)
        return pickle.loads(payload, buffers=places if size == 0 else self._views(slot, places))

    def _views(self, slot: int, spans: Sequence[tuple[int, int]]) -> list[memoryview]:
        whole = memoryview(self._memories[slot])
        return [whole[begin : begin + size] for begin, size in spans]
