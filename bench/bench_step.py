"""One recurrent step at batch 1, features = units, beside its peers and beside the way of the weights.

    python bench/bench_step.py                              # LSTM and GRU, 2 threads and 1
    python bench/bench_step.py --units 128,512 --cells lstm --threads 2

Every library runs in a process of its own on the same arrays. First all must agree on the outputs of a
whole series, then they take turns. Times are medians of turns of many steps. No step is faster than its
weights come from the cache: that time is measured in turns with the steps, by reading as many bytes.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from jobs import GATES, layer_weights
from step_peers import NAMES, WORK
from timing import Floor, available_cpus, check_agreement, interleave, machine, opened, put_between, where

PEERS = Path(__file__).with_name("step_peers.py")
SETTLE = 12  # turns before the first that counts: time to find out whether a second thread helps
STEPS = 20  # of the series on which all must agree


def weight_bytes(cell: str, units: int) -> int:
    return 4 * 2 * units * GATES[cell] * units


def measure(options: argparse.Namespace, cell: str, units: int, threads: int) -> dict[str, Any]:
    cpus = available_cpus()[:threads]
    bytes = weight_bytes(cell, units)
    print(f"\n{cell}, {units} units, {bytes >> 10} KB of weights, {len(cpus)} threads", flush=True)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(STEPS, 1, units)).astype(np.float32)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        job = folder / "job.npz"
        weights = layer_weights(cell, units, units, rng)
        np.savez(job, x=x, **{f"weight{i}": w for i, w in enumerate(weights)})
        with opened(PEERS, options.peers, cpus, folder, job=str(job), cell=cell) as (workers, versions):
            check_agreement([w.name for w in workers], folder, limit=1e-4)
            print(f"  {len(workers)} agree on {STEPS} outputs", flush=True)
            for worker in workers:
                worker.ask("warm")
                for _ in range(SETTLE):
                    worker.ask("turn", work=WORK)
            seconds = interleave([*workers, *Floor.of(workers, bytes)], options.rounds, "turn", work=WORK)
    result = {
        "cell": cell,
        "units": units,
        "threads": len(cpus),
        "versions": versions,
        "seconds": {name: statistics.median(each) for name, each in seconds.items()},
        "least": {name: min(each) for name, each in seconds.items()},
    }
    show(result)
    return result


def show(result: dict[str, Any]) -> None:
    """us, how many times as long as fastseq, and what share of the step the weights' way alone takes."""
    times, floor = result["seconds"], result["seconds"].get("floor")
    print(f"  {'':28}{'us':>9}{'least':>9}{'ratio':>8}{'floor':>8}")
    for name in [*result["versions"], *(["floor"] if floor else [])]:
        ratio = f"{times[name] / times['fastseq']:.2f}x" if "fastseq" in times else ""
        share = f"{100 * floor / times[name]:.0f} %" if floor else ""
        label = NAMES.get(name, "reading the weights")
        least = 1e6 * result["least"][name]
        version = result["versions"].get(name, "")
        print(f"  {label:28}{1e6 * times[name]:9.2f}{least:9.2f}{ratio:>8}{share:>8}   {version}")
    sys.stdout.flush()


def table(results: list[dict[str, Any]]) -> str:
    """For the README: us, and how many times as long as fastseq each takes."""
    names = [name for name in (*NAMES, "floor") if any(name in r["seconds"] for r in results)]
    titles = ["one step", "units", "threads", *(NAMES.get(name, "reading the weights") for name in names)]
    lines = [titles, ["---", *["---:"] * (len(titles) - 1)]]
    for result in results:
        times = result["seconds"]
        cells = [result["cell"].upper(), str(result["units"]), str(result["threads"])]
        for name in names:
            beside = name != "fastseq" and name in times and "fastseq" in times
            ratio = f" ({times[name] / times['fastseq']:.2f}x)" if beside else ""
            cells.append(f"{1e6 * times[name]:.1f}{ratio}" if name in times else "")
        lines.append(cells)
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    listed = lambda text: text.split(",")  # noqa: E731
    numbers = lambda text: [int(n) for n in text.split(",")]  # noqa: E731
    parser.add_argument("--units", type=numbers, default=[64, 128, 256, 512])
    parser.add_argument("--cells", type=listed, default=["lstm", "gru"], help="of lstm, gru, simple_rnn")
    parser.add_argument("--threads", type=numbers, default=[2, 1])
    parser.add_argument("--peers", type=listed, default=list(NAMES), help=", ".join(NAMES))
    parser.add_argument("--rounds", type=int, default=15, help="turns of each library")
    parser.add_argument("--json", metavar="FILE", help="write everything measured there")
    parser.add_argument("--readme", metavar="FILE", help="put a table between its marks in this file")
    options = parser.parse_args()
    for names, known in ((options.cells, GATES), (options.peers, NAMES)):
        if unknown := [name for name in names if name not in known]:
            parser.error(f"unknown {', '.join(unknown)}: known are {', '.join(known)}")

    facts = machine()
    print(f"{facts['cpu']}, {facts['cpus']} CPUs, {' '.join(facts['simd'])}, load {facts['load']:.1f}")
    results = [
        measure(options, cell, units, threads)
        for cell in options.cells
        for units in options.units
        for threads in options.threads
    ]
    if options.json:
        report = {"machine": facts, "options": vars(options), "results": results}
        Path(options.json).write_text(json.dumps(report, indent=1) + "\n")
    print(f"\n{table(results)}\n\n{where(facts)}")
    if options.readme:
        put_between(options.readme, "bench_step", f"{table(results)}\n\n{where(facts)}")


if __name__ == "__main__":
    main()
