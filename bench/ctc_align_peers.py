"""Forced alignment from logits in each library, behind the same few calls; run as a worker of timing.py.

log_softmax belongs to the work where a library asks for log-probabilities.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from ctc_peers import CtcPeer

NAMES = {"fastseq": "fastseq", "torchaudio": "torchaudio", "numpy": "numpy, a loop over frames"}


class AlignPeer(CtcPeer):
    """A worker of which `prepare` sets calls["align"], which returns each sequence's class of each frame."""

    def agree(self, path: str) -> None:
        """Writes the log-probability of the paths found, worked out in float64."""
        self.prepare()
        scores = []
        for x, frames, classes in zip(self.x, self.lengths, self.calls["align"](), strict=True):
            y = x[:frames].astype(np.float64)
            y -= np.log(np.exp(y).sum(axis=1, keepdims=True))
            scores.append(y[np.arange(frames), np.asarray(classes)[:frames]].sum())
        np.savez(path, scores=scores)

    def sequences(self):
        for n, (frames, count) in enumerate(zip(self.lengths, self.label_lengths, strict=True)):
            yield self.x[n, :frames], self.labels[n, :count]


class Fastseq(AlignPeer):
    def __init__(self) -> None:
        import fastseq

        self.fastseq = fastseq

    def version(self) -> str:
        return f"{self.fastseq.__version__}, {self.fastseq._core.isa()}"

    def prepare(self) -> None:
        run = self.fastseq.ops.ctc_align
        arguments = self.x, self.labels, self.lengths, self.label_lengths
        self.calls = {"align": lambda: run(*arguments).path}


class Torchaudio(AlignPeer):
    """One sequence a call is all that it takes; it works on one thread."""

    def __init__(self) -> None:
        import torch

        try:
            import torchaudio
        except OSError as reason:
            raise ImportError(str(reason)) from reason
        self.torch, self.torchaudio = torch, torchaudio

    def version(self) -> str:
        return f"{self.torchaudio.__version__}, torch {self.torch.__version__}"

    def prepare(self) -> None:
        torch, align = self.torch, self.torchaudio.functional.forced_align
        torch.set_num_threads(self.threads)
        pairs = [(torch.tensor(x)[None], torch.tensor(label)[None]) for x, label in self.sequences()]
        self.calls = {"align": lambda: [align(x.log_softmax(-1), label)[0][0] for x, label in pairs]}


class Numpy(AlignPeer):
    """All states of a frame at once, a byte each for the way back."""

    def version(self) -> str:
        return str(np.__version__)

    def prepare(self) -> None:
        self.calls = {"align": lambda: [self.path(x, label) for x, label in self.sequences()]}

    @staticmethod
    def path(x: np.ndarray, label: np.ndarray) -> np.ndarray:
        states = np.zeros(2 * len(label) + 1, np.int64)
        states[1::2] = label
        skips = np.zeros(len(states), bool)
        skips[3::2] = label[1:] != label[:-1]
        penalty = np.where(skips, 0, -np.inf)
        before = np.full(len(states), -np.inf)
        before[0] = 0
        origins = np.zeros((len(x), len(states)), np.int8)
        ways = np.full((3, len(states)), -np.inf)
        for t, frame in enumerate(x):
            ways[0], ways[1, 1:], ways[2, 2:] = before, before[:-1], before[:-2] + penalty[2:]
            origins[t] = ways.argmax(axis=0)
            before = ways.max(axis=0) + frame[states]
        s = len(states) - (1 if len(states) == 1 or before[-1] >= before[-2] else 2)
        found = np.empty(len(x), np.int64)
        for t in range(len(x) - 1, -1, -1):
            found[t] = states[s]
            s -= int(origins[t, s])
        return found


def make(name: str) -> AlignPeer:
    """The peer of that name; ImportError where its library is not installed."""
    return {"fastseq": Fastseq, "torchaudio": Torchaudio, "numpy": Numpy}[name]()


if __name__ == "__main__":
    from timing import serve

    serve(make)
