"""A training step of the OCR model in each library, behind the same few calls; run as a worker of timing.py.

Weights travel in Keras's order and layout. GRUs are of the form that all libraries have (reset_after=True);
the mean over the batch of CTC's loss is trained by SGD with Nesterov's momentum.
"""

from __future__ import annotations

import os
import sys
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from jobs import OCR_BLANK, OCR_CLASSES, OCR_SKIPPED

NAMES = {
    "fastseq": "fastseq",
    "fastseq-document": "fastseq, GRUs of the document's form",
    "torch": "PyTorch, as people write it",
    "keras-tf": "Keras on TensorFlow, as people call it",
    "keras-tf-jit": "Keras on TensorFlow, jit_compile",
    "jax": "jax.jit, lax.scan, optax",
}
RATE, MOMENTUM = 0.001, 0.9
UNITS = 512


class OcrPeer(ABC):
    """What a worker answers. A library fills in `version`, `build`, `step`, `weights`."""

    momentum = MOMENTUM
    rate = RATE

    @abstractmethod
    def version(self) -> str: ...

    def open(self, job: str) -> str:
        """Reads the arrays and answers with the library's version."""
        with np.load(job) as arrays:
            self.x, self.labels, self.lengths = arrays["images"], arrays["labels"], arrays["lengths"]
            self.start = [arrays[f"weight{i}"] for i in range(20)]
        self.frames = self.x.shape[1] // 4 - OCR_SKIPPED
        return self.version()

    def agree(self, path: str) -> None:
        """Writes the losses of three steps, and what a plain step of gradient descent subtracts."""
        self.rate, self.momentum = 1.0, 0.0
        self.build()
        self.step()
        gradients = [a - np.asarray(b) for a, b in zip(self.start, self.weights(), strict=True)]
        self.rate, self.momentum = RATE, MOMENTUM
        self.build()
        losses = [float(self.step()) for _ in range(3)]
        kept = {f"gradient{i}": g for i, g in enumerate(gradients)}
        np.savez(path, losses=losses, **kept)

    def warm(self) -> None:
        self.build()
        for _ in range(3):
            self.step()

    def steps(self, count: int) -> float:
        """Seconds of one step, the mean of `count` in a row."""
        start = time.perf_counter()
        for _ in range(count):
            loss = self.step()
        float(loss)
        return (time.perf_counter() - start) / count

    @abstractmethod
    def build(self) -> None: ...

    @abstractmethod
    def step(self) -> Any:
        """One training step; its loss."""

    @abstractmethod
    def weights(self) -> list[np.ndarray]: ...


class Fastseq(OcrPeer):
    def __init__(self, document: bool) -> None:
        import fastseq
        from fastseq.recipes import ocr_model

        self.fastseq, self.recipe, self.document = fastseq, ocr_model, document

    def version(self) -> str:
        return f"{self.fastseq.__version__}, {self.fastseq._core.isa()}"

    def agree(self, path: str) -> None:
        if not self.document:  # other mathematics: timed beside them, not compared
            super().agree(path)

    def build(self) -> None:
        fastseq = self.fastseq
        width, height = self.x.shape[1:3]
        self.model = self.recipe.ocr_model(width, height, OCR_CLASSES, UNITS, reset_after=not self.document)
        nesterov = self.momentum > 0
        optimizer = fastseq.optimizers.SGD(self.rate, momentum=self.momentum, nesterov=nesterov)
        self.model.compile(optimizer, fastseq.losses.CTC(blank=OCR_BLANK, skip_steps=OCR_SKIPPED))
        if not self.document:
            self.model.set_weights(self.start)
        self.target = {"labels": self.labels, "label_lengths": self.lengths}

    def step(self) -> Any:
        return self.model.train_on_batch(self.x, self.target)

    def weights(self) -> list[np.ndarray]:
        return self.model.get_weights()

    def fit(self, cache: bool, count: int) -> float:
        """Seconds of one step of ``fit``, the mean of `count`, on images kept or painted meanwhile."""
        from fastseq.callbacks import Callback
        from fastseq.recipes.painter import Painter
        from fastseq.recipes.text_images import Curriculum, TextImages

        class Clock(Callback):
            times: list[float]

            def on_train_begin(self, logs: Any = None) -> None:
                self.times = []

            def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
                self.times.append(time.perf_counter())

        batch, width, height, _ = self.x.shape
        size = (count + 2) * batch * 5 // 4  # a fifth is held out; the first two steps are left out
        clock = Clock()
        dataset = TextImages(
            Painter(width, height), Curriculum(size, None, 0), batch, seed=0, epoch=9, cache=cache, workers=1
        )
        if cache:
            dataset[0]  # paints them all
        self.model.fit(dataset, epochs=1, shuffle=False, verbose=0, callbacks=[clock])
        return (clock.times[-1] - clock.times[1]) / (len(clock.times) - 2)


class Torch(OcrPeer):
    def __init__(self) -> None:
        import torch

        self.torch = torch
        torch.set_num_threads(len(os.environ["FASTSEQ_BENCH_CPUS"].split(",")))

    def version(self) -> str:
        return self.torch.__version__

    def build(self) -> None:
        from peers_torch import to_torch
        from torch import nn

        torch, w = self.torch, [torch_array(a) for a in self.start]
        self.convolutions = [nn.Conv2d(1, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1)]
        for layer, kernel, bias in zip(self.convolutions, (w[0], w[2]), (w[1], w[3]), strict=True):
            layer.weight.data, layer.bias.data = kernel.permute(3, 2, 0, 1).contiguous(), bias
        features = w[4].shape[0]
        self.dense = [nn.Linear(features, 32), nn.Linear(2 * UNITS, OCR_CLASSES)]
        for layer, kernel, bias in zip(self.dense, (w[4], w[18]), (w[5], w[19]), strict=True):
            layer.weight.data, layer.bias.data = kernel.T.contiguous(), bias
        self.grus = [nn.GRU(size, UNITS, batch_first=True) for size in (32, 32, UNITS, UNITS)]
        for k, layer in enumerate(self.grus):
            layer.load_state_dict(to_torch("gru", self.start[6 + 3 * k : 9 + 3 * k]))
        layers = [*self.convolutions, *self.dense, *self.grus]
        weights = [p for layer in layers for p in layer.parameters()]
        self.optimizer = torch.optim.SGD(weights, self.rate, self.momentum, nesterov=self.momentum > 0)
        self.images = torch_array(self.x).permute(0, 3, 1, 2).contiguous()
        self.target = torch_array(self.labels).long(), torch_array(self.lengths).long()

    def logits(self) -> Any:
        functional = self.torch.nn.functional
        x = self.images
        for layer in self.convolutions:
            x = functional.max_pool2d(functional.relu(layer(x)), 2)
        x = x.permute(0, 2, 3, 1).flatten(2)  # (batch, width, height * channels), as in Keras
        x = functional.relu(self.dense[0](x))
        first, first_back, second, second_back = self.grus
        x = first(x)[0] + first_back(x.flip(1))[0]
        x = self.torch.cat([second(x)[0], second_back(x.flip(1))[0]], dim=2)
        return self.dense[1](x)

    def step(self) -> Any:
        functional = self.torch.nn.functional
        self.optimizer.zero_grad(set_to_none=True)
        log_probs = self.logits()[:, OCR_SKIPPED:].log_softmax(2).transpose(0, 1)
        labels, lengths = self.target
        frames = self.torch.full((len(labels),), self.frames)
        loss = functional.ctc_loss(log_probs, labels, frames, lengths, OCR_BLANK, "none").mean()
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def weights(self) -> list[np.ndarray]:
        from peers_torch import from_torch

        value = lambda p: p.detach().numpy().copy()  # noqa: E731
        found = []
        for layer in self.convolutions:
            found += [value(layer.weight).transpose(2, 3, 1, 0), value(layer.bias)]
        dense = [[value(layer.weight).T, value(layer.bias)] for layer in self.dense]
        grus = [w for layer in self.grus for w in from_torch("gru", layer)]
        return [*found, *dense[0], *grus, *dense[1]]


def torch_array(array: np.ndarray) -> Any:
    import torch

    return torch.tensor(np.asarray(array))


class Keras(OcrPeer):
    def __init__(self, jit: bool) -> None:
        os.environ["KERAS_BACKEND"] = "tensorflow"
        import keras
        import tensorflow

        self.keras, self.tensorflow, self.jit = keras, tensorflow, jit

    def version(self) -> str:
        return f"{self.keras.__version__}, tensorflow {self.tensorflow.__version__}"

    def build(self) -> None:
        keras = self.keras
        layers, frames = keras.layers, self.frames
        width, height = self.x.shape[1:3]
        x = inputs = keras.Input((width, height, 1))
        for _ in range(2):
            x = layers.Conv2D(16, 3, padding="same", activation="relu")(x)
            x = layers.MaxPooling2D(2)(x)
        x = layers.Reshape((width // 4, height // 4 * 16))(x)
        x = layers.Dense(32, activation="relu")(x)
        gru = lambda **options: layers.GRU(UNITS, return_sequences=True, **options)  # noqa: E731
        x = layers.add([gru()(x), gru(go_backwards=True)(x)])
        x = layers.concatenate([gru()(x), gru(go_backwards=True)(x)])
        self.model = keras.Model(inputs, layers.Dense(OCR_CLASSES)(x))

        def loss(target: Any, logits: Any) -> Any:
            target = keras.ops.cast(target, "int32")  # Keras makes floats of them
            labels, lengths = target[:, :-1], target[:, -1]
            many = keras.ops.ones_like(lengths) * frames
            return keras.ops.ctc_loss(labels, logits[:, OCR_SKIPPED:], lengths, many, mask_index=OCR_BLANK)

        optimizer = keras.optimizers.SGD(self.rate, self.momentum, nesterov=self.momentum > 0)
        self.model.compile(optimizer, loss, jit_compile=self.jit)
        self.model.set_weights(self.start)
        self.target = np.concatenate([self.labels, self.lengths[:, None]], axis=1)

    def step(self) -> Any:
        return self.model.train_on_batch(self.x, self.target)

    def weights(self) -> list[np.ndarray]:
        return self.model.get_weights()


class Jax(OcrPeer):
    def __init__(self) -> None:
        import jax
        import optax

        self.jax, self.optax = jax, optax

    def version(self) -> str:
        return f"{self.jax.__version__}, optax {self.optax.__version__}"

    def build(self) -> None:
        jax, optax = self.jax, self.optax
        jnp, lax = jax.numpy, jax.lax
        from peers_jax import gru

        axes = ("NHWC", "HWIO", "NHWC")
        paddings = (np.arange(self.labels.shape[1]) >= self.lengths[:, None]).astype(np.float32)
        no_padding = np.zeros((len(self.x), self.frames), np.float32)

        def both(w: list[Any], x: Any) -> tuple[Any, Any]:
            """Outputs from left to right, and from right to left as they come: (steps, batch, units)."""
            forward = gru(w[:3], x @ w[0] + w[2][0], False)[0]
            return forward, gru(w[3:], x[::-1] @ w[3] + w[5][0], False)[0]

        def loss(w: list[Any], images: Any) -> Any:
            x = images
            for kernel, bias in ((w[0], w[1]), (w[2], w[3])):
                x = lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=axes)
                x = jax.nn.relu(x + bias)
                x = lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
            x = jax.nn.relu(x.reshape(*x.shape[:2], -1) @ w[4] + w[5])
            first = both(w[6:12], jnp.swapaxes(x, 0, 1))
            second = both(w[12:18], first[0] + first[1])
            logits = jnp.swapaxes(jnp.concatenate(second, axis=2), 0, 1) @ w[18] + w[19]
            cost = optax.ctc_loss(
                logits[:, OCR_SKIPPED:], no_padding, self.labels, paddings, blank_id=OCR_BLANK
            )
            return cost.mean()

        optimizer = optax.sgd(self.rate, self.momentum or None, nesterov=self.momentum > 0)

        @jax.jit
        def train(w: Any, state: Any, images: Any) -> Any:
            value, gradients = jax.value_and_grad(loss)(w, images)
            updates, state = optimizer.update(gradients, state)
            return optax.apply_updates(w, updates), state, value

        self.values = [jnp.asarray(w) for w in self.start]
        self.state = optimizer.init(self.values)
        self.images = jnp.asarray(self.x)
        self.train = train

    def step(self) -> Any:
        self.values, self.state, value = self.train(self.values, self.state, self.images)
        return value

    def weights(self) -> list[np.ndarray]:
        return [np.array(w) for w in self.values]


def make(name: str) -> OcrPeer:
    """The peer of that name; ImportError where its library is not installed."""
    library, *options = name.split("-")
    if library == "fastseq":
        return Fastseq("document" in options)
    if library == "torch":
        return Torch()
    if library == "keras":
        return Keras("jit" in options)
    return Jax()


if __name__ == "__main__":
    from timing import serve

    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    serve(make)
