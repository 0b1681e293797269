"""CTC loss with its gradient in each library, behind the same few calls; run as a worker of timing.py.

All start from logits: log_softmax belongs to the work where a library asks for log-probabilities.
"""

from __future__ import annotations

import os
import sys
from abc import abstractmethod
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from turns import Turns, fastest

NAMES = {
    "fastseq": "fastseq",
    "torch": "PyTorch",
    "optax": "optax",
    "tf-dense": "TensorFlow, dense labels",
    "tf-sparse": "TensorFlow, sparse labels",
    "keras-jax": "Keras on JAX",
}


class CtcPeer(Turns):
    """What a worker answers. A library fills in `version` and `prepare`.

    Attributes:
        x: Logits (batch, frames, classes) with `lengths`; blank 0.
        labels: (batch, longest) with `label_lengths`.
    """

    @abstractmethod
    def version(self) -> str: ...

    @abstractmethod
    def prepare(self) -> None:
        """Sets calls["loss and gradient"], which returns (losses, gradient of their sum)."""

    def open(self, job: str) -> str:
        """Reads the arrays and answers with the library's version."""
        with np.load(job) as arrays:
            self.x, self.labels = arrays["x"], arrays["labels"]
            self.lengths, self.label_lengths = arrays["lengths"], arrays["label_lengths"]
        self.threads = len(os.environ["FASTSEQ_BENCH_CPUS"].split(","))
        return self.version()

    def agree(self, path: str) -> None:
        """Writes losses and gradient."""
        self.prepare()
        losses, gradient = self.calls["loss and gradient"]()
        np.savez(path, losses=np.asarray(losses), gradient=self.batch_major(np.asarray(gradient)))

    def batch_major(self, gradient: np.ndarray) -> np.ndarray:
        return gradient

    def padded(self) -> np.ndarray:
        """Labels with zeros beyond their lengths."""
        return np.where(np.arange(self.labels.shape[1]) < self.label_lengths[:, None], self.labels, 0)


class Fastseq(CtcPeer):
    def __init__(self) -> None:
        import fastseq

        self.fastseq = fastseq

    def version(self) -> str:
        return f"{self.fastseq.__version__}, {self.fastseq._core.isa()}"

    def prepare(self) -> None:
        run = self.fastseq.ops.ctc_loss_and_gradient
        arguments = self.x, self.labels, self.lengths, self.label_lengths
        self.calls = {"loss and gradient": lambda: run(*arguments)}


class Torch(CtcPeer):
    def __init__(self) -> None:
        import torch

        self.torch = torch

    def version(self) -> str:
        return str(self.torch.__version__)

    def prepare(self) -> None:
        torch = self.torch
        torch.set_num_threads(self.threads)
        x = torch.tensor(np.swapaxes(self.x, 0, 1).copy(), requires_grad=True)  # time-major, as it prefers
        rest = [torch.tensor(a) for a in (self.labels, self.lengths, self.label_lengths)]

        def run() -> tuple[Any, Any]:
            x.grad = None
            losses = torch.nn.functional.ctc_loss(x.log_softmax(-1), *rest, reduction="none")
            losses.sum().backward()
            return losses.detach(), x.grad

        self.calls = {"loss and gradient": run}

    def batch_major(self, gradient: np.ndarray) -> np.ndarray:
        return np.swapaxes(gradient, 0, 1)


class Optax(CtcPeer):
    def __init__(self) -> None:
        import jax
        import optax

        self.jax, self.optax = jax, optax

    def version(self) -> str:
        return f"{self.optax.__version__}, jax {self.jax.__version__}"

    def losses(self, x: Any) -> Any:
        beyond = (np.arange(self.x.shape[1]) >= self.lengths[:, None]).astype(np.float32)
        absent = (np.arange(self.labels.shape[1]) >= self.label_lengths[:, None]).astype(np.float32)
        return self.optax.ctc_loss(x, beyond, self.padded(), absent)

    def prepare(self) -> None:
        jax = self.jax

        def total(x: Any) -> tuple[Any, Any]:
            losses = self.losses(x)
            return losses.sum(), losses

        step = jax.jit(jax.grad(total, has_aux=True))
        x = jax.numpy.asarray(self.x)

        def run() -> tuple[Any, Any]:
            gradient, losses = jax.block_until_ready(step(x))
            return losses, gradient

        self.calls = {"loss and gradient": run}


class KerasJax(Optax):
    def __init__(self) -> None:
        os.environ["KERAS_BACKEND"] = "jax"
        import jax
        import keras

        self.jax, self.keras = jax, keras

    def version(self) -> str:
        return f"{self.keras.__version__}, jax {self.jax.__version__}"

    def losses(self, x: Any) -> Any:
        lengths = [np.asarray(n, np.int32) for n in (self.label_lengths, self.lengths)]
        return self.keras.ops.ctc_loss(self.padded().astype(np.int32), x, *lengths, mask_index=0)


class TensorFlow(CtcPeer):
    def __init__(self, dense: bool) -> None:
        import tensorflow

        self.tf, self.dense = tensorflow, dense

    def version(self) -> str:
        return str(self.tf.__version__)

    def prepare(self) -> None:
        tf = self.tf
        for setting in (tf.config.threading.set_intra_op_parallelism_threads,):
            setting(self.threads)
        x = tf.constant(np.swapaxes(self.x, 0, 1).copy())
        lengths, label_lengths = (tf.constant(n, tf.int32) for n in (self.lengths, self.label_lengths))
        labels = tf.constant(self.padded(), tf.int32)
        if not self.dense:
            places = np.argwhere(np.arange(self.labels.shape[1]) < self.label_lengths[:, None])
            values = self.labels[tuple(places.T)].astype(np.int32)
            labels = tf.SparseTensor(places, values, self.labels.shape)

        def step(logits: Any) -> tuple[Any, Any]:
            with tf.GradientTape() as tape:
                tape.watch(logits)
                losses = tf.nn.ctc_loss(
                    labels, logits, label_lengths if self.dense else None, lengths, blank_index=0
                )
            return losses, tape.gradient(losses, logits)

        compiled = [tf.function(step)] + ([tf.function(step, jit_compile=True)] if self.dense else [])
        best = fastest([lambda f=f: [a.numpy() for a in f(x)] for f in compiled])
        self.calls = {"loss and gradient": best}

    def batch_major(self, gradient: np.ndarray) -> np.ndarray:
        return np.swapaxes(gradient, 0, 1)


def make(name: str) -> CtcPeer:
    """The peer of that name; ImportError where its library is not installed."""
    return {
        "fastseq": Fastseq,
        "torch": Torch,
        "optax": Optax,
        "keras-jax": KerasJax,
        "tf-dense": lambda: TensorFlow(True),
        "tf-sparse": lambda: TensorFlow(False),
    }[name]()


if __name__ == "__main__":
    from timing import serve

    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    serve(make)
