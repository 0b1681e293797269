"""CTC decoding in each library, behind the same few calls; run as a worker of timing.py.

All decode the same posteriors: those that ask for logits get logits, those that ask for probabilities get
them ready-made. The best path's score is the sum of what they get, as others have it, not its probability,
which takes a softmax ("fastseq-probability"). Who takes one sequence at a time gets a pool of threads where
that is faster.
"""

from __future__ import annotations

import os
import sys
import time
from abc import abstractmethod
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from turns import Call, Turns, fastest

NAMES = {
    "fastseq": "fastseq",
    "fastseq-probability": "fastseq, with its probability",
    "tf": "TensorFlow",
    "fast-ctc-decode": "fast-ctc-decode",
    "pyctcdecode": "pyctcdecode, no LM",
}
BEAM, GREEDY = "beam search", "best path"


class DecodePeer(Turns):
    """What a worker answers. A library fills in `version` and `prepare`.

    Attributes:
        x: Logits (batch, frames, classes); blank 0.
        width: Of the beam.
        threads: It may use.
    """

    @abstractmethod
    def version(self) -> str: ...

    @abstractmethod
    def prepare(self) -> dict[str, Call]:
        """What to time, by work: each returns the labels of every sequence in a form `rows` reads."""

    @abstractmethod
    def rows(self, found: Any) -> list[list[int]]: ...

    def open(self, job: str, width: int, works: list[str]) -> str:
        """Reads the arrays and answers with the library's version."""
        with np.load(job) as arrays:
            self.x = arrays["x"]
        self.width, self.works = width, works
        self.threads = len(os.environ["FASTSEQ_BENCH_CPUS"].split(","))
        return self.version()

    def agree(self, path: str) -> None:
        """Writes the labels of the best path found, (batch, frames), -1 beyond the last."""
        self.calls = {work: call for work, call in self.prepare().items() if work in self.works}
        arrays = {}
        for work, call in self.calls.items():
            arrays[work] = np.full(self.x.shape[:2], -1)
            for to, labels in zip(arrays[work], self.rows(call()), strict=True):
                to[: len(labels)] = labels
        np.savez(path, **arrays)

    def probabilities(self) -> np.ndarray:
        e = np.exp(self.x - self.x.max(axis=-1, keepdims=True))
        return np.asarray(e / e.sum(axis=-1, keepdims=True))

    def each(self, decode: Any, sequences: list[Any]) -> Call:
        """One call for all sequences: one after the other, or in threads if that is faster."""
        pool = ThreadPoolExecutor(self.threads)
        return fastest([lambda: [decode(s) for s in sequences], lambda: list(pool.map(decode, sequences))])


class Fastseq(DecodePeer):
    best_path_of = "log_probs"  # the sum of the largest, with no softmax

    def __init__(self) -> None:
        import fastseq

        self.fastseq = fastseq

    def version(self) -> str:
        return f"{self.fastseq.__version__}, {self.fastseq._core.isa()}"

    def prepare(self) -> dict[str, Call]:
        ops = self.fastseq.ops
        return {
            BEAM: lambda: ops.ctc_beam_search(self.x, beam_width=self.width),
            GREEDY: lambda: ops.ctc_greedy_decode(self.x, input=self.best_path_of),
        }

    def rows(self, found: Any) -> list[list[int]]:
        labels = found.labels.reshape(len(found.labels), found.labels.shape[-1])
        return [row[row >= 0].tolist() for row in labels]

    def bandwidth(self) -> float:
        """Bytes per second that as many threads read from memory: the largest element of a large array."""
        parts = np.array_split(np.ones(1 << 26, np.float32), self.threads)
        with ThreadPoolExecutor(self.threads) as pool:
            seconds = []
            for _ in range(9):
                start = time.perf_counter()
                list(pool.map(np.max, parts))
                seconds.append(time.perf_counter() - start)
        return float(sum(part.nbytes for part in parts) / min(seconds))


class FastseqProbability(Fastseq):
    best_path_of = "logits"


class TensorFlow(DecodePeer):
    def __init__(self) -> None:
        import tensorflow

        self.tf = tensorflow

    def version(self) -> str:
        return str(self.tf.__version__)

    def prepare(self) -> dict[str, Call]:
        tf = self.tf
        tf.config.threading.set_intra_op_parallelism_threads(self.threads)
        blank_last = tf.constant(np.roll(self.x, -1, axis=2).swapaxes(0, 1).copy())
        lengths = tf.constant([self.x.shape[1]] * len(self.x), tf.int32)

        def search() -> Any:
            return tf.nn.ctc_beam_search_decoder(blank_last, lengths, beam_width=self.width)[0][0]

        def greedy() -> Any:
            return tf.nn.ctc_greedy_decoder(blank_last, lengths)[0][0]

        return {BEAM: search, GREEDY: greedy}

    def rows(self, found: Any) -> list[list[int]]:
        dense = self.tf.sparse.to_dense(found, default_value=-1).numpy()
        return [(row[row >= 0] + 1).tolist() for row in dense]


class FastCtcDecode(DecodePeer):
    def __init__(self) -> None:
        import fast_ctc_decode

        self.library = fast_ctc_decode

    def version(self) -> str:
        from importlib.metadata import version

        return version("fast-ctc-decode")

    def prepare(self) -> dict[str, Call]:
        letters = "".join(chr(0x100 + c) for c in range(self.x.shape[2]))
        sequences = list(self.probabilities())

        def search(p: np.ndarray) -> str:
            found: str = self.library.beam_search(p, letters, beam_size=self.width, beam_cut_threshold=0.0)[0]
            return found

        def greedy(p: np.ndarray) -> str:
            found: str = self.library.viterbi_search(p, letters)[0]
            return found

        return {
            work: self.each(decode, sequences)
            for work, decode in ((BEAM, search), (GREEDY, greedy))
            if work in self.works
        }

    def rows(self, found: Any) -> list[list[int]]:
        return [[ord(letter) - 0x100 for letter in text] for text in found]


class PyCtcDecode(DecodePeer):
    """With the pruning that it prefers: without, it would take minutes. Its letters are one-letter words."""

    def __init__(self) -> None:
        import pyctcdecode

        self.library = pyctcdecode

    def version(self) -> str:
        from importlib.metadata import version

        return version("pyctcdecode")

    def prepare(self) -> dict[str, Call]:
        letters = ["", *(chr(0x4E00 + c) for c in range(1, self.x.shape[2]))]
        decoder = self.library.build_ctcdecoder(letters)
        sequences = list(np.log(self.probabilities()))
        return {BEAM: lambda: [decoder.decode(p, beam_width=self.width) for p in sequences]}

    def rows(self, found: Any) -> list[list[int]]:
        return [[ord(letter) - 0x4E00 for letter in text] for text in found]


def make(name: str) -> DecodePeer:
    """The peer of that name; ImportError where its library is not installed."""
    return {
        "fastseq": Fastseq,
        "fastseq-probability": FastseqProbability,
        "tf": TensorFlow,
        "fast-ctc-decode": FastCtcDecode,
        "pyctcdecode": PyCtcDecode,
    }[name]()


if __name__ == "__main__":
    from timing import serve

    serve(make)
