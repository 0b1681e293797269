"""The addition model in fastseq."""

from __future__ import annotations

import numpy as np
from peers import RATE, Peer

import fastseq
from fastseq.recipes.addition import addition_model


class FastseqPeer(Peer):
    def version(self) -> str:
        return f"{fastseq.__version__}, {fastseq._core.isa()}"

    def build(self, optimizer: str, fresh: bool = False) -> None:
        job = self.job
        self.model = addition_model(job["digits"], job["cell"], job["units"])
        rates = {"adam": fastseq.optimizers.Adam(0.001), "sgd": fastseq.optimizers.SGD(RATE)}
        self.model.compile(loss="categorical_crossentropy", optimizer=rates[optimizer], metrics=["accuracy"])
        if not fresh:
            self.model.set_weights(self.start)

    def step(self) -> float:
        return float(self.model.train_on_batch(self.x, self.y)[0])

    def run_steps(self, count: int) -> None:
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
        return self.model.predict(x, batch_size=self.job["batch_size"], verbose=0)

    def weights(self) -> list[np.ndarray]:
        return [np.array(w) for w in self.model.get_weights()]

    def peak(self, threads: int) -> float | None:
        """Floating-point operations per second that the threads reach from registers alone, two an FMA."""
        measure = getattr(fastseq._core, "fma_peak", None)
        return measure(threads) if measure else None
