"""Trains the addition model in the published sizes and writes the table of the README.

    python bench/table_addition.py --json table.json --readme README.md     # the better part of an hour
    python bench/table_addition.py --rows 3-gru,3-lstm-weights --seeds 1 --beside ""

A row is digits, a cell and, where the weights themselves answer, as in the example, "weights".

Rows that the file of `--json` has from this machine, version and number of threads are not learnt again, so
a table can be made in pieces: start a new file when the code has changed. `--beside` lets
a peer learn the same questions at the same settings in a process of its own, where the settings are the
example's; its seconds include what it compiles. Rows that differ in what answers share its runs.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from jobs import LABELS, write_job
from peers import NAMES
from timing import Worker, available_cpus, machine, put_between, where

import fastseq
from fastseq.recipes.addition import addition_data, train_addition

ROWS = ["2-lstm", "3-lstm", "3-lstm-weights", "4-lstm", "5-lstm", "3-gru", "3-simple_rnn"]
SEEDS = {"3-lstm": 3, "3-lstm-weights": 3}  # how many a row is learnt with
PUBLISHED = {2: 55, 3: 100, 4: 20, 5: 30}  # epochs, in the example's docstring
PEERS = Path(__file__).with_name("peers.py")


def learn(row: str, seed: int, epochs: int) -> dict[str, Any]:
    digits, cell, *weights = row.split("-")
    result = train_addition(int(digits), cell, seed=seed, epochs=epochs, use_ema=not weights, verbose=0)
    print(f"  seed {seed}: {result}", flush=True)
    return {
        **result.configuration,
        "version": fastseq.__version__,
        "threads": fastseq.get_num_threads(),
        "epochs": result.epochs,
        "seconds": result.seconds,
        "accuracy": result.accuracy,
        "exact_match": result.exact_match,
        "curve": result.history.history["val_accuracy"],
    }


def learn_beside(name: str, run: dict[str, Any], epochs: int) -> dict[str, Any]:
    """The same job for a peer. It has Adam at 0.001 only, as the example does."""
    data = addition_data(run["digits"], run["training_size"], invert=run["invert"], seed=run["seed"])
    arrays = {key: getattr(data, key) for key in ("x_train", "y_train", "x_val", "y_val")}
    with tempfile.TemporaryDirectory() as folder, Worker(PEERS, name, available_cpus()) as worker:
        write_job(Path(folder), run["cell"], run["units"], run["digits"], run["batch_size"], arrays)
        version = worker.ask("open", job=folder)
        found = worker.ask("learn", epochs=epochs, target=run["target_accuracy"])
    print(
        f"  seed {run['seed']}: {NAMES[name]} ({version}): {found['epochs']} epochs, "
        f"{found['seconds']:.1f} s, {100 * found['accuracies'][-1]:.2f} %; "
        f"fastseq takes {run['seconds'] / found['seconds']:.2f} times as long",
        flush=True,
    )
    return {**found, "version": version}


def same_job(run: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether a peer does the same for both."""
    keys = ("digits", "cell", "units", "training_size", "invert", "batch_size", "learning_rate", "seed")
    return all(run[key] == other[key] for key in keys)


def median(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """The run with the median time stands for all."""
    return sorted(runs, key=lambda run: run["seconds"])[(len(runs) - 1) // 2]


def line(runs: list[dict[str, Any]], peer: str | None) -> str:
    """One row of the table."""
    run = median(runs)
    published = PUBLISHED[run["digits"]] if run["cell"] == "lstm" else ""
    beside = [other[peer] for other in runs if peer in other]
    cells = [
        run["digits"],
        f"{LABELS[run['cell']]} {run['units']}",
        f"{run['training_size']:,}",
        run["batch_size"],
        run["learning_rate"],
        "mean" if run["use_ema"] else "weights",
        f"{run['epochs']}",
        published,
        f"{run['seconds']:.1f}",
        f"{100 * run['accuracy']:.2f} %",
        f"{100 * run['exact_match']:.2f} %",
    ]
    if peer:
        theirs = median(beside) if beside else None
        cells.append(f"{theirs['epochs']} epochs, {theirs['seconds']:.1f}" if theirs else "")
        cells.append(f"{run['seconds'] / theirs['seconds']:.2f}" if theirs else "")
    return "| " + " | ".join(map(str, cells)) + " |"


def table(rows: dict[str, list[dict[str, Any]]], peer: str | None) -> str:
    titles = ["digits", "layers", "questions", "batch", "Adam", "what answers", "epochs", "published"]
    titles += ["seconds"]
    titles += ["characters right", "answers right"]
    if peer:
        titles += [f"{NAMES[peer]}, s", "ratio"]
    lines = ["| " + " | ".join(titles) + " |", "| " + " | ".join(["---"] * len(titles)) + " |"]
    lines += [line(runs, peer) for runs in rows.values()]
    runs = next(iter(rows.values()))
    notes = [f"fastseq {runs[0]['version']}, {runs[0]['threads']} threads, until 99 % of the characters"]
    notes.append("of the validation questions are right")
    several = {
        f"{runs[0]['digits']} digits, {LABELS[runs[0]['cell']]}: {len(runs)} seeds, the median"
        for runs in rows.values()
        if len(runs) > 1
    }
    text = ", ".join([" ".join(notes), *sorted(several)])
    versions = sorted({run[peer]["version"] for runs in rows.values() for run in runs if peer in run})
    if peer and versions:
        text += f". {NAMES[peer]}: {', '.join(versions)}"
    return "\n".join([*lines, "", f"{text}."])


def worth_beside(run: dict[str, Any]) -> bool:
    """Peers know Adam at the example's rate only."""
    return bool(run["cell"] == "lstm" and run["learning_rate"] == 0.001)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=lambda t: t.split(","), default=ROWS, help=", ".join(ROWS))
    parser.add_argument("--seeds", type=int, help="how many to learn each row with")
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--beside", metavar="PEER", choices=["", *NAMES], default="keras-jax-unrolled")
    parser.add_argument("--readme", metavar="FILE", help="put the table between its marks in this file")
    parser.add_argument("--json", metavar="FILE", help="keep everything measured there")
    options = parser.parse_args()

    facts = machine()
    report: dict[str, Any] = {"machine": facts, "rows": {}}
    if options.json and Path(options.json).exists():
        report = json.loads(Path(options.json).read_text())
    same = {"version": fastseq.__version__, "threads": fastseq.get_num_threads()}
    if report["machine"]["cpu"] != facts["cpu"]:
        report = {"machine": facts, "rows": {}}
    for row in options.rows:
        if any(same.items() <= run.items() for run in report["rows"].get(row, [])):
            continue
        print(row, flush=True)
        runs = []
        for seed in range(options.seeds or SEEDS.get(row, 1)):
            run = learn(row, seed, options.epochs)
            if options.beside and worth_beside(run):
                others = [other for rows in report["rows"].values() for other in rows]
                known = [o[options.beside] for o in others if same_job(o, run) and options.beside in o]
                run[options.beside] = known[0] if known else learn_beside(options.beside, run, options.epochs)
            runs.append(run)
        report["rows"][row] = runs
        if options.json:
            Path(options.json).write_text(json.dumps(report, indent=1) + "\n")
    rows = {row: report["rows"][row] for row in options.rows}
    text = f"{table(rows, options.beside)} {where(report['machine'])}"
    print(f"\n{text}")
    if options.readme:
        put_between(options.readme, "table_addition", text)


if __name__ == "__main__":
    main()
