"""CTC decoding, prefix beam search and the best path, beside its peers.

    python bench/bench_ctc_decode.py                                        # the grid, 2 threads
    python bench/bench_ctc_decode.py --shapes 200,64,100,4 --width 20 --threads 2,1

A shape is frames,batch,classes,scale: logits are normal with that standard deviation; at 1 all is possible,
from 4 on most frames are sure of their class. Every library runs in a process of its own on the same
posteriors. First the labels of all are judged by the CTC loss: ours must be as likely as anybody's. Then they
take turns. Times are medians. The best path stands beside the time it takes to read the logits from memory.
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

from ctc_decode_peers import BEAM, GREEDY, NAMES
from timing import available_cpus, interleave, machine, opened, put_between, where

PEERS = Path(__file__).with_name("ctc_decode_peers.py")
SHAPES = ["30,32,28,1", "30,32,28,4", "500,32,32,1", "500,32,32,4"]
GREEDY_SHAPES = ["500,32,32,1", "1000,64,100,1", "1000,8,5000,1"]
# Searches of one width differ where they drop what they should have kept. Nobody may be likelier than this,
# as a share of the log-probability of the whole batch.
LIKELIER = 2e-3


def write_logits(path: Path, shape: list[float]) -> None:
    frames, batch, classes, scale = shape
    rng = np.random.default_rng(0)
    x = scale * rng.normal(size=(int(batch), int(frames), int(classes)))
    np.savez(path, x=x.astype(np.float32))


def judge(names: list[str], folder: Path, job: Path, work: str) -> None:
    """Asserts that our labels are as likely as those of every peer; best paths must be the same."""
    from fastseq import ops

    with np.load(job) as arrays:
        x = arrays["x"].astype(np.float64)
    labels = {}
    for name in names:
        with np.load(folder / f"{name}.npz") as arrays:
            labels[name] = [row[row >= 0].tolist() for row in arrays[work]]
    if "fastseq" not in labels:
        return
    likelihood = {name: -ops.ctc_loss(x, rows) for name, rows in labels.items()}
    ours = likelihood["fastseq"]
    for name in names:
        same = sum(a == b for a, b in zip(labels["fastseq"], labels[name], strict=True))
        ahead = ours - likelihood[name]
        print(
            f"  {name}: {same} of {len(x)} the same; ours {(ahead > 1e-6).sum()} times likelier, "
            f"{(ahead < -1e-6).sum()} times less; by {ahead.mean():+.3f} nats of {-ours.mean():.1f}, the mean"
        )
        if work == GREEDY and same < len(x):
            raise SystemExit(f"{name} and fastseq disagree in the best path")
        if ahead.sum() < -LIKELIER * -ours.sum():
            raise SystemExit(f"{name} finds likelier labels than fastseq")


def measure(options: argparse.Namespace, work: str, shape: list[float], threads: int) -> dict[str, Any]:
    cpus = available_cpus()[:threads]
    text = ", ".join(f"{n:g}" for n in shape)
    wide = f", width {options.width}" if work == BEAM else ""
    print(f"\n{work}{wide}: (frames, batch, classes, scale) = ({text}), {len(cpus)} threads", flush=True)
    only_other = "fastseq-probability" if work == BEAM else "pyctcdecode"
    peers = [name for name in options.peers if name != only_other]
    bound = None
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        job = folder / "job.npz"
        write_logits(job, shape)
        given = {"job": str(job), "width": options.width, "works": [work]}
        with opened(PEERS, peers, cpus, folder, **given) as (workers, versions):
            judge([w.name for w in workers], folder, job, work)
            for worker in workers:
                worker.ask("warm")
            seconds = interleave(workers, options.rounds, "turn", work=work)
            if work == GREEDY and "fastseq" in versions:
                size = 4 * int(np.prod(shape[:3]))
                bound = size / next(w for w in workers if w.name == "fastseq").ask("bandwidth")
    times = {name: statistics.median(each) for name, each in seconds.items()}
    for name, version in versions.items():
        ratio = f"{times[name] / times['fastseq']:8.1f}x" if "fastseq" in times else ""
        print(f"  {NAMES[name]:28}{1e3 * times[name]:12.3f} ms{ratio}   {version}", flush=True)
    if bound is not None:
        print(f"  {'reading from memory':28}{1e3 * bound:12.3f} ms{bound / times['fastseq']:8.1f}x")
    result = {"work": work, "shape": shape, "threads": len(cpus), "versions": versions, "seconds": times}
    return {**result, "width": options.width, "memory": bound}


def table(results: list[dict[str, Any]]) -> str:
    """For the README: times in ms, and how many times as long as fastseq each takes."""
    names = list(dict.fromkeys(name for r in results for name in r["seconds"]))
    titles = ["", "frames, batch, classes, scale", "threads", *(NAMES[name] for name in names), "memory"]
    lines = [titles, ["---", "---", *["---:"] * (len(titles) - 2)]]
    for result in results:
        times = result["seconds"]
        work = f"{BEAM}, width {result['width']}" if result["work"] == BEAM else result["work"]
        cells = [work, ", ".join(f"{n:g}" for n in result["shape"]), str(result["threads"])]
        for name in names:
            ratio = f" ({times[name] / times['fastseq']:.0f}x)" if name != "fastseq" and name in times else ""
            cells.append(f"{1e3 * times[name]:.2f}{ratio}" if name in times else "")
        cells.append("" if result["memory"] is None else f"{1e3 * result['memory']:.2f}")
        lines.append(cells)
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    listed = lambda text: text.split(",")  # noqa: E731
    parser.add_argument("--shapes", nargs="*", default=SHAPES, metavar="T,B,C,S", help="of beam searches")
    parser.add_argument("--greedy", nargs="*", default=GREEDY_SHAPES, metavar="T,B,C,S", help="of best paths")
    parser.add_argument("--width", type=int, default=100, help="of the beam")
    parser.add_argument("--threads", type=lambda t: [int(n) for n in t.split(",")], default=[2])
    parser.add_argument("--peers", type=listed, default=list(NAMES), help=", ".join(NAMES))
    parser.add_argument("--rounds", type=int, default=7, help="turns of each library")
    parser.add_argument("--json", metavar="FILE", help="write everything measured there")
    parser.add_argument("--readme", metavar="FILE", help="put a table between its marks in this file")
    options = parser.parse_args()
    if unknown := [name for name in options.peers if name not in NAMES]:
        parser.error(f"unknown {', '.join(unknown)}: known are {', '.join(NAMES)}")
    jobs = [(work, [float(n) for n in text.split(",")]) for work, texts in
            ((BEAM, options.shapes), (GREEDY, options.greedy)) for text in texts]  # fmt: skip
    if any(len(shape) != 4 or min(shape) <= 0 or shape[2] < 2 for _, shape in jobs):
        parser.error("a shape is frames,batch,classes,scale")

    facts = machine()
    print(f"{facts['cpu']}, {facts['cpus']} CPUs, {' '.join(facts['simd'])}, load {facts['load']:.1f}")
    results = [measure(options, *job, threads) for job in jobs for threads in options.threads]
    if options.json:
        report = {"machine": facts, "options": vars(options), "results": results}
        Path(options.json).write_text(json.dumps(report, indent=1) + "\n")
    print(f"\n{table(results)}\n\n{where(facts)}")
    if options.readme:
        put_between(options.readme, "bench_ctc_decode", f"{table(results)}\n\n{where(facts)}")


if __name__ == "__main__":
    main()
