"""CTC loss with its gradient from logits, at many shapes, beside its peers.

    python bench/bench_ctc.py                                  # the grid, 2 threads
    python bench/bench_ctc.py --shapes 5000,1,30,400 --threads 2,1

A shape is frames,batch,classes,labels. Every library runs in a process of its own on the same arrays.
First all must agree on losses and gradients, then they take turns. Times are medians.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from ctc_peers import NAMES
from timing import available_cpus, check_agreement, interleave, machine, opened, put_between, where

SHAPES = ["30,32,28,16", "150,16,28,40", "200,64,100,30", "500,32,32,100", "1000,8,5000,50"]
WORK = "loss and gradient"


def write_arrays(path: Path, shape: list[int]) -> None:
    """Random logits and labels that fit: between half and all of the frames, and of the labels."""
    frames, batch, classes, longest = shape
    rng = np.random.default_rng(0)
    lengths = rng.integers((frames + 1) // 2, frames + 1, batch)
    lengths[0] = frames
    labels = rng.integers(1, classes, (batch, longest))
    label_lengths = rng.integers((longest + 1) // 2, longest + 1, batch)
    repeats = (labels[:, 1:] == labels[:, :-1]).sum(axis=1)
    label_lengths = np.maximum(np.minimum(label_lengths, lengths - repeats), 0)
    x = rng.normal(size=(batch, frames, classes)).astype(np.float32)
    np.savez(path, x=x, labels=labels, lengths=lengths, label_lengths=label_lengths)


class Bench(NamedTuple):
    """What the benches of CTC's operations differ in.

    Attributes:
        title: For --help.
        peers: The script whose workers hold the libraries.
        names: Their titles, by name.
        shapes: Those measured unless others are asked for.
        work: The name of what is timed.
        agreed: What all must agree on before that, in words.
        limits: How far apart they may be, by array; "" for those not named.
        mark: Of the table in the README.
    """

    title: str
    peers: Path
    names: dict[str, str]
    shapes: list[str]
    work: str
    agreed: str
    limits: dict[str, float]
    mark: str


def measure(bench: Bench, options: argparse.Namespace, shape: list[int], threads: int) -> dict[str, Any]:
    cpus = available_cpus()[:threads]
    print(f"\n(frames, batch, classes, labels) = {tuple(shape)}, {len(cpus)} threads", flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        job = folder / "job.npz"
        write_arrays(job, shape)
        with opened(bench.peers, options.peers, cpus, folder, job=str(job)) as (workers, versions):
            check_agreement([w.name for w in workers], folder, limit=bench.limits[""], limits=bench.limits)
            print(f"  {len(workers)} agree on {bench.agreed}", flush=True)
            for worker in workers:
                worker.ask("warm")
            seconds = interleave(workers, options.rounds, "turn", work=bench.work)
    times = {name: statistics.median(each) for name, each in seconds.items()}
    for name, version in versions.items():
        ratio = f"{times[name] / times['fastseq']:8.1f}x" if "fastseq" in times else ""
        print(f"  {bench.names[name]:28}{1e3 * times[name]:12.3f} ms{ratio}   {version}", flush=True)
    return {"shape": shape, "threads": len(cpus), "versions": versions, "seconds": times}


def table(results: list[dict[str, Any]], titled: dict[str, str]) -> str:
    """For the README: times in ms, and how many times as long as fastseq each takes."""
    names = list(dict.fromkeys(name for r in results for name in r["seconds"]))
    titles = ["frames, batch, classes, labels", "threads", *(titled[name] for name in names)]
    lines = [titles, ["---", *["---:"] * (len(titles) - 1)]]
    for result in results:
        times = result["seconds"]
        cells = [", ".join(map(str, result["shape"])), str(result["threads"])]
        for name in names:
            ratio = f" ({times[name] / times['fastseq']:.0f}x)" if name != "fastseq" and name in times else ""
            cells.append(f"{1e3 * times[name]:.2f}{ratio}" if name in times else "")
        lines.append(cells)
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def run(bench: Bench) -> None:
    """Reads the command line, measures the grid, prints and writes what came out."""
    parser = argparse.ArgumentParser(description=bench.title)
    names = bench.names
    listed = lambda text: text.split(",")  # noqa: E731
    parser.add_argument("--shapes", nargs="+", default=bench.shapes, metavar="T,B,C,L")
    parser.add_argument("--threads", type=lambda t: [int(n) for n in t.split(",")], default=[2])
    parser.add_argument("--peers", type=listed, default=list(names), help=", ".join(names))
    parser.add_argument("--rounds", type=int, default=9, help="turns of each library")
    parser.add_argument("--json", metavar="FILE", help="write everything measured there")
    parser.add_argument("--readme", metavar="FILE", help="put a table between its marks in this file")
    options = parser.parse_args()
    if unknown := [name for name in options.peers if name not in names]:
        parser.error(f"unknown {', '.join(unknown)}: known are {', '.join(names)}")
    shapes = [[int(n) for n in text.split(",")] for text in options.shapes]
    if any(len(shape) != 4 or min(shape) < 1 or shape[2] < 2 for shape in shapes):
        parser.error("a shape is frames,batch,classes,labels")

    facts = machine()
    print(f"{facts['cpu']}, {facts['cpus']} CPUs, {' '.join(facts['simd'])}, load {facts['load']:.1f}")
    results = [measure(bench, options, shape, threads) for shape in shapes for threads in options.threads]
    if options.json:
        report = {"machine": facts, "options": vars(options), "results": results}
        Path(options.json).write_text(json.dumps(report, indent=1) + "\n")
    print(f"\n{table(results, names)}\n\n{where(facts)}")
    if options.readme:
        put_between(options.readme, bench.mark, f"{table(results, names)}\n\n{where(facts)}")


BENCH = Bench(
    title=__doc__.splitlines()[0],
    peers=Path(__file__).with_name("ctc_peers.py"),
    names=NAMES,
    shapes=SHAPES,
    work=WORK,
    agreed="losses and gradients",
    # the others add logarithms in single precision: off by a percent at 1,000 frames
    limits={"": 5e-2, "losses": 1e-4},
    mark="bench_ctc",
)

if __name__ == "__main__":
    run(BENCH)
