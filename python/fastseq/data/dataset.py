"""PyDataset: batches made by Python code, one by one, when training asks for them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

__all__ = ["PyDataset", "is_dataset", "is_stream", "parts"]


class PyDataset:
    """Base of datasets that make their batches one by one: subclasses define ``__getitem__`` and ``__len__``.

    ``dataset[k]`` is a whole batch: ``(x, y)``, ``(x, y, sample_weight)`` or ``x`` alone, each as ``fit``
    takes it: an array, a list of them or a dict by name. ``len(dataset)`` is how many there are;
    without ``__len__``, ``num_batches`` may be overridden and give None for a dataset without an end.

    With ``workers`` above 1, or ``use_multiprocessing``, batches are made ahead by so many processes (never
    by threads, which would hold up the kernels) and come back in order. Each process has a copy of
    the dataset. It is a fresh process where the dataset can be pickled and its class imported from a
    module; otherwise, as for a class written in a notebook or in the program that is run, it is a fork of
    this process (not on macOS). Before each ``__getitem__`` in a worker the random numbers of numpy,
    Python and fastseq are seeded from ``set_seed``, the epoch and the index, so that a run repeats with any
    number of workers. What ``__getitem__`` changes on the dataset stays in its process; what
    ``on_epoch_begin`` and ``on_epoch_end`` change reaches the workers before the next epoch.

    Args:
        workers: How many processes make batches.
        use_multiprocessing: Whether a single worker is a process, too, instead of the caller.
        max_queue_size: How many batches may be under way or wait.
    """

    workers = 1  # also for subclasses whose __init__ does not call this one's
    use_multiprocessing = False
    max_queue_size = 10

    def __init__(self, workers: int = 1, use_multiprocessing: bool = False, max_queue_size: int = 10) -> None:
        self.workers = workers
        self.use_multiprocessing = use_multiprocessing
        self.max_queue_size = max_queue_size

    def __getitem__(self, index: int) -> Any:
        """Batch number ``index``."""
        raise NotImplementedError

    @property
    def num_batches(self) -> int | None:
        """How many batches there are; None where there is no end."""
        if hasattr(self, "__len__"):
            return len(self)
        raise NotImplementedError(f"{type(self).__name__} must define __len__ or num_batches")

    def __iter__(self) -> Iterator[Any]:
        count = self.num_batches
        for index in itertools.count() if count is None else range(count):
            yield self[index]

    def on_epoch_begin(self) -> None:
        """Called in the training process before every epoch."""

    def on_epoch_end(self) -> None:
        """Called in the training process after every epoch."""


def is_dataset(value: Any) -> bool:
    """Whether it makes batches by number: a PyDataset, or one of Keras's."""
    return isinstance(value, PyDataset) or (
        hasattr(value, "__getitem__") and hasattr(value, "on_epoch_end") and hasattr(value, "num_batches")
    )


def is_stream(value: Any) -> bool:
    """Whether batches come out of it one by one: a dataset, a generator or another iterable."""
    if isinstance(value, (list, tuple, dict, str)) or hasattr(value, "shape") or hasattr(value, "__array__"):
        return False
    return is_dataset(value) or hasattr(value, "__iter__") or hasattr(value, "__next__")


def parts(batch: Any) -> tuple[Any, Any, Any]:
    """(inputs, targets or None, weights or None) of what a dataset or a generator gives.

    Raises:
        ValueError: A tuple or list of another length than 1, 2 or 3.
    """
    if not isinstance(batch, (list, tuple)):
        return batch, None, None
    if len(batch) not in (1, 2, 3):
        raise ValueError(
            f"PyDataset: batch must be (x,), (x, y) or (x, y, sample_weight), got {len(batch)} entries"
        )
    x, y, weights = (*batch, None, None)[:3]
    return x, y, weights
