"""The line that training shows: steps, time left, time per step, metrics."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from time import perf_counter
from typing import Any

__all__ = ["Progress"]

INTERVAL = 0.05  # seconds between two drawings
WIDTH = 20  # of the bar, in characters


def _redraws() -> bool:
    """Whether the output can be written over: a terminal or a notebook."""
    terminal = getattr(sys.stdout, "isatty", None)
    return bool((terminal and terminal()) or "ipykernel" in sys.modules or "PYCHARM_HOSTED" in os.environ)


def _bar_character() -> str:
    try:
        "━".encode(getattr(sys.stdout, "encoding", None) or "ascii")
    except (LookupError, UnicodeEncodeError):
        return "="
    return "━"


def _duration(seconds: float) -> str:
    if seconds >= 3600:
        return f"{seconds // 3600:.0f}:{seconds % 3600 // 60:02.0f}:{int(seconds % 60):02d}"
    if seconds >= 60:
        return f"{seconds // 60:.0f}:{int(seconds % 60):02d}"
    return f"{int(seconds)}s"


def _per_step(seconds: float) -> str:
    if seconds >= 1:
        return f"{seconds:.0f}s/step"
    if seconds >= 1e-3:
        return f"{seconds * 1e3:.0f}ms/step"
    return f"{seconds * 1e6:.0f}us/step"


def _values(logs: dict[str, Any]) -> str:
    """Each by name; of a metric with several values the mean."""
    means = {name: value.mean() if hasattr(value, "mean") else value for name, value in logs.items()}
    return "".join(
        f" - {name}: {value:.4f}" if abs(value) > 1e-3 else f" - {name}: {value:.4e}"
        for name, value in means.items()
    )


class Progress:
    """One run over ``steps`` batches.

    Args:
        verbose: 0 shows nothing; 1 a bar that is drawn over itself (or, where the output cannot be
            written over, one line at the end); 2 one line at the end.
        steps: How many batches there are; None where only the end will tell.
    """

    def __init__(self, verbose: int, steps: int | None) -> None:
        self.verbose = verbose
        self.steps = steps
        self._seen = 0
        self.live = verbose == 1 and _redraws()
        self._begin = perf_counter()
        self._next = self._begin + INTERVAL if self.live else float("inf")
        self._width = 0
        self._full = _bar_character()

    def update(self, step: int, logs: Callable[[], dict[str, float]]) -> None:
        """After batch number ``step``, from 1; ``logs`` is only called when something is drawn."""
        self._seen = step
        now = perf_counter()
        if now >= self._next:
            self._next = now + INTERVAL
            each = (now - self._begin) / step
            known = self.steps is not None
            left = _duration(each * ((self.steps or 0) - step) if known else now - self._begin)
            self._draw(f"{self._bar(step)} {left} {_per_step(each)}{_values(logs())}")

    def finish(self, logs: dict[str, float]) -> None:
        """After the last batch: the time it took, and the metrics."""
        if not self.verbose:
            return
        taken = perf_counter() - self._begin
        steps = self.steps = self._seen if self.steps is None else self.steps
        each = _per_step(taken / max(steps, 1))
        if self.verbose == 2:
            text = f"{steps}/{steps} - {taken:.0f}s - {each}{_values(logs)}\n"
            sys.stdout.write(text)
        else:
            self._draw(f"{self._bar(steps)} {taken:.0f}s {each}{_values(logs)}")
            sys.stdout.write("\n")
        sys.stdout.flush()

    def abandon(self) -> None:
        """Leaves the line as it is and goes to the next."""
        if self._width:
            sys.stdout.write("\n")
            sys.stdout.flush()

    def _bar(self, step: int) -> str:
        if self.steps is None:
            return f"{step}/Unknown"
        full = WIDTH * step // max(self.steps, 1)
        count = f"{step:{len(str(self.steps))}d}/{self.steps}"
        if not self.live:
            return f"{count} {self._full * full}{' ' * (WIDTH - full)}"
        done, rest = self._full * full, self._full * (WIDTH - full)
        return f"\033[1m{count}\033[0m \033[32m{done}\033[0m\033[37m{rest}\033[0m"

    def _draw(self, text: str) -> None:
        padding = " " * max(0, self._width - len(text))
        self._width = len(text)
        sys.stdout.write(f"\r{text}{padding}" if self.live else text)
        sys.stdout.flush()
