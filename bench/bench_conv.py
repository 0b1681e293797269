"""Convolution with relu and pooling, at many shapes, beside its peers and the machine's peak.

    python bench/bench_conv.py                                       # the grid, 2 threads
    python bench/bench_conv.py --shapes 32,128,64,1,16,3,1,2 --threads 2,1

A shape is batch,height,width,channels,filters,window,stride,pool (1: none), padding "same". Every library
runs in a process of its own on the same arrays. First all must agree on output and gradients, then they take
turns; so does the machine, whose peak shares are taken of. Times are medians. The operations of the
convolution alone are counted, of outputs that pooling leaves out as well.
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

from conv_peers import NAMES, WORKS
from timing import (
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

SHAPES = [
    "32,128,64,1,16,3,1,2",  # the two of the OCR example
    "32,64,32,16,16,3,1,2",
    "16,64,64,3,64,3,1,1",
    "16,64,64,3,32,5,2,1",
    "8,32,32,64,64,3,1,1",
    "8,32,32,64,128,3,2,1",
    "16,8,8,128,128,3,1,1",
    "8,32,32,64,128,1,1,1",
]


def sizes(shape: list[int]) -> tuple[int, int]:
    """Height and width of the output before pooling."""
    return -(-shape[1] // shape[6]), -(-shape[2] // shape[6])


def flops(shape: list[int], work: str) -> float:
    """Operations of the products of one call, two a multiply-add."""
    batch, _, _, channels, filters, window, *_ = shape
    high, wide = sizes(shape)
    forward = 2.0 * batch * high * wide * window**2 * channels * filters
    return forward if work == "inference" else forward * (3 if channels > 3 else 2)


def write_arrays(path: Path, shape: list[int]) -> None:
    batch, high, wide, channels, filters, window, _, pool = shape
    rng = np.random.default_rng(0)
    output = [size // pool for size in sizes(shape)]
    scale = 1 / np.sqrt(window * window * channels)
    np.savez(
        path,
        x=rng.normal(size=(batch, high, wide, channels)).astype(np.float32),
        d=rng.normal(size=(batch, *output, filters)).astype(np.float32),
        kernel=rng.normal(0, scale, (window, window, channels, filters)).astype(np.float32),
        bias=rng.normal(size=filters).astype(np.float32),
    )


def measure(options: argparse.Namespace, shape: list[int], threads: int) -> dict[str, Any]:
    cpus = available_cpus()[:threads]
    what = "(batch, height, width, channels, filters, window, stride, pool)"
    print(f"\n{what} = {tuple(shape)}, {len(cpus)} threads", flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        job = folder / "job.npz"
        write_arrays(job, shape)
        peers = Path(__file__).with_name("conv_peers.py")
        given = {"job": str(job), "stride": shape[6], "pool": shape[7]}
        with opened(peers, options.peers, cpus, folder, **given) as (workers, versions):
            # maxima that are nearly equal may lie elsewhere: their gradients then do, too
            check_agreement([w.name for w in workers], folder, limit=1e-3, limits={"y": 1e-5})
            print(f"  {len(workers)} agree on output and gradients", flush=True)
            for worker in workers:
                worker.ask("warm")
            turns = [*workers, *Peak.of(workers)]
            seconds = {work: interleave(turns, options.rounds, "turn", work=work) for work in WORKS}
            at_rest = [peak.at_rest() for peak in Peak.of(workers)]
    times = {work: {n: statistics.median(s) for n, s in of.items()} for work, of in seconds.items()}
    result = {"shape": shape, "threads": len(cpus), "versions": versions, "seconds": times}
    result["at_rest"] = at_rest[0] if at_rest else None
    print(f"  {'ms, GFLOP/s, of the peak':26}" + "".join(f"{work:>36}" for work in WORKS))
    for name, version in versions.items():
        cells = []
        for work, of in times.items():
            rate = flops(shape, work) / of[name]
            part = f"{100 * rate * of['peak']:.0f} %" if "peak" in of else ""
            ratio = f"{of[name] / of['fastseq']:.2f}x" if "fastseq" in of else ""
            cells.append(f"{1e3 * of[name]:10.3f} {rate / 1e9:7.1f} {part:>5} {ratio:>7}")
        print(f"  {NAMES[name]:26}" + "".join(f"{cell:>36}" for cell in cells) + f"   {version}")
    print(peaks([result]), flush=True)
    return result


def table(results: list[dict[str, Any]]) -> str:
    """For the README: fastseq's time, its share of the peak, and the others' as multiples of its time."""
    names = list(dict.fromkeys(n for r in results for n in r["versions"] if n != "fastseq"))
    titles = ["batch, height, width, channels, filters, window, stride, pool", "threads"]
    for work in WORKS:
        titles += [f"{work}, ms", "of the peak", *(NAMES[name] for name in names)]
    lines = [titles, ["---", *["---:"] * (len(titles) - 1)]]
    for result in results:
        cells = [", ".join(map(str, result["shape"])), str(result["threads"])]
        for work in WORKS:
            times = result["seconds"][work]
            own, peak = times.get("fastseq"), times.get("peak")
            cells.append(f"{1e3 * own:.2f}" if own else "")
            cells.append(f"{100 * flops(result['shape'], work) / own * peak:.0f} %" if own and peak else "")
            cells += [f"{times[n] / own:.1f}x" if own and n in times else "" for n in names]
        lines.append(cells)
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    listed = lambda text: text.split(",")  # noqa: E731
    parser.add_argument("--shapes", nargs="+", default=SHAPES, metavar="B,H,W,C,U,K,S,P")
    parser.add_argument("--threads", type=lambda t: [int(n) for n in t.split(",")], default=[2])
    parser.add_argument("--peers", type=listed, default=list(NAMES), help=", ".join(NAMES))
    parser.add_argument("--rounds", type=int, default=9, help="turns of each library")
    parser.add_argument("--json", metavar="FILE", help="write everything measured there")
    parser.add_argument("--readme", metavar="FILE", help="put a table between its marks in this file")
    options = parser.parse_args()
    if unknown := [name for name in options.peers if name not in NAMES]:
        parser.error(f"unknown {', '.join(unknown)}: known are {', '.join(NAMES)}")
    shapes = [[int(n) for n in text.split(",")] for text in options.shapes]
    if any(len(shape) != 8 or min(shape) < 1 for shape in shapes):
        parser.error("a shape is batch,height,width,channels,filters,window,stride,pool")

    facts = machine()
    print(f"{facts['cpu']}, {facts['cpus']} CPUs, {' '.join(facts['simd'])}, load {facts['load']:.1f}")
    results = [measure(options, shape, threads) for shape in shapes for threads in options.threads]
    if options.json:
        report = {"machine": facts, "options": vars(options), "results": results}
        Path(options.json).write_text(json.dumps(report, indent=1) + "\n")
    text = f"{table(results)}\n\n{where(facts)} {peaks(results)}"
    print(f"\n{text}")
    if options.readme:
        put_between(options.readme, "bench_conv", text)


if __name__ == "__main__":
    main()
