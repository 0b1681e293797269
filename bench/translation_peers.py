"""The translation model in each library, behind the same few methods; run as a worker of timing.py.

Weights travel in Keras's layout: kernel, recurrent kernel and bias of encoder and decoder, kernel and bias of
the dense layer. Every peer trains them with RMSprop at 0.001 on the mean cross-entropy of teacher forcing.
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

NAMES = {
    "fastseq": "fastseq",
    "keras-tf": "Keras on TensorFlow, as people call it",
    "keras-tf-jit": "Keras on TensorFlow, jit_compile",
    "keras-jax": "Keras on JAX, as people call it",
    "torch": "PyTorch, as people write it",
}
# a gradient is read off the weights after a step this long: a power of two, so nothing is rounded away
RATE = 1024.0


def make(name: str) -> Any:
    """The peer of that name; ImportError where its library is not installed."""
    library, *options = name.split("-")
    if library == "fastseq":
        return Fastseq()
    if library == "torch":
        return Torch()
    return Keras(options[0], jit="jit" in options)


class Peer(ABC):
    """What a worker answers. A library fills in what is abstract."""

    def open(self, job: str) -> str:
        """Reads the job and answers with the library's version."""
        with np.load(job) as arrays:
            self.arrays = {key: arrays[key] for key in arrays.files}
        self.start = [self.arrays[f"weight{i}"] for i in range(8)]
        self.x = [self.arrays["encoder"], self.arrays["decoder"]]
        self.y = self.arrays["target"]
        return self.version()

    def agree(self, path: str) -> None:
        """Writes the loss and what one plain gradient step comes to, from the job's weights."""
        self.build("sgd")
        loss = self.loss()
        self.run_steps(1)
        gradients = [(a - b) / RATE for a, b in zip(self.start, self.weights(), strict=True)]
        np.savez(path, loss=loss, **{f"gradient{i}": g for i, g in enumerate(gradients)})

    def warm(self) -> None:
        """Leaves everything compiled and the model ready to time."""
        self.build("rmsprop")
        self.run_steps(3)

    def steps(self, count: int) -> float:
        """Seconds of one training step, the mean of `count` in a row."""
        start = time.perf_counter()
        self.run_steps(count)
        return (time.perf_counter() - start) / count

    # of each library

    @abstractmethod
    def version(self) -> str: ...

    @abstractmethod
    def build(self, optimizer: str) -> None:
        """A new model with the job's weights and "rmsprop" at 0.001 or "sgd" at RATE."""

    @abstractmethod
    def loss(self) -> float: ...

    @abstractmethod
    def run_steps(self, count: int) -> None: ...

    @abstractmethod
    def weights(self) -> list[np.ndarray]: ...


class Decoder(Peer):
    """A peer that also decodes. A library fills in `translate`, too."""

    def decode(self, sentences: int, steps: int) -> tuple[float, list[list[int]]]:
        """Seconds for the most probable characters, so many, of the first sentences; and those characters."""
        self.build("rmsprop")
        self.translate(self.arrays["sentences"][:1], 2)
        start = time.perf_counter()
        found = self.translate(self.arrays["sentences"][:sentences], steps)
        return time.perf_counter() - start, found

    @abstractmethod
    def translate(self, encoded: np.ndarray, steps: int) -> list[list[int]]: ...


class Fastseq(Decoder):
    """The recipe's own model, and its search."""

    def version(self) -> str:
        import fastseq

        return f"{fastseq.__version__}, {fastseq._core.isa()}"

    def build(self, optimizer: str) -> None:
        import fastseq
        from fastseq.recipes.translator import END, START, Translator

        # as many characters as the job has; what they are does not matter
        tables = [
            fastseq.text.CharacterTable([START, END, *map(chr, range(256, 254 + x.shape[2]))]) for x in self.x
        ]
        self.translator = Translator(fastseq.layers.LSTM, self.start[1].shape[0], *tables, False)
        self.model = self.translator.training
        rates = {"rmsprop": fastseq.optimizers.RMSprop(0.001), "sgd": fastseq.optimizers.SGD(RATE)}
        self.model.compile(rates[optimizer], "categorical_crossentropy", metrics=["accuracy"])
        self.model.set_weights(self.start)

    def loss(self) -> float:
        return float(self.model.test_on_batch(self.x, self.y)[0])

    def run_steps(self, count: int) -> None:
        for _ in range(count):
            self.model.train_on_batch(self.x, self.y)

    def weights(self) -> list[np.ndarray]:
        return [np.array(w) for w in self.model.get_weights()]

    def translate(self, encoded: np.ndarray, steps: int) -> list[list[int]]:
        texts = self.translator.search(encoded, 1, steps)
        return self.translator.target.indices(texts, steps).tolist()

    def peak(self, threads: int) -> float:
        """Floating-point operations per second that the threads reach from registers alone, two an FMA."""
        import fastseq

        return float(fastseq._core.fma_peak(threads))


class Keras(Decoder):
    """The example's model, and its loop of predict calls for each sentence by itself."""

    def __init__(self, backend: str, jit: bool) -> None:
        self.backend = {"tf": "tensorflow", "jax": "jax"}[backend]
        os.environ["KERAS_BACKEND"] = self.backend
        __import__(self.backend)
        import keras

        self.keras, self.jit = keras, jit
        self.by_fit = False

    def version(self) -> str:
        return f"{self.keras.__version__}, {self.backend} {__import__(self.backend).__version__}"

    def build(self, optimizer: str) -> None:
        keras, units = self.keras, self.start[1].shape[0]
        encoder_inputs = keras.Input(shape=(None, self.x[0].shape[2]))
        _, *states = keras.layers.LSTM(units, return_state=True)(encoder_inputs)
        decoder_inputs = keras.Input(shape=(None, self.x[1].shape[2]))
        decoder = keras.layers.LSTM(units, return_sequences=True, return_state=True)
        outputs, _, _ = decoder(decoder_inputs, initial_state=states)
        dense = keras.layers.Dense(self.y.shape[2], activation="softmax")
        self.model = keras.Model([encoder_inputs, decoder_inputs], dense(outputs))
        rates = {"rmsprop": keras.optimizers.RMSprop(0.001), "sgd": keras.optimizers.SGD(RATE)}
        jit = {"jit_compile": True} if self.jit else {}
        self.model.compile(rates[optimizer], "categorical_crossentropy", metrics=["accuracy"], **jit)
        self.model.set_weights(self.start)
        self.by_fit = False
        before = [keras.Input(shape=(units,)) for _ in states]
        one, *after = decoder(decoder_inputs, initial_state=before)
        self.encoder = keras.Model(encoder_inputs, states)
        self.step = keras.Model([decoder_inputs, *before], [dense(one), *after])

    def warm(self) -> None:
        super().warm()
        # Keras has two ways to run steps, and which is faster depends on the backend
        seconds = {}
        for by_fit in (False, True):
            self.by_fit = by_fit
            self.run_steps(5)
            seconds[by_fit] = self.steps(5)
        self.by_fit = seconds[True] < seconds[False]

    def loss(self) -> float:
        return float(self.model.test_on_batch(self.x, self.y)[0])

    def run_steps(self, count: int) -> None:
        if self.by_fit:
            x, y = [np.concatenate([a] * count) for a in self.x], np.concatenate([self.y] * count)
            self.model.fit(x, y, batch_size=len(self.y), epochs=1, shuffle=False, verbose=0)
        else:
            for _ in range(count):
                self.model.train_on_batch(self.x, self.y)

    def weights(self) -> list[np.ndarray]:
        return [np.asarray(w) for w in self.model.get_weights()]

    def translate(self, encoded: np.ndarray, steps: int) -> list[list[int]]:
        found = []
        for k in range(len(encoded)):
            states = self.encoder.predict(encoded[k : k + 1], verbose=0)
            target = self.x[1][:1, :1]  # the start
            characters = []
            while len(characters) < steps:
                probabilities, *states = self.step.predict([target, *states], verbose=0)
                characters.append(int(probabilities[0, -1].argmax()))
                target = np.zeros_like(target)
                target[0, 0, characters[-1]] = 1.0
            found.append(characters)
        return found


class Torch(Peer):
    def __init__(self) -> None:
        import torch

        self.torch = torch
        torch.set_num_threads(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1)

    def version(self) -> str:
        return str(self.torch.__version__)

    def build(self, optimizer: str) -> None:
        from peers_torch import to_torch

        torch = self.torch
        units, nn = self.start[1].shape[0], torch.nn
        self.layers = [nn.LSTM(x.shape[2], units, batch_first=True) for x in self.x]
        for layer, weights in zip(self.layers, (self.start[:3], self.start[3:6]), strict=True):
            layer.load_state_dict(to_torch("lstm", weights))
            layer.bias_hh_l0.requires_grad_(False)  # Keras has one bias
        self.dense = nn.Linear(units, self.y.shape[2])
        kernel, bias = (torch.tensor(w) for w in self.start[6:])
        self.dense.load_state_dict({"weight": kernel.T, "bias": bias})
        modules = [*self.layers, self.dense]
        trained = [w for module in modules for w in module.parameters() if w.requires_grad]
        made = {
            "rmsprop": lambda: torch.optim.RMSprop(trained, lr=0.001, alpha=0.9, eps=1e-7),
            "sgd": lambda: torch.optim.SGD(trained, lr=RATE),
        }
        self.optimizer = made[optimizer]()
        self.batch = [torch.tensor(x) for x in self.x]
        self.classes = torch.tensor(self.y.argmax(-1))

    def _loss(self) -> Any:
        _, state = self.layers[0](self.batch[0])
        logits = self.dense(self.layers[1](self.batch[1], state)[0])
        return self.torch.nn.functional.cross_entropy(logits.flatten(0, 1), self.classes.flatten())

    def loss(self) -> float:
        return float(self._loss())

    def run_steps(self, count: int) -> None:
        for _ in range(count):
            self.optimizer.zero_grad(set_to_none=True)
            self._loss().backward()
            self.optimizer.step()

    def weights(self) -> list[np.ndarray]:
        from peers_torch import from_torch

        dense = [self.dense.weight.detach().numpy().T.copy(), self.dense.bias.detach().numpy().copy()]
        return [*from_torch("lstm", self.layers[0]), *from_torch("lstm", self.layers[1]), *dense]


if __name__ == "__main__":
    from timing import serve

    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    serve(make)
