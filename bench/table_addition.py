"""Trains the addition model in the published sizes and writes the table of the README.

    python bench/table_addition.py --readme README.md           # about ten minutes on two cores
    python bench/table_addition.py --rows 3-lstm --seeds 0,1,2 --beside keras-jax-unrolled

`--beside` lets a peer learn the same questions at the same settings in a process of its own; its
seconds include what it compiles.
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

from jobs import write_job
from peers import NAMES
from timing import Worker, available_cpus, machine, put_between, where

from fastseq.recipes.addition import addition_data, train_addition

ROWS = ["2-lstm", "3-lstm", "4-lstm", "5-lstm", "3-gru", "3-simple_rnn"]
PUBLISHED = {2: 55, 3: 100, 4: 20, 5: 30}  # epochs, in the example's docstring
CELLS = {"lstm": "LSTM", "gru": "GRU", "simple_rnn": "SimpleRNN"}
PEERS = Path(__file__).with_name("peers.py")


def learn(row: str, seed: int, epochs: int) -> dict[str, Any]:
    digits, cell = row.split("-")
    result = train_addition(int(digits), cell, seed=seed, epochs=epochs, verbose=0)
    print(f"  seed {seed}: {result}", flush=True)
    return {
        **result.configuration,
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
    return found


def line(runs: list[dict[str, Any]]) -> str:
    """One row: the run with the median time stands for all."""
    run = sorted(runs, key=lambda r: r["seconds"])[(len(runs) - 1) // 2]
    published = PUBLISHED[run["digits"]] if run["cell"] == "lstm" else ""
    cells = (
        run["digits"],
        f"{CELLS[run['cell']]} {run['units']}",
        f"{run['training_size']:,}",
        run["batch_size"],
        run["learning_rate"],
        run["epochs"],
        published,
        f"{run['seconds']:.1f}",
        f"{100 * run['accuracy']:.2f} %",
        f"{100 * run['exact_match']:.2f} %",
    )
    return "| " + " | ".join(map(str, cells)) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=lambda t: t.split(","), default=ROWS)
    parser.add_argument("--seeds", type=lambda t: [int(n) for n in t.split(",")], default=[0])
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--beside", metavar="PEER", choices=list(NAMES))
    parser.add_argument("--readme", metavar="FILE", help="put the table between its marks in this file")
    parser.add_argument("--json", metavar="FILE", help="write everything measured there")
    options = parser.parse_args()

    facts = machine()
    lines = [
        "| digits | layers | questions | batch | rate | epochs | published | s | characters | answers |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    report: dict[str, Any] = {"machine": facts, "rows": {}}
    for row in options.rows:
        print(row, flush=True)
        runs = []
        for seed in options.seeds:
            run = learn(row, seed, options.epochs)
            if options.beside:
                run[options.beside] = learn_beside(options.beside, run, options.epochs)
            runs.append(run)
        if len(runs) > 1:
            for key in ("epochs", "seconds"):
                print(f"  median {key}: {statistics.median(r[key] for r in runs):.1f}")
        lines.append(line(runs))
        report["rows"][row] = runs
    table = "\n".join(lines)
    print(f"\n{table}\n\n{where(facts)}")
    if options.readme:
        put_between(options.readme, "table_addition", f"{table}\n\n{where(facts)}")
    if options.json:
        Path(options.json).write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
