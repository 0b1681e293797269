"""Taking turns, on the worker's side: each turn a number of calls, long enough for the clock."""

from __future__ import annotations

import time
from abc import ABC
from collections.abc import Callable
from typing import Any

import numpy as np

TURN = 0.05  # seconds that one turn of a library should take

Call = Callable[[], Any]


class Turns(ABC):
    """A worker with calls to be timed.

    Attributes:
        calls: What to time, by the name of the work.
    """

    calls: dict[str, Call]

    def warm(self) -> list[str]:
        """Finds how many calls make a turn; answers with the works there are."""
        self.counts, self.lasted = {}, {}
        for work, call in self.calls.items():
            call()
            start = time.perf_counter()
            call()
            self.counts[work] = max(1, int(TURN / (time.perf_counter() - start)))
        return list(self.calls)

    def turn(self, work: str) -> float:
        """Seconds of one call, the mean of a turn."""
        call, count = self.calls[work], self.counts[work]
        start = time.perf_counter()
        for _ in range(count):
            call()
        self.lasted[work] = time.perf_counter() - start
        return self.lasted[work] / count


class Peaks(Turns):
    """A worker that also measures the machine, through fastseq.

    Attributes:
        fastseq: The package.
        threads: How many work.
    """

    fastseq: Any
    threads: int

    def peak(self, work: str) -> float:
        """Floating-point operations per second, two an FMA, that the threads reach from registers alone.

        For as long as the last turn took: whatever else runs on the machine meets both alike.
        """
        return float(self.fastseq._core.fma_rate(self.threads, self.lasted.get(work, TURN)))

    def peak_at_rest(self) -> float:
        """The best of many short tries: what they reach while nothing else runs."""
        return float(self.fastseq._core.fma_peak(self.threads))


class Reads:
    """A worker that also measures the machine's caches, through fastseq.

    Attributes:
        fastseq: The package.
        threads: How many read.
    """

    fastseq: Any
    threads: int

    def read(self, bytes: int) -> float:
        """Bytes per second that the threads together read from the cache that holds so many."""
        return float(self.fastseq._core.read_peak(self.threads, max(bytes, 4096)))


def fastest(candidates: list[Call]) -> Call:
    """The candidate that runs fastest once compiled."""
    if len(candidates) == 1:
        return candidates[0]
    for call in candidates:
        call()
    seconds = np.empty((5, len(candidates)))
    for turn in seconds:  # in turns, so that a busy moment falls on all alike
        for i, call in enumerate(candidates):
            start = time.perf_counter()
            call()
            turn[i] = time.perf_counter() - start
    return candidates[int(np.argmin(np.median(seconds, axis=0)))]
