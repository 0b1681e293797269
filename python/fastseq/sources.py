"""What users give to fit, evaluate and predict, made into batches that fit a model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from fastseq import data
from fastseq._arrays import Array, column, floating, integer, message, number
from fastseq._random import random_state, set_random_state
from fastseq._symbol import Symbol
from fastseq.data import Batches
from fastseq.graph import Plan
from fastseq.objective import Objective

__all__ = [
    "ArraySource",
    "Source",
    "as_arrays",
    "batch_inputs",
    "batch_size_of",
    "input_columns",
    "input_types",
    "never",
    "one_batch",
]


def never() -> bool:
    """No, as an answer to whether something has been cancelled."""
    return False


# --- columns --------------------------------------------------------------------------------------


def batch_size_of(model: Any, value: Any, function: str, default: int = 32) -> int:
    fixed = next((s.shape[0] for s in model.inputs if s.shape[0] is not None), None)
    if value is None:
        return default if fixed is None else int(fixed)
    size: int = number(value, function, "batch_size", low=1, whole=True)
    if fixed is not None and size != fixed:
        raise ValueError(message(function, "batch_size", f"be the model's, {fixed}", str(size)))
    return size


def input_columns(model: Any, x: Any, function: str) -> list[Array]:
    values = data.columns(x, model.input_names, function, "x")
    return data.as_columns(values, model.inputs, function, "x")


def input_types(plan: Plan, inputs: Sequence[Symbol]) -> list[Any]:
    return [None if ids else symbol.dtype for ids, symbol in zip(plan.integer_inputs, inputs, strict=True)]


def _by_output(objective: Objective, y: Any, function: str) -> list[Any]:
    """The targets one by one, as they came."""
    alone = len(objective.names) == 1 and objective.takes_sequences(0)
    if alone and isinstance(y, dict) and objective.names[0] not in y:
        return [y]  # labels and their lengths
    if alone and isinstance(y, (list, tuple)) and len(y) == 1:
        return [y if _is_row(y[0]) else y[0]]  # the labels of one row, or the targets of the one output
    return data.columns(y, objective.names, function, "y")


def _is_row(values: Any) -> bool:
    """Whether these can be the labels of one row, rather than rows of them."""
    if isinstance(values, dict):
        return False
    return not (isinstance(values, (list, tuple, np.ndarray)) and len(values) > 0 and np.iterable(values[0]))


def _target_shapes(objective: Objective, y: Any, function: str) -> list[Any]:
    """The targets one by one, losses and metrics having been fixed by their shapes."""
    values = _by_output(objective, y, function)
    for k, value in enumerate(values):
        if value is not None and not objective.takes_sequences(k):
            values[k] = column(value, function, "y")
    objective.resolve([getattr(value, "shape", None) for value in values])
    return values


def _target_columns(objective: Objective, y: Any, function: str) -> list[Any]:
    """A dataset's column per compared output."""
    if y is None:
        raise ValueError(message(function, "y", "be given", "None"))
    values = _target_shapes(objective, y, function)
    made = []
    for k in objective.compared:
        loss, symbol, value = objective.loss_of(k), objective.like(k), values[k]
        if value is None:
            raise ValueError(message(function, "y", f"hold targets for output {objective.names[k]}", "None"))
        if loss is not None:
            made.append(loss.column(value, symbol, function, "y"))
        else:
            made.append(data.fits(value, symbol, function, "y"))
    return made


def _weight_columns(
    objective: Objective, sample_weight: Any, class_weight: Any, targets: Sequence[Array], function: str
) -> list[Any]:
    if class_weight is None:
        weights = data.sample_weights(sample_weight, objective.names, function)
        return [weights[k] for k in objective.compared]
    if sample_weight is not None:
        raise ValueError(message(function, "class_weight", "be None where sample_weight is given", "both"))
    if len(objective.compared) != 1:
        raise ValueError(
            message(function, "class_weight", "be None for a model of several outputs", "a dict")
        )
    loss = objective.loss_of(objective.compared[0])
    if loss is not None and loss.sequences:
        raise ValueError(message(function, "class_weight", f"be None with the loss {loss.name}", "a dict"))
    return [data.class_weights(targets[0], class_weight, loss is not None and loss.sparse)]


class Source:
    """Where the batches of fit, evaluate or predict come from.

    Attributes:
        steps: How many batches an epoch has; None where only its end will tell.
    """

    steps: int | None = None

    def prepare(self) -> None:
        """Makes the model ready for its batches, if it waits for them."""

    def epoch(
        self, shuffle: bool = False, cancelled: Callable[[], bool] = never, first: int = 0
    ) -> Iterator[Any]:
        """(inputs, targets, weights) of every batch of one epoch, each valid until the next.

        Args:
            shuffle: Whether they come in a new random order.
            cancelled: Asked where a batch has to be waited for; where it says yes, no more come.
            first: How many of the epoch have come before, as ``restore`` knows.
        """
        raise NotImplementedError

    def state(self) -> dict[str, Any]:
        """Where it stands, as plain values."""
        return {}

    def restore(self, state: dict[str, Any], shuffle: bool) -> None:
        """Goes on from where ``state`` found it; moves the random generator."""

    def more(self) -> bool:
        """Whether there is another epoch."""
        return True

    def close(self) -> None:
        """Ends what works for it."""


class ArraySource(Source):
    """Inputs, targets and weights as one stream of batches.

    Args:
        model: The model, compiled.
        arrays: (input columns, target columns, weight columns).
        plan: Says which inputs stay integers.
        batch_size: Rows per batch.
        function: Who asks.
        steps: Batches per epoch, which goes on where the one before ended; None for all of them.
    """

    def __init__(
        self,
        model: Any,
        arrays: tuple[list[Any], list[Any], list[Any]],
        plan: Plan,
        batch_size: int,
        function: str,
        steps: int | None = None,
    ) -> None:
        inputs, targets, weights = arrays
        named = [("x", a) for a in inputs] + [("y", a) for a in targets]
        named += [("sample_weight", a) for a in weights]
        rows = data.same_rows(named, function)
        if rows == 0:
            raise ValueError(message(function, "x", "have at least 1 row", "0"))
        if any(s.shape[0] is not None for s in model.inputs) and rows % batch_size:
            rule = f"have a multiple of {batch_size} rows, the model's batch size"
            raise ValueError(message(function, "x", rule, str(rows)))
        types = input_types(plan, model.inputs)
        if targets:
            types += [model.objective.target_type(k) for k in model.objective.compared]
        types += [None] * len(weights)
        self.batches = Batches([*inputs, *targets, *weights], types, batch_size)
        self.steps = self.batches.steps if steps is None else steps
        self._pass: Iterator[Any] = iter(())
        self._begun: dict[str, Any] | None = None  # the generator before this pass was shuffled
        self._taken = 0  # batches of this pass
        self._cuts = len(inputs), len(inputs) + len(targets)

    def epoch(
        self, shuffle: bool = False, cancelled: Callable[[], bool] = never, first: int = 0
    ) -> Iterator[Any]:
        inputs, targets = self._cuts
        for batch in self._lists(shuffle, first):
            yield batch[:inputs], batch[inputs:targets], batch[targets:]

    def _lists(self, shuffle: bool, first: int) -> Iterator[Any]:
        for _ in range(first, self.steps or 0):
            batch = next(self._pass, None)
            if batch is None:
                self._begun, self._taken = random_state() if shuffle else None, 0
                self._pass = self.batches.epoch(shuffle)
                batch = next(self._pass)
            self._taken += 1
            yield batch

    def state(self) -> dict[str, Any]:
        return {"begun": self._begun, "taken": self._taken}

    def restore(self, state: dict[str, Any], shuffle: bool) -> None:
        self._begun, self._taken = state["begun"], int(state["taken"])
        if self._begun is not None:
            set_random_state(self._begun)
        self._pass = self.batches.epoch(shuffle and self._begun is not None, self._taken)


def as_arrays(
    model: Any, x: Any, y: Any, sample_weight: Any, class_weight: Any, function: str
) -> tuple[list[Any], list[Any], list[Any]]:
    model.ensure_built_for(x, function)
    inputs = input_columns(model, x, function)
    objective: Objective = model.objective
    targets = _target_columns(objective, y, function)
    weights = _weight_columns(objective, sample_weight, class_weight, targets, function)
    return inputs, targets, weights


# --- one batch ------------------------------------------------------------------------------------


def batch_inputs(model: Any, x: Any, plan: Plan, function: str) -> list[Array]:
    """One batch of inputs, checked and converted."""
    made = []
    values = [x] if isinstance(x, np.ndarray) and len(model.inputs) == 1 else data.columns(
        x, model.input_names, function, "x"
    )  # fmt: skip
    for value, symbol, ids in zip(values, model.inputs, plan.integer_inputs, strict=True):
        array = integer(value, function, "x") if ids else floating(value, function, "x", dtype=symbol.dtype)
        made.append(data.fits(array, symbol, function, "x"))
    return made


_Batch = tuple[Objective, list[Array], list[Array], list[Any]]


def one_batch(
    model: Any, x: Any, y: Any, sample_weight: Any, class_weight: Any, train: bool, function: str
) -> _Batch:
    """(the objective with its plan made, the inputs, the targets, their weights), checked and converted."""
    objective: Objective = model.objective
    if objective.losses is None:
        model.ensure_built_for(x, function)
        objective = model.objective
        _target_columns(objective, y, function)
    if train:
        plan = objective.ready or objective.plan_training(model.trainable_weights)
    else:
        plan = objective.plan_testing()
    inputs = batch_inputs(model, x, plan, function)
    compared = objective.compared
    values = _by_output(objective, y, function)
    targets = [objective.check_target(k, values[k], function) for k in compared]
    for target in targets:
        if len(target) != len(inputs[0]):
            data.same_rows([("x", inputs[0]), ("y", target)], function)
    if sample_weight is None and class_weight is None:
        return objective, inputs, targets, [None] * len(compared)
    weights = _weight_columns(objective, sample_weight, class_weight, targets, function)
    return objective, inputs, targets, weights
