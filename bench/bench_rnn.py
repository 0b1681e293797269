"""One recurrent layer at many shapes, training and inference, beside its peers.

    python bench/bench_rnn.py                                     # the grid: LSTM and GRU, 2 threads
    python bench/bench_rnn.py --shapes 64,100,128,256 --cells lstm --threads 2,1
    python bench/bench_rnn.py --json now.json --plot rnn.png      # keep and draw what was measured
    python bench/bench_rnn.py --shapes 8,50,64,96 --onto now.json --json now.json   # add to what was measured
    python bench/bench_rnn.py --against before.json               # fail where shares of the peak have fallen

A shape is batch,time,input,hidden. Every library runs in a process of its own on the same arrays. First
all must agree on outputs and gradients, then they take turns. The machine has its own in every round, as
long as fastseq's: what its threads then reach from registers alone is the peak that shares are taken of.
With one sequence every step waits for the recurrent weights: how long the threads take to read them as
often, from the cache that holds them, is measured too. Times are medians.

For inference weights stay as they are: fastseq has them packed, as a model does that predicts again.
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
from rnn_peers import FORWARD_ONLY, NAMES, WORKS
from timing import (
    Floor,
    Peak,
    available_cpus,
    check_agreement,
    interleave,
    machine,
    opened,
    peaks,
    put_between,
    where,
)

PEERS = Path(__file__).with_name("rnn_peers.py")
SHAPES = [
    "128,7,12,128",
    "32,32,256,512",
    "64,100,128,256",
    "1,100,128,256",
    "16,200,512,1024",
    "256,50,64,64",
]


OURS = ("fastseq", "peak", "floor")  # turns that are no peer's


def flops(cell: str, shape: list[int], work: str) -> float:
    """Multiplications and additions of the matrix products, all steps alike; backward takes two of each."""
    batch, steps, features, units = shape
    forward = 2 * batch * steps * (features + units) * GATES[cell] * units
    return forward * (3 if work == "training" else 1)


def write_arrays(path: Path, cell: str, shape: list[int]) -> None:
    batch, steps, features, units = shape
    rng = np.random.default_rng(0)
    weights = layer_weights(cell, features, units, rng)
    x, d = (rng.normal(size=(batch, steps, n)).astype(np.float32) for n in (features, units))
    np.savez(path, x=x, d=d, **{f"weight{i}": w for i, w in enumerate(weights)})


def measure(options: argparse.Namespace, cell: str, shape: list[int], threads: int) -> dict[str, Any]:
    cpus = available_cpus()[:threads]
    print(f"\n{cell}, (batch, time, input, hidden) = {tuple(shape)}, {len(cpus)} threads", flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        job = folder / "job.npz"
        write_arrays(job, cell, shape)
        with opened(PEERS, options.peers, cpus, folder, job=str(job), cell=cell) as (workers, versions):
            # sums over batch and time of a thousand terms and more in single precision
            names = [worker.name for worker in workers]
            check_agreement(names, folder, limit=1e-4, fewer=FORWARD_ONLY)
            both = len([name for name in names if name not in FORWARD_ONLY])
            print(f"  {len(names)} agree on outputs, {both} of them on gradients", flush=True)
            works = {worker.name: worker.ask("warm") for worker in workers}
            seconds = {}
            for work in options.works:
                able: list[Any] = [w for w in workers if work in works[w.name]]
                able += Peak.of(workers)
                if shape[0] == 1 and work != "training":
                    able += Floor.of(workers, 4 * shape[3] * GATES[cell] * shape[3], times=shape[1])
                seconds[work] = interleave(able, options.rounds, "turn", work=work)
            at_rest = [peak.at_rest() for peak in Peak.of(workers)]
    result = {
        "cell": cell,
        "shape": shape,
        "threads": len(cpus),
        "versions": versions,
        "seconds": {w: {n: statistics.median(s) for n, s in of.items()} for w, of in seconds.items()},
        "at_rest": at_rest[0] if at_rest else None,
    }
    show(result)
    return result


def share(result: dict[str, Any], work: str, name: str = "fastseq") -> float | None:
    """The part of the machine's peak that a library reaches."""
    times = result["seconds"].get(work, {})
    if name not in times or "peak" not in times:
        return None
    return flops(result["cell"], result["shape"], work) * times["peak"] / times[name]


def cache_share(result: dict[str, Any], work: str) -> float | None:
    """The part of fastseq's time that the threads take to read the recurrent weights at every step."""
    times = result["seconds"].get(work, {})
    return times["floor"] / times["fastseq"] if "fastseq" in times and "floor" in times else None


def best_peer(result: dict[str, Any], work: str) -> str | None:
    """The fastest of the others."""
    times = {n: t for n, t in result["seconds"].get(work, {}).items() if n not in OURS}
    return min(times, key=times.__getitem__) if times else None


def show(result: dict[str, Any]) -> None:
    """A table: ms, GFLOP/s, share of the peak, and how many times as long as fastseq it takes."""
    works = list(result["seconds"])
    print(f"  {'ms, GFLOP/s, of the peak':26}" + "".join(f"{work:>36}" for work in works))
    for name, version in result["versions"].items():
        cells = []
        for work in works:
            times = result["seconds"][work]
            if name not in times:
                cells.append("")
                continue
            rate = flops(result["cell"], result["shape"], work) / times[name]
            part = share(result, work, name)
            ratio = f"{times[name] / times['fastseq']:.2f}x" if "fastseq" in times else ""
            of_peak = f"{100 * part:.0f} %" if part is not None else ""
            cells.append(f"{1e3 * times[name]:10.3f} {rate / 1e9:7.1f} {of_peak:>5} {ratio:>7}")
        print(f"  {NAMES[name]:26}" + "".join(f"{cell:>36}" for cell in cells) + f"   {version}")
    for work in works:
        if (of_cache := cache_share(result, work)) is not None:
            floor = 1e3 * result["seconds"][work]["floor"]
            print(f"  Reading the recurrent weights takes {floor:.3f} ms, {100 * of_cache:.0f} % of {work}.")
    print(peaks([result]), flush=True)


def table(results: list[dict[str, Any]]) -> str:
    """For the README: fastseq's time, its share of the peak, and the best peer's time as a multiple."""
    lines = [
        "| layer | batch, time, input, hidden | threads | training, ms | of the peak | best peer | "
        "inference, ms | of the peak | best peer |",
        "| --- | --- | ---: | ---: | ---: | --- | ---: | ---: | --- |",
    ]
    for result in results:
        cells = [
            result["cell"].replace("simple_rnn", "SimpleRNN").replace("lstm", "LSTM").replace("gru", "GRU")
        ]
        cells += [", ".join(map(str, result["shape"])), str(result["threads"])]
        for work in ("training", "inference"):
            times = result["seconds"].get(work, {})
            part, peer = share(result, work), best_peer(result, work)
            cells.append(f"{1e3 * times['fastseq']:.2f}" if "fastseq" in times else "")
            of_cache = cache_share(result, work)
            cells.append(f"{100 * part:.0f} %" if part is not None else "")
            if of_cache is not None:
                cells[-1] += f" ({100 * of_cache:.0f} % of the cache's)"
            beside = "fastseq" in times and peer is not None
            cells.append(f"{NAMES[peer]} {times[peer] / times['fastseq']:.2f}x" if beside and peer else "")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def place(result: dict[str, Any]) -> tuple[Any, ...]:
    """What was measured: the same again replaces it."""
    return result["cell"], tuple(result["shape"]), result["threads"]


def joined(results: list[dict[str, Any]], new: dict[str, Any]) -> list[dict[str, Any]]:
    """The results with a new one: in the place of the old, or at the end of its cell's."""
    same = [place(result) == place(new) for result in results]
    if any(same):
        return [new if old else result for result, old in zip(results, same, strict=True)]
    end = max(
        (i for i, result in enumerate(results) if result["cell"] == new["cell"]), default=len(results) - 1
    )
    return [*results[: end + 1], new, *results[end + 1 :]]


def fallen(before: list[dict[str, Any]], now: list[dict[str, Any]], tolerance: float) -> list[str]:
    """Where fastseq reaches less of the machine's peak than it did. Shares, not seconds: machines drift."""
    recorded = {place(result): result for result in before}
    found = []
    for result in now:
        old = recorded.get(place(result))
        if old is None or not any(share(result, work) for work in WORKS):
            found.append(f"{place(result)}: nothing to compare")
            continue
        for work in WORKS:
            was, part = share(old, work), share(result, work)
            if was is not None and part is not None and part < was * (1 - tolerance):
                found.append(f"{place(result)} {work}: {100 * part:.0f} % of the peak, was {100 * was:.0f} %")
    return found


def plot(results: list[dict[str, Any]], path: str) -> None:
    """Bars of the share of the peak by library and shape, training above inference."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    works = [w for w in ("training", "inference") if any(w in r["seconds"] for r in results)]
    width_of_all = max(8.0, 1.2 * len(results))
    figure, axes = pyplot.subplots(len(works), 1, figsize=(width_of_all, 3.6 * len(works)), squeeze=False)
    labels = [f"{r['cell']} {r['threads']}t\n{','.join(map(str, r['shape']))}" for r in results]
    for axis, work in zip(axes[:, 0], works, strict=True):
        names = [n for n in NAMES if any(n in r["seconds"].get(work, {}) for r in results)]
        width = 0.8 / max(len(names), 1)
        for i, name in enumerate(names):
            parts = [100 * (share(r, work, name) or 0) for r in results]
            axis.bar(
                np.arange(len(results)) + (i - (len(names) - 1) / 2) * width, parts, width, label=NAMES[name]
            )
        axis.set_ylabel(f"{work}, % of the FMA peak")
        axis.set_xticks(range(len(results)), labels, fontsize=7)
        axis.grid(axis="y", alpha=0.3)
        axis.legend(
            fontsize=7, ncols=len(names), loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False
        )
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    listed = lambda text: text.split(",")  # noqa: E731
    parser.add_argument("--shapes", nargs="+", default=SHAPES, metavar="B,T,I,H")
    parser.add_argument("--cells", type=listed, default=["lstm", "gru"], help="of lstm, gru, simple_rnn")
    parser.add_argument("--threads", type=lambda t: [int(n) for n in t.split(",")], default=[2])
    parser.add_argument("--peers", type=listed, default=list(NAMES), help=", ".join(NAMES))
    parser.add_argument("--works", type=listed, default=list(WORKS), help=", ".join(WORKS))
    parser.add_argument("--rounds", type=int, default=11, help="turns of each library")
    parser.add_argument("--json", metavar="FILE", help="write everything measured there")
    parser.add_argument("--onto", metavar="FILE", help="an earlier --json whose other results are kept")
    parser.add_argument("--plot", metavar="FILE", help="draw the shares of the peak (needs matplotlib)")
    parser.add_argument("--readme", metavar="FILE", help="put a table between its marks in this file")
    parser.add_argument("--against", metavar="FILE", help="an earlier --json: fail where behind it")
    parser.add_argument("--tolerance", type=float, default=0.15, help="how far a share of the peak may fall")
    options = parser.parse_args()
    for names, known in ((options.cells, GATES), (options.peers, NAMES), (options.works, WORKS)):
        if unknown := [name for name in names if name not in known]:
            parser.error(f"unknown {', '.join(unknown)}: known are {', '.join(known)}")
    shapes = [[int(n) for n in text.split(",")] for text in options.shapes]
    if any(len(shape) != 4 or min(shape) < 1 for shape in shapes):
        parser.error("a shape is batch,time,input,hidden")

    facts = machine()
    print(f"{facts['cpu']}, {facts['cpus']} CPUs, {' '.join(facts['simd'])}, load {facts['load']:.1f}")
    results = json.loads(Path(options.onto).read_text())["results"] if options.onto else []
    now = []
    for cell in options.cells:
        for shape in shapes:
            for threads in options.threads:
                now.append(measure(options, cell, shape, threads))
                results = joined(results, now[-1])
                if options.json:
                    report = {"machine": facts, "options": vars(options), "results": results}
                    Path(options.json).write_text(json.dumps(report, indent=1) + "\n")
    text = f"{table(results)}\n\n{where(facts)} {peaks(results)}"
    print(f"\n{text}")
    if options.readme:
        put_between(options.readme, "bench_rnn", text)
    if options.plot:
        plot(results, options.plot)
    if options.against:
        before = json.loads(Path(options.against).read_text())["results"]
        if worse := fallen(before, now, options.tolerance):
            raise SystemExit("\n".join(["fallen behind the recorded run:", *worse]))


if __name__ == "__main__":
    main()
