"""The addition model in Keras, on one of its backends."""

from __future__ import annotations

import os
import time
from typing import Any

import numpy as np
from jobs import LABELS
from peers import RATE, Peer

BACKENDS = {"tf": "tensorflow", "jax": "jax", "torch": "torch"}


class KerasPeer(Peer):
    def __init__(self, backend: str, unroll: bool) -> None:
        os.environ["KERAS_BACKEND"] = BACKENDS[backend]
        __import__(BACKENDS[backend])
        import keras

        self.keras = keras
        self.backend = BACKENDS[backend]
        self.unroll = unroll

    def version(self) -> str:
        return f"{self.keras.__version__}, {self.backend} {__import__(self.backend).__version__}"

    def build(self, optimizer: str, fresh: bool = False) -> None:
        keras, job = self.keras, self.job
        cell = LABELS[job["cell"]]
        steps, chars = self.x.shape[1:]
        # the loop is left to the backend unless asked for, as in the example
        options: dict[str, Any] = {"unroll": True} if self.unroll else {}
        layer = getattr(keras.layers, cell)
        dense = keras.layers.Dense(chars)
        self.model = keras.Sequential(
            [
                keras.layers.Input((steps, chars)),
                layer(job["units"], **options),
                keras.layers.RepeatVector(self.y.shape[1]),
                layer(job["units"], return_sequences=True, **options),
                # the same sums: TimeDistributed folds nothing in Keras and is slower
                dense if self.unroll else keras.layers.TimeDistributed(dense),
                keras.layers.Activation("softmax"),
            ]
        )
        rates = {"adam": keras.optimizers.Adam(0.001), "sgd": keras.optimizers.SGD(RATE)}
        jit = {"jit_compile": True} if self.unroll and self.backend != "torch" else {}
        self.model.compile(
            loss="categorical_crossentropy", optimizer=rates[optimizer], metrics=["accuracy"], **jit
        )
        if not fresh:
            self.model.set_weights(self.start)
        self.by_fit = False

    def step(self) -> float:
        return float(self.model.train_on_batch(self.x, self.y)[0])

    def warm(self) -> None:
        super().warm()
        # Keras has two ways to run steps, and which is faster depends on the backend
        count = 20
        self.many = tuple(np.concatenate([a] * count) for a in (self.x, self.y))
        seconds = {}
        for by_fit in (False, True):
            self.by_fit = by_fit
            self.run_steps(count)
            start = time.perf_counter()
            self.run_steps(count)
            seconds[by_fit] = time.perf_counter() - start
        self.by_fit = seconds[True] < seconds[False]

    def run_steps(self, count: int) -> None:
        if self.by_fit:
            rows = count * len(self.x)
            x, y = (np.concatenate([a] * -(-rows // len(a)))[:rows] for a in self.many)
            self.model.fit(x, y, batch_size=len(self.x), epochs=1, shuffle=False, verbose=0)
        else:
            for _ in range(count):
                self.model.train_on_batch(self.x, self.y)

    def run_epoch(self) -> float:
        a = self.arrays
        history = self.model.fit(
            a["x_train"],
            a["y_train"],
            batch_size=self.job["batch_size"],
            epochs=1,
            validation_data=(a["x_val"], a["y_val"]),
            verbose=0,
        )
        return float(history.history["val_accuracy"][-1])

    def probabilities(self, x: np.ndarray) -> np.ndarray:
        return np.asarray(self.model.predict(x, batch_size=self.job["batch_size"], verbose=0))

    def weights(self) -> list[np.ndarray]:
        return [np.asarray(w) for w in self.model.get_weights()]
