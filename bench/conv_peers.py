"""Convolution, relu and pooling in each library, behind the same few calls; run as a worker of timing.py.

Arrays travel channels last. Every library gets its best setting: torch its channels_last layout, TensorFlow
compiled by XLA or not, whichever is faster. An image of 1 or 3 channels gets no gradient.
"""

from __future__ import annotations

import os
import sys
from abc import abstractmethod
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from turns import Call, Peaks, Turns, fastest

NAMES = {"fastseq": "fastseq", "torch": "PyTorch, channels_last", "tensorflow": "TensorFlow"}
WORKS = ("training", "inference")


class ConvPeer(Turns):
    """What a worker answers. A library fills in `version`, `prepare` and `results`.

    Attributes:
        x: (batch, height, width, channels) and `d`, the gradient of the output.
        kernel: (window, window, channels, filters), and the bias.
        calls: "training" is forward and backward with the gradients of all weights and, unless it is an
            image, of x; "inference" is forward alone.
    """

    @abstractmethod
    def version(self) -> str: ...

    @abstractmethod
    def prepare(self) -> None:
        """Sets `calls`."""

    @abstractmethod
    def results(self) -> list[np.ndarray | None]:
        """Output and gradients of x, kernel and bias."""

    def open(self, job: str, stride: int, pool: int) -> str:
        """Reads the arrays and answers with the library's version."""
        with np.load(job) as arrays:
            self.x, self.d, self.kernel, self.bias = (arrays[n] for n in ("x", "d", "kernel", "bias"))
        self.stride, self.pool = stride, pool
        self.wants_x = self.x.shape[3] > 3
        self.threads = len(os.environ["FASTSEQ_BENCH_CPUS"].split(","))
        self.calls: dict[str, Call] = {}
        return self.version()

    def agree(self, path: str) -> None:
        """Writes the output and the gradients."""
        self.prepare()
        found = dict(zip(("y", "dx", "dkernel", "dbias"), self.results(), strict=True))
        np.savez(path, **{name: value for name, value in found.items() if value is not None})


class Fastseq(Peaks, ConvPeer):
    def __init__(self) -> None:
        import fastseq

        self.fastseq = fastseq

    def version(self) -> str:
        return f"{self.fastseq.__version__}, {self.fastseq._core.isa()}"

    def prepare(self) -> None:
        ops = self.fastseq.ops
        arguments = self.x, self.kernel, self.bias
        options = {
            "strides": self.stride,
            "padding": "same",
            "activation": "relu",
            "pool_size": self.pool,
        }
        wanted = ("x", "kernel", "bias") if self.wants_x else ("kernel", "bias")

        def training() -> Any:
            y, saved = ops.conv2d_forward(*arguments, **options)
            return y, ops.conv2d_backward(saved, self.d, wanted)

        self.calls = {
            "training": training,
            "inference": lambda: ops.conv2d_forward(*arguments, **options, training=False),
        }

    def results(self) -> list[np.ndarray | None]:
        y, gradients = self.calls["training"]()
        return [y, *gradients]


class Torch(ConvPeer):
    def __init__(self) -> None:
        import torch

        self.torch = torch

    def version(self) -> str:
        return str(self.torch.__version__)

    def prepare(self) -> None:
        torch, functional = self.torch, self.torch.nn.functional
        torch.set_num_threads(self.threads)
        last = torch.channels_last
        image = torch.tensor(self.x).permute(0, 3, 1, 2).contiguous(memory_format=last)
        kernel = torch.tensor(self.kernel).permute(3, 2, 0, 1).contiguous(memory_format=last)
        d = torch.tensor(self.d).permute(0, 3, 1, 2).contiguous(memory_format=last)
        self.leaves = [image.requires_grad_(self.wants_x), kernel.requires_grad_(True)]
        self.leaves.append(torch.tensor(self.bias).requires_grad_(True))
        window, stride, pool = self.kernel.shape[0], self.stride, self.pool
        pads = []
        for size in reversed(self.x.shape[1:3]):  # as TensorFlow pads: the odd zero behind
            missing = max((-(-size // stride) - 1) * stride + window - size, 0)
            pads += [missing // 2, missing - missing // 2]
        even = pads[0] == pads[1] and pads[2] == pads[3]

        def forward() -> Any:
            x = self.leaves[0] if even else functional.pad(self.leaves[0], pads)
            padding = (pads[2], pads[0]) if even else 0
            y = functional.relu(functional.conv2d(x, *self.leaves[1:], stride=stride, padding=padding))
            return functional.max_pool2d(y, pool) if pool > 1 else y

        def training() -> Any:
            for leaf in self.leaves:
                leaf.grad = None
            y = forward()
            y.backward(d)
            return y

        def inference() -> Any:
            with torch.inference_mode():
                return forward()

        self.calls = {"training": training, "inference": inference}

    def results(self) -> list[np.ndarray | None]:
        y = self.calls["training"]().detach().permute(0, 2, 3, 1).numpy()
        dx, dkernel, dbias = (None if leaf.grad is None else leaf.grad for leaf in self.leaves)
        assert dkernel is not None
        assert dbias is not None
        turned = None if dx is None else dx.permute(0, 2, 3, 1).numpy()
        return [y, turned, dkernel.permute(2, 3, 1, 0).numpy(), dbias.numpy()]


class TensorFlow(ConvPeer):
    def __init__(self) -> None:
        import tensorflow

        self.tf = tensorflow

    def version(self) -> str:
        return str(self.tf.__version__)

    def prepare(self) -> None:
        tf = self.tf
        tf.config.threading.set_intra_op_parallelism_threads(self.threads)
        x, kernel, bias, d = (tf.constant(a) for a in (self.x, self.kernel, self.bias, self.d))

        def forward(x: Any, kernel: Any, bias: Any) -> Any:
            y = tf.nn.relu(tf.nn.conv2d(x, kernel, self.stride, "SAME") + bias)
            return tf.nn.max_pool2d(y, self.pool, self.pool, "VALID") if self.pool > 1 else y

        def training(x: Any, kernel: Any, bias: Any, d: Any) -> Any:
            wanted = [x, kernel, bias] if self.wants_x else [kernel, bias]
            with tf.GradientTape() as tape:
                tape.watch(wanted)
                y = forward(x, kernel, bias)
            return y, tape.gradient(y, wanted, d)

        def compiled(function: Any, *arguments: Any) -> Call:
            made = [tf.function(function, jit_compile=jit) for jit in (False, True)]
            return fastest([lambda f=f: ready(f(*arguments)) for f in made])

        def ready(result: Any) -> Any:
            (result[0] if isinstance(result, tuple) else result).numpy()
            return result

        self.calls = {
            "training": compiled(training, x, kernel, bias, d),
            "inference": compiled(forward, x, kernel, bias),
        }

    def results(self) -> list[np.ndarray | None]:
        y, gradients = self.calls["training"]()
        found = [None] * (not self.wants_x) + [np.asarray(g) for g in gradients]
        return [np.asarray(y), *found]


def make(name: str) -> ConvPeer:
    """The peer of that name; ImportError where its library is not installed."""
    return {"fastseq": Fastseq, "torch": Torch, "tensorflow": TensorFlow}[name]()


if __name__ == "__main__":
    from timing import serve

    serve(make)
