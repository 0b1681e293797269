"""Forced alignment from logits, at a few shapes, beside its peers.

    python bench/bench_ctc_align.py                                  # the grid, 2 threads
    python bench/bench_ctc_align.py --shapes 5000,1,30,400 --threads 2,1

A shape is frames,batch,classes,labels. Every library runs in a process of its own on the same arrays.
First their paths must be as probable as each other, then they take turns. Times are medians.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from bench_ctc import table, write_arrays
from ctc_align_peers import NAMES
from timing import available_cpus, check_agreement, interleave, machine, opened, where

PEERS = Path(__file__).with_name("ctc_align_peers.py")
SHAPES = ["150,16,28,40", "500,32,32,100", "1000,8,5000,50", "100000,1,32,2000"]


def measure(options: argparse.Namespace, shape: list[int], threads: int) -> dict[str, Any]:
    cpus = available_cpus()[:threads]
    print(f"\n(frames, batch, classes, labels) = {tuple(shape)}, {len(cpus)} threads", flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        job = folder / "job.npz"
        write_arrays(job, shape)
        with opened(PEERS, options.peers, cpus, folder, job=str(job)) as (workers, versions):
            check_agreement([w.name for w in workers], folder, limit=1e-5)
            print(f"  {len(workers)} agree on the probability of the paths", flush=True)
            for worker in workers:
                worker.ask("warm")
            seconds = interleave(workers, options.rounds, "turn", work="align")
    times = {name: statistics.median(each) for name, each in seconds.items()}
    for name, version in versions.items():
        ratio = f"{times[name] / times['fastseq']:8.1f}x" if "fastseq" in times else ""
        print(f"  {NAMES[name]:28}{1e3 * times[name]:12.3f} ms{ratio}   {version}", flush=True)
    return {"shape": shape, "threads": len(cpus), "versions": versions, "seconds": times}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    listed = lambda text: text.split(",")  # noqa: E731
    parser.add_argument("--shapes", nargs="+", default=SHAPES, metavar="T,B,C,L")
    parser.add_argument("--threads", type=lambda t: [int(n) for n in t.split(",")], default=[2])
    parser.add_argument("--peers", type=listed, default=list(NAMES), help=", ".join(NAMES))
    parser.add_argument("--rounds", type=int, default=7, help="turns of each library")
    parser.add_argument("--json", metavar="FILE", help="write everything measured there")
    options = parser.parse_args()
    if unknown := [name for name in options.peers if name not in NAMES]:
        parser.error(f"unknown {', '.join(unknown)}: known are {', '.join(NAMES)}")
    shapes = [[int(n) for n in text.split(",")] for text in options.shapes]
    if any(len(shape) != 4 or min(shape) < 1 or shape[2] < 2 for shape in shapes):
        parser.error("a shape is frames,batch,classes,labels")

    facts = machine()
    print(f"{facts['cpu']}, {facts['cpus']} CPUs, {' '.join(facts['simd'])}, load {facts['load']:.1f}")
    results = [measure(options, shape, threads) for shape in shapes for threads in options.threads]
    if options.json:
        report = {"machine": facts, "options": vars(options), "results": results}
        Path(options.json).write_text(json.dumps(report, indent=1) + "\n")
    print(f"\n{table(results, NAMES)}\n\n{where(facts)}")


if __name__ == "__main__":
    main()
