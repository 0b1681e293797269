"""Forced alignment from logits, at a few shapes, beside its peers.

    python bench/bench_ctc_align.py                                  # the grid, 2 threads
    python bench/bench_ctc_align.py --shapes 5000,1,30,400 --threads 2,1

A shape is frames,batch,classes,labels. Every library runs in a process of its own on the same arrays.
First their paths must be as probable as each other, then they take turns. Times are medians.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from bench_ctc import Bench, run
from ctc_align_peers import NAMES

BENCH = Bench(
    title=__doc__.splitlines()[0],
    peers=Path(__file__).with_name("ctc_align_peers.py"),
    names=NAMES,
    shapes=["150,16,28,40", "500,32,32,100", "1000,8,5000,50", "100000,1,32,2000"],
    work="align",
    agreed="the probability of the paths",
    limits={"": 1e-5},
    mark="bench_ctc_align",
)

if __name__ == "__main__":
    run(BENCH)
