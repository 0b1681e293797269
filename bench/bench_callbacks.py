"""What callbacks and the progress bar cost a training step: the addition model with and without, in turns.

    python bench/bench_callbacks.py [--digits 3] [--steps 352] [--rounds 9] [--threads 0]

One epoch after another of the same model, one plain and one with TerminateOnNaN (at every batch),
EarlyStopping and ModelCheckpoint (at every epoch's end) and the bar drawn on a terminal; there is no
validation. Both must reach the same weights from the same seed, then their times per step are compared.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from typing import Any

import numpy as np

import fastseq
from fastseq import callbacks, layers

MOST = 1.03  # times a step without them


class Terminal:
    """A terminal that nobody looks at."""

    encoding = "utf-8"

    def __init__(self) -> None:
        self.file = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        return self.file.write(text)

    def flush(self) -> None:
        self.file.flush()


def model(digits: int) -> Any:
    made = fastseq.Sequential(
        [
            layers.Input((2 * digits + 1, 12)),
            layers.LSTM(128),
            layers.RepeatVector(digits + 1),
            layers.LSTM(128, return_sequences=True),
            layers.TimeDistributed(layers.Dense(12)),
            layers.Activation("softmax"),
        ]
    )
    made.compile("adam", "categorical_crossentropy", metrics=["accuracy"])
    return made


def data(digits: int, steps: int) -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    rows = 128 * steps
    one_hot = np.eye(12, dtype=bool)
    x = one_hot[rng.integers(0, 12, (rows, 2 * digits + 1))]
    return x, one_hot[rng.integers(0, 12, (rows, digits + 1))]


def epoch(made: Any, x: Any, y: Any, folder: str | None) -> float:
    """Seconds of one epoch; with callbacks and bar where there is a folder."""
    asked: list[Any] = []
    if folder is not None:
        asked = [
            callbacks.TerminateOnNaN(),
            callbacks.EarlyStopping("loss", patience=5),
            callbacks.ModelCheckpoint(f"{folder}/best", "loss", save_best_only=True),
        ]
    real, sys.stdout = sys.stdout, Terminal() if folder is not None else sys.stdout
    try:
        begin = time.perf_counter()
        made.fit(x, y, batch_size=128, callbacks=asked, verbose=0 if folder is None else 1)
        return time.perf_counter() - begin
    finally:
        sys.stdout = real


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--digits", type=int, default=3)
    parser.add_argument("--steps", type=int, default=352, help="per epoch (352: 45,000 questions)")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=0)
    asked = parser.parse_args()
    fastseq.set_num_threads(asked.threads)
    x, y = data(asked.digits, asked.steps)
    with tempfile.TemporaryDirectory() as folder:
        made = []
        for where in (None, folder):
            fastseq.set_seed(0)
            one = model(asked.digits)
            fastseq.set_seed(1)
            epoch(one, x[: 128 * 20], y[: 128 * 20], where)
            made.append(one)
        same = [np.array_equal(a, b) for a, b in zip(*(one.get_weights() for one in made), strict=True)]
        assert all(same), "callbacks must not change training"
        seconds: list[list[float]] = [[], []]
        for turn in range(asked.rounds):
            for k in (0, 1) if turn % 2 else (1, 0):
                seconds[k].append(epoch(made[k], x, y, (None, folder)[k]))
    plain, watched = (statistics.median(times) / asked.steps for times in seconds)
    ratio = statistics.median(b / a for a, b in zip(*seconds, strict=True))
    print(f"{fastseq.get_num_threads()} threads, {asked.steps} steps, {asked.rounds} rounds in turns")
    print(f"without: {1e6 * plain:8.0f} us a step")
    print(f"with:    {1e6 * watched:8.0f} us a step")
    print(f"ratio:   {ratio:8.4f} (median of the rounds; at most {MOST})")
    return 0 if ratio <= MOST else 1


if __name__ == "__main__":
    sys.exit(main())
