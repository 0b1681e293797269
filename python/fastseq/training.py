"""The loops of fit, evaluate and predict, as functions of a model."""

from __future__ import annotations

import signal
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastseq import data
from fastseq._arrays import Array, describe, message, number
from fastseq.callbacks import CallbackList, History
from fastseq.data import Batches
from fastseq.graph import Plan
from fastseq.objective import Objective
from fastseq.progress import Progress
from fastseq.sources import ArraySource, as_arrays, batch_size_of, input_columns, input_types, one_batch

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
    arrays = as_arrays(model, x, y, sample_weight, class_weight, "fit")
    held_out = None
    if validation_data is not None:
        if not isinstance(validation_data, (list, tuple)) or len(validation_data) not in (2, 3):
            rule = "be (x, y) or (x, y, sample_weight)"
            raise ValueError(message("fit", "validation_data", rule, describe(validation_data)))
        x_val, y_val, *w_val = validation_data
        held_out = as_arrays(model, x_val, y_val, w_val[0] if w_val else None, None, "fit")
    elif validation_split:
        flat = [*arrays[0], *arrays[1], *arrays[2]]
        kept, last = data.split(flat, validation_split)
        arrays, held_out = _regroup(kept, arrays), _regroup(last, arrays)

    objective: Objective = model.objective
    plan = objective.plan_training(model.trainable_weights)
    size = batch_size_of(model, batch_size, "fit")
    source = ArraySource(model, arrays, plan, size, "fit")
    validation = None
    if held_out is not None:
        held_size = size if validation_batch_size is None else validation_batch_size
        held_size = batch_size_of(model, held_size, "fit")
        validation = ArraySource(model, held_out, objective.plan_testing(), held_size, "fit")

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
    model: Any, source: ArraySource, validation: ArraySource | None, epoch: int, epochs: int, verbose: int,
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
    source: ArraySource,
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
    arrays = as_arrays(model, x, y, sample_weight, None, "evaluate")
    size = batch_size_of(model, batch_size, "evaluate")
    source = ArraySource(model, arrays, model.objective.plan_testing(), size, "evaluate")
    progress = Progress(verbose, source.steps)
    logs = _test(model, source, _listeners(callbacks, model, verbose, source.steps), None, progress)
    progress.finish(logs)


# --- predict --------------------------------------------------------------------------------------


def predict(model: Any, x: Any, *, batch_size: int | None, verbose: Any, callbacks: Any) -> list[Array]:
    """The outputs for many rows; see ``Model.predict``."""
    verbose = _verbose(verbose, "predict")
    model.ensure_built_for(x, "predict")
    inputs = input_columns(model, x, "predict")
    rows = data.same_rows([("x", array) for array in inputs], "predict")
    plan: Plan = model.predict_plan()
    size = batch_size_of(model, batch_size, "predict", PREDICT_BATCH)
    types = input_types(plan, model.inputs)
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


def on_batch(model: Any, x: Any, y: Any, sample_weight: Any, class_weight: Any, train: bool) -> None:
    """One training step, or one of evaluation, on one batch; the objective holds the results."""
    function = "train_on_batch" if train else "test_on_batch"
    objective, *batch = one_batch(model, x, y, sample_weight, class_weight, train, function)
    objective.reset()
    if train:
        objective.train(*batch)
    else:
        objective.test(*batch)


def gradients(model: Any, x: Any, y: Any, sample_weight: Any, class_weight: Any) -> list[Array]:
    """The gradients of the loss of one batch; see ``Model.gradients``."""
    objective, *batch = one_batch(model, x, y, sample_weight, class_weight, True, "gradients")
    return objective.gradients(*batch)
