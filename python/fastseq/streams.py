"""Batches that come one by one, from datasets and generators, made to fit a model."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from fastseq import data
from fastseq._arrays import describe, message, number
from fastseq._random import draw_seed, generator, random_state, set_random_state
from fastseq.sources import Source, batch_inputs, never, one_batch

__all__ = ["DatasetSource", "IterableSource", "StreamSource", "stream_source"]


class StreamSource(Source):
    """Batches as a user's code makes them, each checked and converted as it comes.

    Args:
        model: The model.
        steps: Batches per epoch, or None for all there are.
        class_weight: As for ``fit``.
        function: Who asks: "fit", "evaluate" or "predict".
    """

    def __init__(self, model: Any, steps: int | None, class_weight: Any, function: str) -> None:
        self.model = model
        self.steps = steps
        self._class_weight = class_weight
        self._function = function

    def prepare(self) -> None:
        """Makes the model ready for batches like the first, if it waits for that."""
        model = self.model
        if not model.built or (self._function != "predict" and model.objective.losses is None):
            self._fitted(self.first())

    def first(self) -> Any:
        """The first batch, which still comes."""
        raise NotImplementedError

    def _fitted(self, batch: Any) -> Any:
        x, y, weights = data.parts(batch)
        if self._function == "predict":
            self.model.ensure_built_for(x, "predict")
            return batch_inputs(self.model, x, self.model.predict_plan(), "predict"), [], []
        if y is None:
            rule = "give (x, y) or (x, y, sample_weight)"
            raise ValueError(message(self._function, "x", rule, "batches without y"))
        train = self._function == "fit"
        _, *arrays = one_batch(self.model, x, y, weights, self._class_weight, train, self._function)
        return arrays

    def epoch(
        self, shuffle: bool = False, cancelled: Callable[[], bool] = never, first: int = 0
    ) -> Iterator[Any]:
        for batch in self._batches(shuffle, cancelled, first):
            yield self._fitted(batch)

    def _batches(self, shuffle: bool, cancelled: Callable[[], bool], first: int) -> Iterator[Any]:
        raise NotImplementedError


class IterableSource(StreamSource):
    """What a generator, or an object that can be iterated over again, gives; in the calling thread."""

    def __init__(
        self, iterable: Any, model: Any, steps: int | None, class_weight: Any, function: str
    ) -> None:
        self._iterable = iterable
        self._iterator: Iterator[Any] = iter(iterable)
        self._once = self._iterator is iterable or hasattr(iterable, "__next__")
        self._ahead: list[Any] = []  # the next batch where it has been looked at
        if steps is None and not self._once and hasattr(iterable, "__len__"):
            steps = len(iterable)
        self._endless = steps is not None
        super().__init__(model, steps, class_weight, function)

    def first(self) -> Any:
        if not self.more():
            raise ValueError(message(self._function, "x", "give at least 1 batch", "none"))
        return self._ahead[0]

    def more(self) -> bool:
        if not self._ahead:
            self._ahead = list(itertools.islice(self._iterator, 1))
        if not self._ahead and not self._once:
            self._iterator = iter(self._iterable)
            self._ahead = list(itertools.islice(self._iterator, 1))
        return bool(self._ahead)

    def _batches(self, shuffle: bool, cancelled: Callable[[], bool], first: int) -> Iterator[Any]:
        for step in itertools.count() if self.steps is None else range(first, self.steps):
            if not self._ahead and self._ends(step - first):
                if self.steps is not None:
                    got = f"{step} in its last epoch"
                    rule = f"give {self.steps} batches for every epoch"
                    warnings.warn(message(self._function, "x", rule, got), stacklevel=2)
                return
            yield self._ahead.pop()

    def _ends(self, step: int) -> bool:
        """Whether there is no more; where the length of epochs is known, the next pass belongs to it, too."""
        if step == 0 or self.steps is not None:
            return not self.more()
        self._ahead = list(itertools.islice(self._iterator, 1))
        return not self._ahead


class DatasetSource(StreamSource):
    """The batches of a PyDataset, made here or by worker processes."""

    def __init__(self, dataset: Any, model: Any, steps: int | None, class_weight: Any, function: str) -> None:
        self._dataset = dataset
        self._count = dataset.num_batches
        if self._count == 0:
            raise ValueError(message(function, "x", "have at least 1 batch", "0"))
        if self._count is None and steps is None:
            argument = "steps_per_epoch" if function == "fit" else "steps"
            rule = "be given for a dataset without an end"
            raise ValueError(message(function, argument, rule, "None"))
        super().__init__(model, self._count if steps is None else steps, class_weight, function)
        workers = number(dataset.workers, function, "workers", low=0, whole=True)
        ahead = number(dataset.max_queue_size, function, "max_queue_size", low=1, whole=True)
        self._whole = steps is None
        self._order: Iterator[int] = iter(())
        self._begun: dict[str, Any] | None = None  # the generator before this pass was shuffled
        self._taken = 0  # batches of this pass, those made ahead not counted
        self._seed: int | None = None  # of the random numbers in this epoch's batches
        self._workers: Any = None
        if workers > 1 or (workers == 1 and dataset.use_multiprocessing):
            from fastseq.data.workers import Workers  # costs more to import than most runs need

            self._workers = Workers(dataset, workers, ahead, function)

    def first(self) -> Any:
        return self._dataset[0]

    def _indices(self, shuffle: bool, first: int) -> Iterator[tuple[int, dict[str, Any] | None, int]]:
        """Those of one epoch, each with where its pass began and how far it has come."""
        begun, taken = self._begun, self._taken
        for _ in range(first, self.steps or 0):
            index = next(self._order, None)
            if index is None:
                begun, taken = random_state() if shuffle else None, 0
                self._order = self._new_order(shuffle)
                index = next(self._order)
            taken += 1
            yield index, begun, taken

    def _new_order(self, shuffle: bool) -> Iterator[int]:
        if self._count is None:
            return itertools.count()
        return iter(generator().permutation(self._count).tolist() if shuffle else range(self._count))

    def state(self) -> dict[str, Any]:
        return {"begun": self._begun, "taken": self._taken, "seed": self._seed}

    def restore(self, state: dict[str, Any], shuffle: bool) -> None:
        self._begun, self._taken, self._seed = state["begun"], int(state["taken"]), state["seed"]
        if self._begun is not None:
            set_random_state(self._begun)
        order = self._new_order(shuffle and self._begun is not None)
        self._order = itertools.islice(order, self._taken, None)

    def _batches(self, shuffle: bool, cancelled: Callable[[], bool], first: int) -> Iterator[Any]:
        self._dataset.on_epoch_begin()
        planned = list(self._indices(shuffle, first))
        if self._seed is None or not first:
            self._seed = draw_seed()
        made = self._made([index for index, _, _ in planned], self._seed, cancelled)
        for batch, (_, begun, taken) in zip(made, planned, strict=False):
            self._begun, self._taken = begun, taken
            yield batch
        self._dataset.on_epoch_end()
        self._count = self._dataset.num_batches  # may be another now
        if self._whole:
            self.steps = self._count

    def _made(self, indices: list[int], seed: int, cancelled: Callable[[], bool]) -> Iterator[Any]:
        if self._workers is None:
            return (self._dataset[index] for index in indices)
        self._workers.begin_epoch()
        made: Iterator[Any] = self._workers.load(indices, seed, cancelled)
        return made

    def close(self) -> None:
        if self._workers is not None:
            self._workers.close()


def stream_source(
    x: Any, model: Any, steps: Any, class_weight: Any, function: str, **must_be_none: Any
) -> StreamSource:
    """The source of batches that a dataset, a generator or another iterable is.

    Args:
        x: What gives them.
        model: The model.
        steps: Batches per epoch, or None.
        class_weight: As for ``fit``.
        function: Who asks.
        must_be_none: Arguments that belong to arrays, by name.
    Raises:
        ValueError: One of these is given.
    """
    for argument, value in must_be_none.items():
        if value is not None:
            rule = f"be None where x is a {type(x).__name__}"
            raise ValueError(message(function, argument, rule, describe(value)))
    made = DatasetSource if data.is_dataset(x) else IterableSource
    return made(x, model, steps, class_weight, function)
