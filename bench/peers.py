"""The addition model in each library, behind the same few methods; run as a worker of timing.py.

Weights travel in Keras's layout: kernel, recurrent kernel and bias of encoder and decoder, kernel and
bias of the dense layer. Every peer trains them with Adam at 0.001 on the mean cross-entropy.
"""

from __future__ import annotations

import json
import os
import sys
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

NAMES = {
    "fastseq": "fastseq",
    "keras-tf": "Keras on TensorFlow, as people call it",
    "keras-tf-unrolled": "Keras on TensorFlow, jit_compile and unroll",
    "keras-jax": "Keras on JAX, as people call it",
    "keras-jax-unrolled": "Keras on JAX, unroll",
    "keras-torch": "Keras on PyTorch, as people call it",
    "torch": "PyTorch, as people write it",
    "torch-tuned": "PyTorch, time-major, fused Adam, expanded repeat",
    "jax-scan": "jax.jit, lax.scan",
    "jax-unrolled": "jax.jit, lax.scan unrolled",
}


def make(name: str) -> Any:
    """The peer of that name; ImportError where its library is not installed."""
    library, *options = name.split("-")
    if library == "fastseq":
        from peers_fastseq import FastseqPeer

        return FastseqPeer()
    if library == "keras":
        from peers_keras import KerasPeer

        return KerasPeer(options[0], unroll="unrolled" in options)
    if library == "torch":
        from peers_torch import TorchPeer

        return TorchPeer(tuned="tuned" in options)
    from peers_jax import JaxPeer

    return JaxPeer(unroll="unrolled" in options)


# a gradient is read off the weights after a step this long: a power of two, so nothing is rounded away
RATE = 1024.0


class Peer(ABC):
    """What a worker answers. A library fills in `build`, `step`, `epoch_once`, `predict_once`, `weights`."""

    @abstractmethod
    def version(self) -> str: ...

    def open(self, job: str) -> str:
        """Reads the job (JSON beside its arrays) and answers with the library's version."""
        folder = Path(job)
        self.job = json.loads((folder / "job.json").read_text())
        with np.load(folder / "arrays.npz") as arrays:
            self.arrays = {key: arrays[key] for key in arrays.files}
        self.start = [self.arrays[f"weight{i}"] for i in range(8)]
        batch = self.job["batch_size"]
        self.x, self.y = (self.arrays[k][:batch].astype(np.float32) for k in ("x_train", "y_train"))
        self.folder = folder
        return self.version()

    def agree(self, path: str) -> None:
        """Writes what one plain gradient step and five of Adam come to, from the job's weights."""
        self.build("sgd")
        loss = self.step()
        gradients = [(a - b) / RATE for a, b in zip(self.start, self.weights(), strict=True)]
        self.build("adam")
        losses = [self.step() for _ in range(5)]
        kept = {f"gradient{i}": g for i, g in enumerate(gradients)}
        self.build("adam")
        np.savez(path, loss=loss, losses=losses, prediction=self.probabilities(self.x), **kept)

    def warm(self) -> None:
        """Leaves everything compiled and the model ready to time."""
        self.build("adam")
        self.steps(3)
        self.predict()
        self.epoch()

    def steps(self, count: int) -> float:
        """Seconds of one training step, the mean of `count` in a row."""
        start = time.perf_counter()
        self.run_steps(count)
        return (time.perf_counter() - start) / count

    def epoch(self) -> float:
        """Seconds of one epoch with validation."""
        start = time.perf_counter()
        self.run_epoch()
        return time.perf_counter() - start

    def predict(self) -> float:
        """Seconds to predict the validation questions."""
        start = time.perf_counter()
        self.probabilities(self.arrays["x_val"])
        return time.perf_counter() - start

    def learn(self, epochs: int, target: float) -> dict[str, Any]:
        """Epochs and seconds until the validation accuracy reaches the target, compilation included."""
        self.build("adam", fresh=True)
        start = time.perf_counter()
        accuracies = []
        for _ in range(epochs):
            accuracies.append(self.run_epoch())
            if accuracies[-1] >= target:
                break
        return {"seconds": time.perf_counter() - start, "epochs": len(accuracies), "accuracies": accuracies}

    # of each library

    @abstractmethod
    def build(self, optimizer: str, fresh: bool = False) -> None:
        """A new model with the job's weights (its own if `fresh`) and "adam" at 0.001 or "sgd" at RATE."""

    @abstractmethod
    def step(self) -> float:
        """One training step on the first batch; its loss."""

    @abstractmethod
    def run_steps(self, count: int) -> None: ...

    @abstractmethod
    def run_epoch(self) -> float:
        """One epoch over the training questions, shuffled, and the validation accuracy after it."""

    @abstractmethod
    def probabilities(self, x: np.ndarray) -> np.ndarray: ...

    @abstractmethod
    def weights(self) -> list[np.ndarray]: ...


if __name__ == "__main__":
    from timing import serve

    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    serve(make)
