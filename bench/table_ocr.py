"""Learns to read painted words as Keras's image_ocr does; writes a table and the picture of docs/ocr.md.

    python bench/table_ocr.py --folder run --docs docs/ocr.md      # a minute or two an epoch, five after 20
    python bench/table_ocr.py --folder run2 --variant original --docs docs/ocr.md

A run that was interrupted goes on where it was: begin it again with the same folder.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from PIL import Image
from timing import machine, put_between, where

import fastseq

PUBLISHED = {
    10: 0.027,
    15: 0.038,
    20: 0.043,
    25: 0.014,
}  # normalised edit distance, in the example's docstring


def table(result: fastseq.recipes.OcrResult) -> str:
    kept = result.history.history
    lines = [
        "| epoch | loss | validation loss | edit distance | normalised | published |",
        "| ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for k in range(result.epochs):
        values = [kept[key][k] for key in ("loss", "val_loss", "edit_distance", "normalized_edit_distance")]
        published = f"{PUBLISHED[k + 1]:.3f}" if k + 1 in PUBLISHED else ""
        lines.append(f"| {k + 1} | " + " | ".join(f"{v:.3f}" for v in values) + f" | {published} |")
    lines.append("")
    lines.append(
        f"fastseq {fastseq.__version__}, `train_ocr({result.epochs}, {result.configuration['variant']!r})`, "
        f"{fastseq.get_num_threads()} threads, {result.seconds:.0f} s with validation and what else the "
        f"machine did meanwhile. {where(machine())}"
    )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", required=True, help="where weights and pictures of the run are kept")
    parser.add_argument("--epochs", type=int, default=25)
    parser.add_argument("--variant", default="bidirectional", choices=["bidirectional", "original"])
    parser.add_argument("--docs", metavar="FILE", help="put the table between its marks in this file")
    parser.add_argument("--picture", metavar="FILE", help="put what was read after the last epoch there")
    options = parser.parse_args()
    result = fastseq.train_ocr(options.epochs, options.variant, folder=options.folder, resume=True, verbose=2)
    if result.interrupted:
        raise SystemExit("interrupted: begin again to go on")
    text = table(result)
    print(f"\n{text}")
    if options.docs:
        put_between(options.docs, f"table_ocr_{options.variant}", text)
    if options.picture:
        with Image.open(Path(options.folder) / f"epoch_{options.epochs:02d}.png") as picture:
            picture.thumbnail((1760, 600))  # of wide images half is enough
            picture.convert("L").save(options.picture, optimize=True)


if __name__ == "__main__":
    main()
