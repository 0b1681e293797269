"""TensorBoard: losses, metrics and weights as event files, written by its package without TensorFlow."""

from __future__ import annotations

import os
from time import perf_counter, time
from typing import Any

from fastseq._arrays import describe, message, number
from fastseq.callbacks.base import Callback

__all__ = ["TensorBoard"]


class TensorBoard(Callback):
    """Writes event files: ``train`` and ``validation`` below ``log_dir``, with Keras's tags.

    Args:
        log_dir: The folder.
        histogram_freq: Every how many epochs the weights' histograms are written; 0 for never.
        write_graph: Accepted for Keras's sake: graphs are not written.
        write_images: Must be False.
        write_steps_per_second: Whether the steps per second of each epoch are written.
        update_freq: "epoch"; "batch", or every how many batches the running means are written, too.
        profile_batch: Must be 0.
        embeddings_freq: Must be 0.
        embeddings_metadata: Must be None.
    Raises:
        RuntimeError: The package ``tensorboard`` is not installed.
    """

    def __init__(
        self,
        log_dir: str | os.PathLike[str] = "logs",
        histogram_freq: int = 0,
        write_graph: bool = True,
        write_images: bool = False,
        write_steps_per_second: bool = False,
        update_freq: Any = "epoch",
        profile_batch: Any = 0,
        embeddings_freq: int = 0,
        embeddings_metadata: Any = None,
    ) -> None:
        super().__init__()
        for argument, value in (
            ("write_images", write_images), ("profile_batch", profile_batch),
            ("embeddings_freq", embeddings_freq), ("embeddings_metadata", embeddings_metadata),
        ):  # fmt: skip
            if value:
                raise ValueError(message("TensorBoard", argument, "be left out", describe(value)))
        try:
            from tensorboard.plugins.histogram.summary_v2 import histogram_pb
            from tensorboard.plugins.scalar.summary_v2 import scalar_pb
        except ImportError:
            raise RuntimeError(
                "TensorBoard: tensorboard must be installed (pip install 'fastseq[tensorboard]'), "
                "got no such module"
            ) from None
        self._scalar, self._histogram = scalar_pb, histogram_pb
        self.log_dir = os.fspath(log_dir)
        self.histogram_freq = number(histogram_freq, "TensorBoard", "histogram_freq", low=0, whole=True)
        self.write_steps_per_second = bool(write_steps_per_second)
        every = 1 if update_freq == "batch" else update_freq
        self.update_freq = (
            every if every == "epoch" else number(every, "TensorBoard", "update_freq", low=1, whole=True)
        )
        self._writers: dict[str, Any] = {}
        self._step = self._test_step = 0
        self._begin = (0.0, 0)

    def _write(self, run: str, summary: Any, step: int) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        if run not in self._writers:
            self._writers[run] = EventFileWriter(os.path.join(self.log_dir, run))
        self._writers[run].add_event(Event(wall_time=time(), step=step, summary=summary))

    def _scalars(self, run: str, values: dict[str, float], step: int) -> None:
        for tag, value in values.items():
            self._write(run, self._scalar(tag, float(value)), step)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._begin = (perf_counter(), self._step)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self._step += 1
        if self.update_freq != "epoch" and self._step % self.update_freq == 0:
            values = {f"batch_{name}": value for name, value in (logs or {}).items()}
            self._scalars("train", values, self._step)

    def on_test_end(self, logs: dict[str, Any] | None = None) -> None:
        values = {f"evaluation_{name}_vs_iterations": value for name, value in (logs or {}).items()}
        self._scalars("validation", values, self.model.optimizer.iterations)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        own = {name: value for name, value in (logs or {}).items() if not name.startswith("val_")}
        held = {
            name.removeprefix("val_"): value
            for name, value in (logs or {}).items()
            if name.startswith("val_")
        }
        own["learning_rate"] = float(self.model.optimizer.learning_rate)
        self._scalars("train", {f"epoch_{name}": value for name, value in own.items()}, epoch)
        self._scalars("validation", {f"epoch_{name}": value for name, value in held.items()}, epoch)
        if self.write_steps_per_second:
            begin, step = self._begin
            rate = (self._step - step) / (perf_counter() - begin)
            self._scalars("train", {"epoch_steps_per_second": rate}, epoch)
        if self.histogram_freq and epoch % self.histogram_freq == 0:
            for variable in self.model.weights:
                self._write("train", self._histogram(f"{variable.name}/histogram", variable.numpy()), epoch)
        for writer in self._writers.values():
            writer.flush()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        for writer in self._writers.values():
            writer.close()
        self._writers = {}

    def get_state(self) -> dict[str, Any]:
        return {"step": self._step}

    def set_state(self, state: dict[str, Any]) -> None:
        self._step = int(state["step"])
