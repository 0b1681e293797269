"""One training step of the translation model, and the decoding of 100 sentences, beside their peers.

    python bench/bench_translation.py    # 64 pairs, 16x71 -> 59x93, 256 units; 2 threads and 1
    python bench/bench_translation.py --threads 2 --no-decode --json out.json

Every library runs in a process of its own, on the same weights and pairs. First all must agree on the loss
and on every gradient; then they take turns, so that a busy moment of the machine falls on all alike. Times
are medians (and the least). Decoding is greedy: fastseq takes all sentences together, Keras as its example
does, one predict call for each character of each; a few of its sentences stand for all, and must be the same.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from jobs import glorot, layer_weights
from timing import available_cpus, check_agreement, interleave, machine, opened, put_between, summary, where
from translation_peers import NAMES

PEERS = Path(__file__).with_name("translation_peers.py")


def flops(batch: int, asked: int, source: int, answered: int, target: int, units: int) -> float:
    """Multiplications and additions of the matrix products that one training step cannot do without.

    The encoder's first step has no state to multiply, and nobody needs the gradient of the characters.
    """
    width = 4 * units
    inputs = 2 * batch * (asked * source + answered * target) * width
    recurrent = 2 * batch * (asked - 1 + answered) * units * width
    dense = 2 * batch * answered * units * target
    return 2 * inputs + 3 * (recurrent + dense)


def write_job(path: Path, options: argparse.Namespace) -> None:
    """Random weights and one-hot texts without padding, of the sizes asked for."""
    rng = np.random.default_rng(0)
    source, target, units = options.source, options.target, options.units
    layers = [*layer_weights("lstm", source, units, rng), *layer_weights("lstm", target, units, rng)]
    # surer of themselves than new ones, so that no two libraries choose another character by rounding
    bias = np.zeros(target, np.float32)
    bias[1] = -50  # no sentence ends early
    weights = [*layers, 4 * glorot(units, target, rng), bias]
    rows = max(options.batch_size, options.sentences)
    encoder = np.eye(source, dtype=np.float32)[rng.integers(0, source, (rows, options.asked))]
    spelled = rng.integers(2, target, (options.batch_size, options.answered + 1))
    spelled[:, 0] = 0  # the start
    decoder, later = (np.eye(target, dtype=np.float32)[part] for part in (spelled[:, :-1], spelled[:, 1:]))
    named = {f"weight{i}": weight for i, weight in enumerate(weights)}
    np.savez(
        path, encoder=encoder[: options.batch_size], sentences=encoder, decoder=decoder, target=later, **named
    )


def measure(options: argparse.Namespace, threads: int) -> dict[str, Any]:
    cpus = available_cpus()[:threads]
    sizes = f"{options.asked}x{options.source} -> {options.answered}x{options.target}"
    print(f"\nbatch {options.batch_size}, {sizes}, {options.units} units, {len(cpus)} threads")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        job = folder / "job.npz"
        write_job(job, options)
        with opened(PEERS, options.peers, cpus, folder=folder, job=str(job)) as (workers, versions):
            check_agreement([worker.name for worker in workers], folder, 2e-5)
            print(f"  {len(workers)} agree on the loss and every gradient")
            for worker in workers:
                worker.ask("warm")
            seconds = interleave(workers, options.rounds, "steps", count=options.steps)
            peak = next((w.ask("peak", threads=len(cpus)) for w in workers if w.name == "fastseq"), None)
            decoded = decode(workers, options) if options.decode else {}
    result = {
        "threads": len(cpus),
        "versions": versions,
        "seconds": {name: summary(s) for name, s in seconds.items()},
        "decode": decoded,
        "peak_flops": peak,
        "step_flops": flops(
            options.batch_size, options.asked, options.source, options.answered, options.target, options.units
        ),
    }
    show(result, options)
    return result


def decode(workers: Any, options: argparse.Namespace) -> dict[str, float]:
    """Seconds for all sentences: fastseq's median, and Keras's from a few of them."""
    found, seconds = {}, {}
    for worker in workers:
        if worker.name == "fastseq":
            runs = [
                worker.ask("decode", sentences=options.sentences, steps=options.answered) for _ in range(5)
            ]
            seconds[worker.name] = float(np.median([taken for taken, _ in runs]))
            found[worker.name] = runs[0][1]
        elif worker.name == "keras-tf":
            taken, found[worker.name] = worker.ask("decode", sentences=options.few, steps=options.answered)
            seconds[worker.name] = taken * options.sentences / options.few
    if len(found) == 2 and found["fastseq"][: options.few] != found["keras-tf"]:
        raise SystemExit("keras-tf and fastseq decode differently")
    return seconds


def show(result: dict[str, Any], options: argparse.Namespace) -> None:
    """A table: each library's times, and how many times as long as fastseq it takes."""
    times = result["seconds"]
    base = times.get("fastseq")
    print(f"  {'':44}{'step, ms':>24}{'GFLOP/s':>9}")
    for name, version in result["versions"].items():
        t = times[name]
        ratio = f"{t['median'] / base['median']:.2f}x" if base else ""
        cell = f"{1e3 * t['median']:9.2f} ({1e3 * t['least']:.2f})".rjust(18) + ratio.rjust(6)
        print(f"  {NAMES[name]:44}{cell}{result['step_flops'] / t['median'] / 1e9:9.1f}   {version}")
    if base and result["peak_flops"]:
        share = result["step_flops"] / base["median"] / result["peak_flops"]
        peak = result["peak_flops"] / 1e9
        print(f"  fastseq's step is at {100 * share:.0f} % of the FMA peak, {peak:.0f} GFLOP/s")
    ours, theirs = (result["decode"].get(name) for name in ("fastseq", "keras-tf"))
    if ours and theirs:
        print(f"  {options.sentences} sentences of {options.answered} characters: fastseq "
              f"{1e3 * ours:.1f} ms, the Keras example {theirs:.1f} s, {theirs / ours:.0f}x")  # fmt: skip


def table(results: list[dict[str, Any]]) -> str:
    """For the README: median times, and how many times as long as fastseq each takes."""
    results = sorted(results, key=lambda r: -r["threads"])
    lines = [["", *(f"step, ms, {r['threads']} thread{'s' * (r['threads'] > 1)}" for r in results)]]
    lines.append(["---", *["---:"] * len(results)])
    for name in dict.fromkeys(name for r in results for name in r["versions"]):
        row = [NAMES[name]]
        for times in (r["seconds"] for r in results):
            value = times[name]["median"]
            ratio = f" ({value / times['fastseq']['median']:.1f}x)" if name != "fastseq" else ""
            row.append(f"{1e3 * value:.1f}{ratio}")
        lines.append(row)
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    listed = lambda text: text.split(",")  # noqa: E731
    parser.add_argument("--threads", type=lambda t: [int(n) for n in t.split(",")], default=[2, 1])
    parser.add_argument("--peers", type=listed, default=list(NAMES), help=", ".join(NAMES))
    parser.add_argument("--units", type=int, default=256)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--asked", type=int, default=16, help="characters of a source")
    parser.add_argument("--source", type=int, default=71, help="different characters of sources")
    parser.add_argument("--answered", type=int, default=59, help="characters of a target")
    parser.add_argument("--target", type=int, default=93, help="different characters of targets")
    parser.add_argument("--rounds", type=int, default=15, help="turns of each library at the step")
    parser.add_argument("--steps", type=int, default=4, help="steps in a turn")
    parser.add_argument("--no-decode", dest="decode", action="store_false", help="time the step alone")
    parser.add_argument("--sentences", type=int, default=100, help="sentences to decode")
    parser.add_argument("--few", type=int, default=5, help="of them, how many Keras decodes")
    parser.add_argument("--json", metavar="FILE", help="write everything measured there")
    parser.add_argument("--readme", metavar="FILE", help="put a table between its marks in this file")
    options = parser.parse_args()
    if unknown := [name for name in options.peers if name not in NAMES]:
        parser.error(f"unknown {', '.join(unknown)}: known are {', '.join(NAMES)}")

    facts = machine()
    print(f"{facts['cpu']}, {facts['cpus']} CPUs, {' '.join(facts['simd'])}, load {facts['load']:.1f}")
    results = []
    for threads in options.threads:
        results.append(measure(options, threads))
        if options.json:
            report = {"machine": facts, "options": vars(options), "results": results}
            Path(options.json).write_text(json.dumps(report, indent=1) + "\n")
    if options.readme:
        put_between(options.readme, "bench_translation", f"{table(results)}\n\n{where(facts)}")


if __name__ == "__main__":
    main()
