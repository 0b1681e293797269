"""The loops of fit, evaluate and predict, as functions of a model."""

from __future__ import annotations

import signal
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastseq import data
from fastseq._arrays import Array, column, describe, floating, integer, message, number
from fastseq._symbol import Symbol
from fastseq.callbacks import CallbackList, History
from fastseq.data import Batches
from fastseq.graph import Plan
from fastseq.objective import Objective
from fastseq.progress import Progress

__all__ = ["evaluate", "fit", "gradients", "on_batch", "predict"]

PREDICT_BATCH = 128  # rows per step where the caller leaves the choice; fit and evaluate take Keras's 32


class _Interrupt:
    """Ctrl-C while training: noted, so that the batch in hand is finished; a second one is not waited for."""

    def __init__(self) -> None:
        self.asked = False
        self._installed = False

    def __enter__(self) -> _Interrupt:
        if (
            threading.current_thread() is threading.main_thread()
            and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        ):
            signal.signal(signal.SIGINT, self._note)
            self._installed = True
        return self

    def _note(self, number: int, frame: Any) -> None:
        self.asked = True
        self._restore()

    def _restore(self) -> None:
        if self._installed:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            self._installed = False

    def __exit__(self, *_: Any) -> None:
        self._restore()


# --- what users give ------------------------------------------------------------------------------


def _verbose(value: Any, function: str) -> int:
    if value == "auto":
        return 1
    if value not in (0, 1, 2):
        raise ValueError(message(function, "verbose", "be 0, 1, 2 or auto", describe(value)))
    return int(value)


def _batch_size(model: Any, value: Any, function: str, default: int = 32) -> int:
    fixed = next((s.shape[0] for s in model.inputs if s.shape[0] is not None), None)
    if value is None:
        return default if fixed is None else int(fixed)
    size: int = number(value, function, "batch_size", low=1, whole=True)
    if fixed is not None and size != fixed:
        raise ValueError(message(function, "batch_size", f"be the model's, {fixed}", str(size)))
    return size


def _input_columns(model: Any, x: Any, function: str) -> list[Array]:
    values = data.columns(x, model.input_names, function, "x")
    return data.as_columns(values, model.inputs, function, "x")


def _input_types(plan: Plan, inputs: Sequence[Symbol]) -> list[Any]:
    return [None if ids else symbol.dtype for ids, symbol in zip(plan.integer_inputs, inputs, strict=True)]


def _by_output(objective: Objective, y: Any, function: str) -> list[Any]:
    """The targets one by one, as they came."""
    alone = len(objective.names) == 1 and objective.takes_sequences(0)
    if alone and isinstance(y, dict) and objective.names[0] not in y:
        return [y]  # labels and their lengths
    return data.columns(y, objective.names, function, "y")


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


class _Source:
    """Inputs, targets and weights as one stream of batches.

    Args:
        model: The model, compiled.
        arrays: (input columns, target columns, weight columns).
        plan: Says which inputs stay integers.
        batch_size: Rows per batch.
        function: Who asks.
    """

    def __init__(
        self,
        model: Any,
        arrays: tuple[list[Any], list[Any], list[Any]],
        plan: Plan,
        batch_size: int,
        function: str,
    ) -> None:
        inputs, targets, weights = arrays
        objective: Objective = model.objective
        named = [("x", a) for a in inputs] + [("y", a) for a in targets]
        named += [("sample_weight", a) for a in weights]
        rows = data.same_rows(named, function)
        if rows == 0:
            raise ValueError(message(function, "x", "have at least 1 row", "0"))
        if any(s.shape[0] is not None for s in model.inputs) and rows % batch_size:
            rule = f"have a multiple of {batch_size} rows, the model's batch size"
            raise ValueError(message(function, "x", rule, str(rows)))
        types = _input_types(plan, model.inputs)
        types += [objective.target_type(k) for k in objective.compared]
        types += [None] * len(weights)
        self.batches = Batches([*inputs, *targets, *weights], types, batch_size)
        self.steps = self.batches.steps
        self._cuts = len(inputs), len(inputs) + len(targets)

    def epoch(self, shuffle: bool = False) -> Any:
        """(inputs, targets, weights) of every batch."""
        first, second = self._cuts
        for batch in self.batches.epoch(shuffle):
            yield batch[:first], batch[first:second], batch[second:]


def _arrays(
    model: Any, x: Any, y: Any, sample_weight: Any, class_weight: Any, function: str
) -> tuple[list[Any], list[Any], list[Any]]:
    model.ensure_built_for(x, function)
    inputs = _input_columns(model, x, function)
    objective: Objective = model.objective
    targets = _target_columns(objective, y, function)
    weights = _weight_columns(objective, sample_weight, class_weight, targets, function)
    return inputs, targets, weights


# --- fit ------------------------------------------------------------------------------------------


def fit(
    model: Any,
    x: Any,
    y: Any,
    *,
    batch_size: int | None,
    epochs: int,
    verbose: Any,
    callbacks: Any,
    validation_split: float,
    validation_data: Any,
    shuffle: bool,
    class_weight: Any,
    sample_weight: Any,
    initial_epoch: int,
    validation_batch_size: int | None,
    validation_freq: Any,
) -> History:
    """Trains a compiled model; see ``Model.fit``."""
    epochs = number(epochs, "fit", "epochs", low=0, whole=True)
    initial_epoch = number(initial_epoch, "fit", "initial_epoch", low=0, whole=True)
    verbose = _verbose(verbose, "fit")
    _due(0, validation_freq)
    arrays = _arrays(model, x, y, sample_weight, class_weight, "fit")
    held_out = None
    if validation_data is not None:
        if not isinstance(validation_data, (list, tuple)) or len(validation_data) not in (2, 3):
            rule = "be (x, y) or (x, y, sample_weight)"
            raise ValueError(message("fit", "validation_data", rule, describe(validation_data)))
        x_val, y_val, *w_val = validation_data
        held_out = _arrays(model, x_val, y_val, w_val[0] if w_val else None, None, "fit")
    elif validation_split:
        flat = [*arrays[0], *arrays[1], *arrays[2]]
        kept, last = data.split(flat, validation_split)
        arrays, held_out = _regroup(kept, arrays), _regroup(last, arrays)

    objective: Objective = model.objective
    plan = objective.plan_training(model.trainable_weights)
    size = _batch_size(model, batch_size, "fit")
    source = _Source(model, arrays, plan, size, "fit")
    validation = None
    if held_out is not None:
        held_size = size if validation_batch_size is None else validation_batch_size
        held_size = _batch_size(model, held_size, "fit")
        validation = _Source(model, held_out, objective.plan_testing(), held_size, "fit")

    history = History()
    model.history = history
    parameters = {"verbose": verbose, "epochs": epochs, "steps": source.steps}
    listeners = callbacks if isinstance(callbacks, CallbackList) else None
    if listeners is None:
        given = (
            [] if callbacks is None else callbacks if isinstance(callbacks, (list, tuple)) else [callbacks]
        )
        listeners = CallbackList([history, *given], model, parameters)
    model.stop_training = False
    logs: dict[str, float] = {}
    with _Interrupt() as interrupt:
        listeners.call("on_train_begin", {})
        try:
            for epoch in range(initial_epoch, epochs):
                logs = _epoch(model, source, validation, epoch, epochs, verbose, shuffle, validation_freq,
                              listeners, interrupt)  # fmt: skip
                if interrupt.asked:
                    raise KeyboardInterrupt
                if model.stop_training:
                    break
        except KeyboardInterrupt:
            listeners.call("on_train_end", logs)
            raise
        listeners.call("on_train_end", logs)
    return history


def _regroup(flat: Sequence[Any], like: tuple[list[Any], list[Any], list[Any]]) -> tuple[Any, Any, Any]:
    first, second = len(like[0]), len(like[0]) + len(like[1])
    return list(flat[:first]), list(flat[first:second]), list(flat[second:])


def _due(epoch: int, frequency: Any) -> bool:
    """Whether epoch number ``epoch``, from 0, ends with a validation."""
    if isinstance(frequency, (list, tuple, set)):
        return epoch + 1 in frequency
    every: int = number(frequency, "fit", "validation_freq", low=1, whole=True)
    return (epoch + 1) % every == 0


def _epoch(
    model: Any, source: _Source, validation: _Source | None, epoch: int, epochs: int, verbose: int,
    shuffle: bool, frequency: Any, listeners: CallbackList, interrupt: _Interrupt,
) -> dict[str, float]:  # fmt: skip
    """One epoch; returns its logs, or those so far where Ctrl-C cut it short."""
    objective: Objective = model.objective
    objective.reset()
    if verbose and epochs > 1:
        print(f"Epoch {epoch + 1}/{epochs}", flush=True)
    listeners.call("on_epoch_begin", epoch, {})
    progress = Progress(verbose, source.steps)
    before, after = listeners.hooks("on_train_batch_begin"), listeners.hooks("on_train_batch_end")
    for step, (inputs, targets, weights) in enumerate(source.epoch(shuffle)):
        for hook in before:
            hook(step, {})
        objective.train(inputs, targets, weights)
        if after:
            logs = objective.logs()
            for hook in after:
                hook(step, logs)
        if interrupt.asked or model.stop_training:
            break
        progress.update(step + 1, objective.logs)
    logs = objective.logs()
    if interrupt.asked:
        progress.abandon()
        return logs
    if validation is not None and _due(epoch, frequency):
        held = _test(model, validation, listeners, interrupt)
        if interrupt.asked:
            progress.abandon()
            return logs
        logs.update({f"val_{name}": value for name, value in held.items()})
    progress.finish(logs)
    listeners.call("on_epoch_end", epoch, logs)
    return logs


# --- evaluate -------------------------------------------------------------------------------------


def _test(
    model: Any,
    source: _Source,
    listeners: CallbackList,
    interrupt: _Interrupt | None,
    progress: Progress | None = None,
) -> dict[str, float]:
    """One run over the data without training."""
    objective: Objective = model.objective
    objective.plan_testing()
    objective.reset()
    listeners.call("on_test_begin", {})
    before, after = listeners.hooks("on_test_batch_begin"), listeners.hooks("on_test_batch_end")
    for step, (inputs, targets, weights) in enumerate(source.epoch()):
        for hook in before:
            hook(step, {})
        objective.test(inputs, targets, weights)
        for hook in after:
            hook(step, objective.logs())
        if interrupt is not None and interrupt.asked:
            break
        if progress is not None:
            progress.update(step + 1, objective.logs)
    logs = objective.logs()
    listeners.call("on_test_end", logs)
    return logs


def _listeners(callbacks: Any, model: Any, verbose: int, steps: int) -> CallbackList:
    if isinstance(callbacks, CallbackList):
        return callbacks
    given = [] if callbacks is None else callbacks if isinstance(callbacks, (list, tuple)) else [callbacks]
    return CallbackList(given, model, {"verbose": verbose, "epochs": 1, "steps": steps})


def evaluate(
    model: Any, x: Any, y: Any, *, batch_size: int | None, verbose: Any, sample_weight: Any, callbacks: Any
) -> None:
    """Counts the losses and metrics of a compiled model in its objective; see ``Model.evaluate``."""
    verbose = _verbose(verbose, "evaluate")
    arrays = _arrays(model, x, y, sample_weight, None, "evaluate")
    size = _batch_size(model, batch_size, "evaluate")
    source = _Source(model, arrays, model.objective.plan_testing(), size, "evaluate")
    progress = Progress(verbose, source.steps)
    logs = _test(model, source, _listeners(callbacks, model, verbose, source.steps), None, progress)
    progress.finish(logs)


# --- predict --------------------------------------------------------------------------------------


def predict(model: Any, x: Any, *, batch_size: int | None, verbose: Any, callbacks: Any) -> list[Array]:
    """The outputs for many rows; see ``Model.predict``."""
    verbose = _verbose(verbose, "predict")
    model.ensure_built_for(x, "predict")
    inputs = _input_columns(model, x, "predict")
    rows = data.same_rows([("x", array) for array in inputs], "predict")
    plan: Plan = model.predict_plan()
    size = _batch_size(model, batch_size, "predict", PREDICT_BATCH)
    types = _input_types(plan, model.inputs)
    if any(s.shape[0] is not None for s in model.inputs) and rows % size:
        rule = f"have a multiple of {size} rows, the model's batch size"
        raise ValueError(message("predict", "x", rule, str(rows)))
    batches = Batches(inputs, types, size)
    listeners = _listeners(callbacks, model, verbose, batches.steps)
    progress = Progress(verbose, batches.steps)
    listeners.call("on_predict_begin", {})
    results: list[Array] = []
    if rows == 0:
        empty = [array.astype(kind or array.dtype) for array, kind in zip(inputs, types, strict=True)]
        results = plan.run(empty)
    at = 0
    for step, batch in enumerate(batches.epoch()):
        listeners.call("on_predict_batch_begin", step, {})
        outputs = plan.run(batch)
        if not results:
            results = [np.empty((rows, *output.shape[1:]), output.dtype) for output in outputs]
        for result, output in zip(results, outputs, strict=True):
            result[at : at + len(output)] = output
        at += len(batch[0])
        listeners.call("on_predict_batch_end", step, {"outputs": outputs})
        progress.update(step + 1, dict)
    listeners.call("on_predict_end", {})
    progress.finish({})
    return results


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


def _one_batch(
    model: Any, x: Any, y: Any, sample_weight: Any, class_weight: Any, train: bool, function: str
) -> _Batch:
    """(the objective with its plan made, the inputs, the targets, their weights), checked and converted."""
    objective: Objective = model.objective
    if objective.losses is None:
        model.ensure_built_for(x, function)
        objective = model.objective
        _target_columns(objective, y, function)
    if train:
        plan = objective.plan_training(model.trainable_weights) if not objective.ready else objective.ready
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


def on_batch(model: Any, x: Any, y: Any, sample_weight: Any, class_weight: Any, train: bool) -> None:
    """One training step, or one of evaluation, on one batch; the objective holds the results."""
    function = "train_on_batch" if train else "test_on_batch"
    objective, *batch = _one_batch(model, x, y, sample_weight, class_weight, train, function)
    objective.reset()
    if train:
        objective.train(*batch)
    else:
        objective.test(*batch)


def gradients(model: Any, x: Any, y: Any, sample_weight: Any, class_weight: Any) -> list[Array]:
    """The gradients of the loss of one batch; see ``Model.gradients``."""
    objective, *batch = _one_batch(model, x, y, sample_weight, class_weight, True, "gradients")
    return objective.gradients(*batch)
