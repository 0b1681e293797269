"""A step, an epoch and a predict of the addition model, and a step of the OCR model, beside their peers.

    python bench/bench_training.py                      # everything: LSTM, GRU, SimpleRNN; 2 threads and 1
    python bench/bench_training.py --models addition --cells lstm --threads 2 --peers fastseq,torch
    python bench/bench_training.py --models ocr         # the step of the OCR model alone

Every library runs in a process of its own, on the same weights and questions. First all must agree on
the loss, the prediction, the gradient of one step and the losses of five Adam steps; then they take
turns, so that a busy moment of the machine falls on all alike. Times are medians (and the least).
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

import ocr_peers
from jobs import CHARS, GATES, LABELS, OCR_CLASSES, ocr_batch, ocr_weights, questions, write_job
from peers import NAMES
from timing import (
    Failed,
    Worker,
    available_cpus,
    check_agreement,
    interleave,
    machine,
    opened,
    put_between,
    summary,
    where,
)

PEERS = Path(__file__).with_name("peers.py")
OCR_PEERS = Path(__file__).with_name("ocr_peers.py")
MODELS = ("addition", "ocr")


def flops(cell: str, digits: int, units: int, batch: int) -> float:
    """Multiplications and additions of the matrix products that one training step cannot do without.

    The first step's recurrent product is with zeros, the repeated vector is projected once, and
    nobody needs the gradient of the questions.
    """
    width, asked, answered = GATES[cell] * units, 2 * digits + 1, digits + 1
    encoder_input = 2 * batch * asked * CHARS * width
    decoder_input = 2 * batch * units * width
    recurrent = 2 * batch * (asked - 1 + answered - 1) * units * width
    dense = 2 * batch * answered * units * CHARS
    # forward, gradient of the weights, and gradient of what came in except for the questions
    return 2 * encoder_input + 3 * (decoder_input + recurrent + dense)


def measure(options: argparse.Namespace, cell: str, threads: int) -> dict[str, Any]:
    cpus = available_cpus()[:threads]
    print(
        f"\n{cell}, {options.units} units, {options.digits} digits, batch {options.batch_size}, "
        f"{len(cpus)} thread{'s' * (len(cpus) > 1)}"
    )
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        arrays = questions(options.digits, options.questions, np.random.default_rng(0))
        write_job(folder, cell, options.units, options.digits, options.batch_size, arrays)
        with opened(PEERS, options.peers, cpus, job=str(folder)) as (workers, versions):
            for worker in workers:
                worker.ask("agree", path=str(folder / f"{worker.name}.npz"))
            # five Adam steps divide small gradients by their own size, which amplifies rounding
            check_agreement([worker.name for worker in workers], folder, 2e-5, {"losses": 1e-3})
            print(f"  {len(workers)} agree on loss, prediction, gradients and five Adam steps")
            for worker in workers:
                worker.ask("warm")
            seconds = {
                "step": interleave(workers, options.rounds, "steps", count=options.steps),
                "epoch": interleave(workers, options.epochs, "epoch"),
                "predict": interleave(workers, options.epochs, "predict"),
            }
            peak = next((w.ask("peak", threads=len(cpus)) for w in workers if w.name == "fastseq"), None)
    times = {work: {name: summary(s) for name, s in of.items()} for work, of in seconds.items()}
    result = {
        "cell": cell,
        "threads": len(cpus),
        "versions": versions,
        "seconds": times,
        "peak_flops": peak,
        "step_flops": flops(cell, options.digits, options.units, options.batch_size),
    }
    show(result)
    return result


def show(result: dict[str, Any]) -> None:
    """A table: each library's times, and how many times as long as fastseq it takes."""
    work = result["seconds"]
    base = "fastseq" if "fastseq" in work["step"] else None
    print(f"  {'':44}{'step, ms':>24}{'epoch, s':>24}{'predict, ms':>24}{'GFLOP/s':>9}")
    for name, version in result["versions"].items():
        cells = []
        for kind, unit in (("step", 1e3), ("epoch", 1), ("predict", 1e3)):
            t = work[kind][name]
            ratio = f"{t['median'] / work[kind][base]['median']:.2f}x" if base else ""
            cells.append(f"{unit * t['median']:9.3f} ({unit * t['least']:.3f})".rjust(18) + ratio.rjust(6))
        rate = result["step_flops"] / work["step"][name]["median"]
        print(f"  {NAMES[name]:44}{''.join(cells)}{rate / 1e9:9.1f}   {version}")
    if not base:
        return
    mine = work["step"][base]["median"]
    if peak := result["peak_flops"]:
        share = result["step_flops"] / mine / peak
        print(f"  fastseq's step is at {100 * share:.0f} % of the FMA peak, {peak / 1e9:.0f} GFLOP/s")
    others = {name: t["median"] for name, t in work["step"].items() if name != base}
    if others:
        fastest = min(others, key=others.__getitem__)
        print(f"  the fastest peer's step, {fastest}, takes {others[fastest] / mine:.2f}x as long")


def ocr_flops(width: int, height: int, units: int, batch: int) -> float:
    """Multiplications and additions of the matrix products of one training step of the OCR model."""
    steps, features = width // 4, height // 4 * 16
    first = 2 * width * height * 9 * 16  # its images need no gradient
    second = 2 * (width // 2) * (height // 2) * 144 * 16
    gates = sum(2 * (inputs + units) * 3 * units for inputs in (32, 32, units, units))
    dense = 2 * features * 32 + 2 * 2 * units * OCR_CLASSES
    return batch * (2 * first + 3 * (second + steps * (gates + dense)))


def measure_ocr(options: argparse.Namespace, threads: int) -> dict[str, Any]:
    cpus, (width, height), batch = available_cpus()[:threads], options.images, options.ocr_batch_size
    count = f"{len(cpus)} thread{'s' * (len(cpus) > 1)}"
    print(f"\nOCR, images {width}x{height}, {ocr_peers.UNITS} units, batch {batch}, {count}")
    with tempfile.TemporaryDirectory() as temporary:
        folder, rng = Path(temporary), np.random.default_rng(0)
        weights = ocr_weights(width, height, ocr_peers.UNITS, rng)
        arrays = ocr_batch(batch, width, height, rng)
        np.savez(folder / "job.npz", **{f"weight{i}": w for i, w in enumerate(weights)}, **arrays)
        with opened(OCR_PEERS, options.ocr_peers, cpus, job=str(folder / "job.npz")) as (workers, versions):
            for worker in workers:
                worker.ask("agree", path=str(folder / f"{worker.name}.npz"))
            compared = [w.name for w in workers if (folder / f"{w.name}.npz").exists()]
            check_agreement(compared, folder, 1e-3)
            print(f"  {len(compared)} agree on the gradient and on the losses of three steps")
            for worker in workers:
                worker.ask("warm")
            seconds = interleave(workers, options.rounds, "steps", count=options.ocr_steps)
            for worker in workers:
                if worker.name == "fastseq":
                    show_painting(worker, options)
    step_flops = ocr_flops(width, height, ocr_peers.UNITS, batch)
    times = {name: summary(s) for name, s in seconds.items()}
    base = times.get("fastseq", {}).get("median")
    for name, t in times.items():
        ratio = f"{t['median'] / base:.2f}x" if base else ""
        rate = step_flops / t["median"] / 1e9
        print(
            f"  {ocr_peers.NAMES[name]:44}{1e3 * t['median']:9.1f} ms ({1e3 * t['least']:.1f}){ratio:>8}"
            f"{rate:9.1f} GFLOP/s   {versions[name]}"
        )
    result = {"model": "ocr", "threads": len(cpus), "versions": versions}
    return {**result, "seconds": times, "step_flops": step_flops}


def show_painting(worker: Worker, options: argparse.Namespace) -> None:
    """How much longer a step takes on images that a worker process paints meanwhile than on images kept."""
    ratios = []
    try:
        for _ in range(max(options.rounds // 3, 1)):
            kept, painted = (worker.ask("fit", cache=c, count=5 * options.ocr_steps) for c in (True, False))
            ratios.append(painted / kept)
    except Failed as reason:
        print(f"  skipped painting: {reason}")
        return
    print(f"  a step on images painted meanwhile takes {np.median(ratios):.3f}x one on images kept")


def table(results: list[dict[str, Any]]) -> str:
    """For the README: median times, and how many times as long as fastseq each takes."""
    threads = max(r["threads"] for r in results)
    columns = [
        (result, kind, unit)
        for result in sorted(results, key=lambda r: -r["threads"])
        for kind, unit in (("step", 1e3), ("epoch", 1), ("predict", 1e3))
        # the whole job for the first, the step alone for the others
        if kind == "step" or (result["threads"] == threads and result["cell"] == results[0]["cell"])
    ]
    titles = [""]
    for result, kind, unit in columns:
        few = f", {result['threads']} thread" if result["threads"] < threads else ""
        titles.append(f"{LABELS[result['cell']]} {kind}, {'ms' if unit > 1 else 's'}{few}")
    lines = [titles, ["---", *["---:"] * len(columns)]]
    for name in dict.fromkeys(name for r in results for name in r["versions"]):
        row = [NAMES[name]]
        for result, kind, unit in columns:
            times = result["seconds"][kind]
            if name not in times:
                row.append("")
                continue
            value = times[name]["median"]
            ratio = f" ({value / times['fastseq']['median']:.1f}x)" if name != "fastseq" else ""
            row.append(f"{unit * value:.2f}{ratio}")
        lines.append(row)
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    listed = lambda text: text.split(",")  # noqa: E731
    parser.add_argument("--models", type=listed, default=list(MODELS), help=", ".join(MODELS))
    parser.add_argument("--cells", type=listed, default=list(GATES), help="of lstm, gru, simple_rnn")
    parser.add_argument("--threads", type=lambda t: [int(n) for n in t.split(",")], default=[2, 1])
    parser.add_argument("--peers", type=listed, default=list(NAMES), help=", ".join(NAMES))
    peers = list(ocr_peers.NAMES)
    parser.add_argument("--ocr-peers", type=listed, default=peers, help=", ".join(peers))
    parser.add_argument("--images", type=lambda t: [int(n) for n in t.split("x")], default=[128, 64])
    parser.add_argument("--ocr-batch-size", type=int, default=32)
    parser.add_argument("--ocr-steps", type=int, default=3, help="steps of the OCR model in a turn")
    parser.add_argument("--digits", type=int, default=3)
    parser.add_argument("--units", type=int, default=128)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--questions", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=15, help="turns of each library at the step")
    parser.add_argument("--steps", type=int, default=20, help="steps in a turn")
    parser.add_argument("--epochs", type=int, default=3, help="turns at the epoch and at predict")
    parser.add_argument("--json", metavar="FILE", help="write everything measured there")
    parser.add_argument("--readme", metavar="FILE", help="put a table between its marks in this file")
    options = parser.parse_args()
    for names, known in (
        (options.models, MODELS), (options.cells, GATES), (options.peers, NAMES),
        (options.ocr_peers, ocr_peers.NAMES),
    ):  # fmt: skip
        if unknown := [name for name in names if name not in known]:
            parser.error(f"unknown {', '.join(unknown)}: known are {', '.join(known)}")

    facts = machine()
    print(f"{facts['cpu']}, {facts['cpus']} CPUs, {' '.join(facts['simd'])}, load {facts['load']:.1f}")
    work = [partial(measure, options, cell) for cell in options.cells] if "addition" in options.models else []
    work += [partial(measure_ocr, options)] if "ocr" in options.models else []
    found = []
    for threads in options.threads:
        for measured in work:
            found.append(measured(threads))
            if options.json:
                report = {"machine": facts, "options": vars(options), "results": found}
                Path(options.json).write_text(json.dumps(report, indent=1) + "\n")
    results = [result for result in found if "cell" in result]
    if options.readme and results:
        put_between(options.readme, "bench_training", f"{table(results)}\n\n{where(facts)}")


if __name__ == "__main__":
    main()
