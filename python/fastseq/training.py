"""The loops of fit, evaluate and predict, as functions of a model."""

from __future__ import annotations

import contextlib
import signal
import threading
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from fastseq import data
from fastseq._arrays import Array, describe, message, number
from fastseq.callbacks import Callback, CallbackList, History
from fastseq.graph import Plan
from fastseq.objective import Objective
from fastseq.progress import Progress
from fastseq.run import Run
from fastseq.sources import (
    ArraySource,
    Source,
    as_arrays,
    batch_size_of,
    input_columns,
    input_types,
    one_batch,
)
from fastseq.streams import stream_source

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

    def was_asked(self) -> bool:
        """Whether Ctrl-C was pressed."""
        return self.asked

    def _note(self, number: int, frame: Any) -> None:
        self.asked = True
        self._restore()

    def _restore(self) -> None:
        if self._installed:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            self._installed = False

    def __exit__(self, *_: Any) -> None:
        self._restore()


@contextlib.contextmanager
def _own_weights(model: Any) -> Iterator[None]:
    """Puts a model's weights back where an error or Ctrl-C keeps a callback from doing so."""
    optimizer = model.optimizer
    if optimizer is None:
        yield
        return
    averaged, holds = optimizer.averaged, optimizer.holds
    try:
        yield
    except BaseException:
        with _Interrupt():  # a further Ctrl-C does not end this halfway
            while optimizer.holds > holds:
                optimizer.release_averages()
            optimizer.swap_averages(averaged)
        raise


# --- what users give ------------------------------------------------------------------------------


def _verbose(value: Any, function: str) -> int:
    if value == "auto":
        return 1
    if value not in (0, 1, 2):
        raise ValueError(message(function, "verbose", "be 0, 1, 2 or auto", describe(value)))
    return int(value)


def _steps(value: Any, function: str, argument: str) -> int | None:
    return None if value is None else number(value, function, argument, low=1, whole=True)


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
    steps_per_epoch: int | None,
    validation_steps: int | None,
    validation_batch_size: int | None,
    validation_freq: Any,
) -> History:
    """Trains a compiled model; see ``Model.fit``."""
    epochs = number(epochs, "fit", "epochs", low=0, whole=True)
    initial_epoch = number(initial_epoch, "fit", "initial_epoch", low=0, whole=True)
    verbose = _verbose(verbose, "fit")
    _due(0, validation_freq)
    steps_per_epoch = _steps(steps_per_epoch, "fit", "steps_per_epoch")
    validation_steps = _steps(validation_steps, "fit", "validation_steps")
    source, held_out = _training_source(
        model, x, y, sample_weight, class_weight, batch_size, steps_per_epoch,
        0.0 if validation_data is not None else validation_split,
    )  # fmt: skip
    validation = _validation_source(
        model, held_out, validation_data, batch_size, validation_batch_size, validation_steps
    )
    history = History()
    model.history = history
    parameters = {"verbose": verbose, "epochs": epochs, "steps": source.steps}
    listeners = _listeners(callbacks, model, parameters, history)
    model.stop_training = False
    try:
        with _own_weights(model), _Interrupt() as interrupt:
            run = Run(model, source, validation, epochs, verbose, shuffle, validation_freq,
                       listeners, interrupt)  # fmt: skip
            _epochs(run, initial_epoch)
    finally:
        source.close()
        if validation is not None:
            validation.close()
    return history


def _training_source(
    model: Any,
    x: Any,
    y: Any,
    sample_weight: Any,
    class_weight: Any,
    batch_size: int | None,
    steps: int | None,
    share: float,
) -> tuple[Source, Any]:
    """(what to train on, the columns of the ``share`` of the rows that are held out or None)."""
    held_out = None
    if data.is_stream(x):
        stream = stream_source(x, model, steps, class_weight, "fit", y=y, sample_weight=sample_weight,
                               validation_split=share or None)  # fmt: skip
        stream.prepare()
        model.objective.plan_training(model.trainable_weights)
        return stream, None
    arrays = as_arrays(model, x, y, sample_weight, class_weight, "fit")
    if share:
        flat = [*arrays[0], *arrays[1], *arrays[2]]
        kept, last = data.split(flat, share)
        arrays, held_out = _regroup(kept, arrays), _regroup(last, arrays)
    plan = model.objective.plan_training(model.trainable_weights)
    size = batch_size_of(model, batch_size, "fit")
    return ArraySource(model, arrays, plan, size, "fit", steps), held_out


def _validation_source(
    model: Any,
    held_out: Any,
    given: Any,
    batch_size: int | None,
    own_batch_size: int | None,
    steps: int | None,
) -> Source | None:
    """What to validate on, or None."""
    if given is not None and data.is_stream(given):
        return stream_source(given, model, steps, None, "evaluate")
    if given is not None:
        if not isinstance(given, (list, tuple)) or len(given) not in (2, 3):
            rule = "be (x, y), (x, y, sample_weight), a dataset or a generator"
            raise ValueError(message("fit", "validation_data", rule, describe(given)))
        x, y, *weights = given
        held_out = as_arrays(model, x, y, weights[0] if weights else None, None, "fit")
    if held_out is None:
        return None
    size = batch_size_of(model, batch_size if own_batch_size is None else own_batch_size, "fit")
    return ArraySource(model, held_out, model.objective.plan_testing(), size, "fit", steps)


def _epochs(run: Run, initial_epoch: int) -> None:
    """All epochs, between the beginning and the end of training."""
    model, listeners = run.model, run.listeners
    for callback in listeners.callbacks:
        callback.run = run
    run.epoch = initial_epoch
    logs: dict[str, float] = {}
    try:
        listeners.call("on_train_begin", {})
        while run.epoch < run.epochs and not model.stop_training:
            if not run.source.more():
                got = f"none after {run.epoch} epoch{'s' * (run.epoch != 1)}"
                warnings.warn(message("fit", "x", "give batches for every epoch", got), stacklevel=4)
                break
            logs = _epoch(run)
            if run.interrupt.asked:
                raise KeyboardInterrupt
    except KeyboardInterrupt:
        with _Interrupt():
            model.optimizer.finalize()
        listeners.call("on_train_end", logs)
        raise
    run.finished = True
    model.optimizer.finalize()
    listeners.call("on_train_end", logs)


def _regroup(flat: Sequence[Any], like: tuple[list[Any], list[Any], list[Any]]) -> tuple[Any, Any, Any]:
    first, second = len(like[0]), len(like[0]) + len(like[1])
    return list(flat[:first]), list(flat[first:second]), list(flat[second:])


def _due(epoch: int, frequency: Any) -> bool:
    """Whether epoch number ``epoch``, from 0, ends with a validation."""
    if isinstance(frequency, (list, tuple, set)):
        return epoch + 1 in frequency
    every: int = number(frequency, "fit", "validation_freq", low=1, whole=True)
    return (epoch + 1) % every == 0


def _epoch(run: Run) -> dict[str, float]:
    """One epoch, or the rest of one; returns its logs, or those so far where Ctrl-C cut it short."""
    model, listeners, interrupt, epoch = run.model, run.listeners, run.interrupt, run.epoch
    objective: Objective = model.objective
    objective.reset()
    if run.verbose and run.epochs > 1:
        print(f"Epoch {epoch + 1}/{run.epochs}", flush=True)
    listeners.call("on_epoch_begin", epoch, {})
    run.resume_epoch()
    progress = Progress(run.verbose, run.source.steps)
    before, after = listeners.hooks("on_train_batch_begin"), listeners.hooks("on_train_batch_end")
    batches = run.source.epoch(run.shuffle, interrupt.was_asked, run.step)
    for step, batch in enumerate(batches, run.step):
        for hook in before:
            hook(step, {})
        objective.train(*batch)
        run.step = step + 1
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
    if run.validation is not None and _due(epoch, run.frequency):
        run.validation.prepare()
        held = _test(model, run.validation, listeners, interrupt)
        if interrupt.asked:
            progress.abandon()
            return logs
        logs.update({f"val_{name}": value for name, value in held.items()})
    progress.finish(logs)
    run.epoch, run.step, run.logs = epoch + 1, 0, logs
    listeners.call("on_epoch_end", epoch, logs)
    model.history.complete(logs)
    run.logs = None
    return logs


# --- evaluate -------------------------------------------------------------------------------------


def _test(
    model: Any,
    source: Source,
    listeners: CallbackList,
    interrupt: _Interrupt,
    progress: Progress | None = None,
) -> dict[str, float]:
    """One run over the data without training."""
    objective: Objective = model.objective
    objective.plan_testing()
    objective.reset()
    listeners.call("on_test_begin", {})
    before, after = listeners.hooks("on_test_batch_begin"), listeners.hooks("on_test_batch_end")
    for step, batch in enumerate(source.epoch(cancelled=interrupt.was_asked)):
        for hook in before:
            hook(step, {})
        objective.test(*batch)
        for hook in after:
            hook(step, objective.logs())
        if interrupt.asked:
            break
        if progress is not None:
            progress.update(step + 1, objective.logs)
    logs = objective.logs()
    listeners.call("on_test_end", logs)
    return logs


def _listeners(callbacks: Any, model: Any, parameters: dict[str, Any], *first: Callback) -> CallbackList:
    if isinstance(callbacks, CallbackList):
        return callbacks
    given = [] if callbacks is None else callbacks if isinstance(callbacks, (list, tuple)) else [callbacks]
    return CallbackList([*first, *given], model, parameters)


def evaluate(
    model: Any,
    x: Any,
    y: Any,
    *,
    batch_size: int | None,
    verbose: Any,
    sample_weight: Any,
    steps: int | None,
    callbacks: Any,
) -> None:
    """Counts the losses and metrics of a compiled model in its objective; see ``Model.evaluate``."""
    verbose = _verbose(verbose, "evaluate")
    steps = _steps(steps, "evaluate", "steps")
    if data.is_stream(x):
        source: Source = stream_source(x, model, steps, None, "evaluate", y=y, sample_weight=sample_weight)
        source.prepare()
    else:
        arrays = as_arrays(model, x, y, sample_weight, None, "evaluate")
        size = batch_size_of(model, batch_size, "evaluate")
        source = ArraySource(model, arrays, model.objective.plan_testing(), size, "evaluate", steps)
    progress = Progress(verbose, source.steps)
    listeners = _listeners(callbacks, model, {"verbose": verbose, "epochs": 1, "steps": source.steps})
    with contextlib.closing(source), _own_weights(model):
        logs = _test(model, source, listeners, _Interrupt(), progress)
    progress.finish(logs)


# --- predict --------------------------------------------------------------------------------------


def predict(
    model: Any, x: Any, *, batch_size: int | None, verbose: Any, steps: int | None, callbacks: Any
) -> list[Array]:
    """The outputs for many rows; see ``Model.predict``."""
    verbose = _verbose(verbose, "predict")
    steps = _steps(steps, "predict", "steps")
    rows = None  # known before they are there, of arrays only
    if data.is_stream(x):
        source: Source = stream_source(x, model, steps, None, "predict")
        source.prepare()
    else:
        model.ensure_built_for(x, "predict")
        inputs = input_columns(model, x, "predict")
        rows = data.same_rows([("x", array) for array in inputs], "predict")
        types = input_types(model.predict_plan(), model.inputs)
        if rows == 0:
            empty = [array.astype(kind or array.dtype) for array, kind in zip(inputs, types, strict=True)]
            return model.predict_plan().run(empty)  # type: ignore[no-any-return]
        size = batch_size_of(model, batch_size, "predict", PREDICT_BATCH)
        source = ArraySource(model, (inputs, [], []), model.predict_plan(), size, "predict", steps)
        rows = rows if steps is None else min(rows, steps * size)
    progress = Progress(verbose, source.steps)
    listeners = _listeners(callbacks, model, {"verbose": verbose, "epochs": 1, "steps": source.steps})
    with contextlib.closing(source), _own_weights(model):
        listeners.call("on_predict_begin", {})
        results = _outputs(model.predict_plan(), source, rows, listeners, progress)
        listeners.call("on_predict_end", {})
    progress.finish({})
    return results


def _outputs(
    plan: Plan, source: Source, rows: int | None, listeners: CallbackList, progress: Progress
) -> list[Array]:
    """The outputs for every batch, one after the other."""
    results: list[Array] = []
    pieces: list[list[Array]] = []  # by batch, where the number of rows is not known
    at = 0
    for step, (inputs, _, _) in enumerate(source.epoch()):
        listeners.call("on_predict_batch_begin", step, {})
        outputs = plan.run(inputs)
        if rows is None:
            pieces.append([np.array(output) for output in outputs])
        else:
            if not results:
                results = [np.empty((rows, *output.shape[1:]), output.dtype) for output in outputs]
            for result, output in zip(results, outputs, strict=True):
                result[at : at + len(output)] = output
            at += len(outputs[0])
        listeners.call("on_predict_batch_end", step, {"outputs": outputs})
        progress.update(step + 1, dict)
    if rows is None:
        return [np.concatenate(column) for column in zip(*pieces, strict=True)]
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
