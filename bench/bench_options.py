"""What options of a recurrent layer cost: each as a multiple of the plain layer's time, beside its limit.

    python bench/bench_options.py                       # LSTM and GRU, 2 threads
    python bench/bench_options.py --cells lstm --shape 16,200,64,96 --threads 1

Forward and backward together, in one process, taking turns; times are medians. Fails where a limit is not
kept, unless --report.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from jobs import GATES, layer_weights
from timing import machine

import fastseq
from fastseq import ops

SHAPE = "64,100,128,256"
FLOAT64_SHAPES = ["128,7,12,128", "32,32,256,512", SHAPE]
LIMITS = {
    "ragged, mean length half": 0.6,
    "mask, one step in ten absent": 1.1,
    "mask, nothing absent": 1.1,
    "recurrent_dropout=0.2": 1.1,
    "dropout=0.2": 1.1,
}
FLOAT64_LIMIT, NUMPY_LIMIT = 2.3, 1.8

Work = Callable[[], object]


def layer(cell: str, shape: list[int], dtype: type, **options: object) -> Work:
    """Forward and backward of one layer: what a training step does with it."""
    batch, steps, features, units = shape
    rng = np.random.default_rng(0)
    weights = [w.astype(dtype) for w in layer_weights(cell, features, units, rng)]
    x, d = (rng.normal(size=(batch, steps, n)).astype(dtype) for n in (features, units))
    forward, backward = getattr(ops, f"{cell}_forward"), getattr(ops, f"{cell}_backward")
    return lambda: backward(forward(x, *weights, **options)[2], d)


def turns(works: dict[str, Work], rounds: int, seconds: float) -> dict[str, float]:
    """Median seconds of each, all taking turns of about ``seconds``, another one first each time."""
    counts = {}
    for name, work in works.items():
        work()
        begin = time.perf_counter()
        work()
        counts[name] = max(1, round(seconds / (time.perf_counter() - begin)))
    found: dict[str, list[float]] = {name: [] for name in works}
    names = list(works)
    for n in range(rounds):
        for name in [*names[n % len(names) :], *names[: n % len(names)]]:
            begin = time.perf_counter()
            for _ in range(counts[name]):
                works[name]()
            found[name].append((time.perf_counter() - begin) / counts[name])
    return {name: statistics.median(times) for name, times in found.items()}


def option_works(cell: str, shape: list[int]) -> dict[str, Work]:
    batch, steps = shape[:2]
    rng = np.random.default_rng(1)
    holes = rng.random((batch, steps)) >= 0.1
    lengths = np.linspace(1, steps, batch).round().astype(np.int64)
    options: dict[str, dict[str, object]] = {
        "plain": {},
        "ragged, mean length half": {"lengths": rng.permutation(lengths)},
        "mask, one step in ten absent": {"mask": holes},
        "mask, nothing absent": {"mask": np.ones((batch, steps), bool)},
        "recurrent_dropout=0.2": {"recurrent_dropout": 0.2, "seed": 1},
        "dropout=0.2": {"dropout": 0.2, "seed": 1},
    }
    return {name: layer(cell, shape, np.float32, **given) for name, given in options.items()}


def beside_numpy(cell: str, shape: list[int]) -> dict[str, Work]:
    """A layer, a product of numpy's that takes about as long, and the two by turns."""
    ours = layer(cell, shape, np.float32)
    size = 512
    a = np.random.default_rng(2).normal(size=(size, size)).astype(np.float32)
    times = max(1, round(turns({"ours": ours, "a": lambda: a @ a}, 3, 0.1)["ours"] / 2e-3))

    def theirs() -> None:
        for _ in range(times):
            a @ a

    def both() -> None:
        ours()
        theirs()

    return {"ours": ours, "theirs": theirs, "both": both}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    listed = lambda text: text.split(",")  # noqa: E731
    sizes = lambda text: [int(n) for n in text.split(",")]  # noqa: E731
    parser.add_argument("--cells", type=listed, default=["lstm", "gru"], help="of lstm, gru, simple_rnn")
    parser.add_argument("--shape", type=sizes, default=sizes(SHAPE), metavar="B,T,I,H")
    parser.add_argument("--threads", type=int, default=fastseq.get_num_threads())
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.3, help="of a turn, about")
    parser.add_argument("--report", action="store_true", help="do not fail where a limit is not kept")
    options = parser.parse_args()
    if unknown := [cell for cell in options.cells if cell not in GATES]:
        parser.error(f"unknown {', '.join(unknown)}: known are {', '.join(GATES)}")
    fastseq.set_num_threads(options.threads)
    facts = machine()
    print(f"{facts['cpu']}, {facts['cpus']} CPUs, {' '.join(facts['simd'])}, load {facts['load']:.1f}")
    print(f"fastseq {fastseq.__version__}, {options.threads} threads, forward and backward")
    slow = []

    def line(name: str, seconds: float, ratio: float, limit: float) -> None:
        verdict = "" if ratio <= limit else "   too slow"
        if verdict:
            slow.append(f"{cell}: {name}")
        print(f"  {name:44}{1e3 * seconds:10.2f} ms {ratio:6.2f}x   limit {limit}x{verdict}", flush=True)

    for cell in options.cells:
        print(f"{cell}, (batch, time, input, hidden) = {tuple(options.shape)}")
        times = turns(option_works(cell, options.shape), options.rounds, options.seconds)
        print(f"  {'plain':44}{1e3 * times['plain']:10.2f} ms")
        for name, limit in LIMITS.items():
            line(name, times[name], times[name] / times["plain"], limit)
        for text in FLOAT64_SHAPES:
            works = {str(d.__name__): layer(cell, sizes(text), d) for d in (np.float32, np.float64)}
            times = turns(works, options.rounds, options.seconds)
            ratio = times["float64"] / times["float32"]
            line(f"float64 at {text}, of float32", times["float64"], ratio, FLOAT64_LIMIT)
        times = turns(beside_numpy(cell, options.shape), options.rounds, options.seconds)
        alone = times["ours"] + times["theirs"]
        line("by turns with products of numpy, of the sum", times["both"], times["both"] / alone, NUMPY_LIMIT)
    if slow and not options.report:
        raise SystemExit("\n".join(["too slow:", *slow]))


if __name__ == "__main__":
    main()
