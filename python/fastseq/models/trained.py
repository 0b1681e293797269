"""What models share of being trained: compiled, fitted, evaluated and asked, whole or batch by batch."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastseq import optimizers, training
from fastseq._arrays import Array, message
from fastseq._symbol import Symbol
from fastseq.asked import refuse_unknown
from fastseq.callbacks import History
from fastseq.graph import Plan
from fastseq.layers.calls import flatten, unflatten
from fastseq.models.kept import Kept
from fastseq.objective import Objective
from fastseq.sources import batch_inputs

__all__ = ["Trained"]


class Trained(Kept, abstract=True):
    """Base of ``Model``: what it is trained for, and the plans that do it.

    A subclass gives it the graph between ``inputs`` and ``outputs``.
    """

    def __init__(self, *, name: str, trainable: bool) -> None:
        super().__init__(name=name, trainable=trainable)
        self.history: History | None = None
        self.stop_training = False
        self.optimizer: optimizers.Optimizer | None = None
        self._compiled: dict[str, Any] | None = None
        self._objective: Objective | None = None
        self.inputs: list[Symbol] = []
        self.outputs: list[Symbol] = []
        self._outputs_structure: Any = None
        self._predict_plan: Plan | None = None

    def _forget_plans(self) -> None:
        self._predict_plan = None
        self._objective = None

    def ensure_built_for(self, x: Any, function: str) -> None:
        """Makes the graph if it waits for the data's shape."""
        if not self.built:
            raise RuntimeError(f"{function}: {self.name} must have inputs and outputs, got none")

    @property
    def output_names(self) -> list[str]:
        """The names by which targets can be given in a dict, and which the logs use."""
        if isinstance(self._outputs_structure, dict):
            return sorted(self._outputs_structure)
        names: list[str] = []
        for k, symbol in enumerate(self.outputs):
            name = symbol.call.layer.name if symbol.call else f"output_{k}"
            seen = sum(1 for other in names if other == name or other.startswith(f"{name}_"))
            names.append(f"{name}_{seen}" if seen else name)
        return names

    def compile(
        self,
        optimizer: Any = "rmsprop",
        loss: Any = None,
        metrics: Any = None,
        loss_weights: Any = None,
        weighted_metrics: Any = None,
        run_eagerly: bool = False,
        steps_per_execution: int = 1,
        jit_compile: Any = "auto",
        auto_scale_loss: bool = True,
    ) -> None:
        """Says what training is to minimise, how, and what to report.

        Args:
            optimizer: A name or an Optimizer.
            loss: A name or a Loss; for several outputs a list or a dict by output's name.
            metrics: Names, Metrics or functions of (y_true, y_pred); for several outputs a dict or a
                list of lists. "accuracy" means the binary, categorical or sparse one, by the shapes.
            loss_weights: Of the outputs' losses in the sum that is minimised.
            weighted_metrics: Metrics that sample weights count in.
            run_eagerly: Accepted for Keras's sake, as are the following; they change nothing.
            steps_per_execution: Nothing.
            jit_compile: Nothing.
            auto_scale_loss: Nothing.
        Raises:
            ValueError: An unknown name, or lists that do not fit the outputs.
            TypeError: Something that is none of these.
        """
        refuse_unknown(loss, metrics=metrics, weighted_metrics=weighted_metrics)
        compiled = {
            "optimizer": optimizers.get(optimizer, "compile", "optimizer"),
            "loss": loss,
            "loss_weights": loss_weights,
            "metrics": metrics,
            "weighted_metrics": weighted_metrics,
        }
        objective = self._new_objective(compiled) if self.built else None
        self.optimizer = compiled["optimizer"]
        self._compiled, self._objective = compiled, objective

    def _new_objective(self, compiled: dict[str, Any]) -> Objective:
        names = self.output_names
        return Objective(
            self.inputs, self.outputs, names, trainable=lambda: self.trainable_weights, **compiled
        )

    @property
    def compiled(self) -> bool:
        """Whether ``compile`` has been called."""
        return self._compiled is not None

    @property
    def objective(self) -> Objective:
        """The losses, metrics and optimizer as plans."""
        if self._objective is None:
            assert self._compiled is not None
            self._objective = self._new_objective(self._compiled)
        return self._objective

    @property
    def compile_arguments(self) -> dict[str, Any]:
        """What ``compile`` was given."""
        self._must_be_compiled("compile_arguments")
        return dict(self._compiled or {})

    def _must_be_compiled(self, function: str) -> None:
        if self._compiled is None:
            raise RuntimeError(f"{function}: {self.name} must be compiled first, got one that is not")
        trains = function in ("fit", "train_on_batch", "gradients")
        losses = flatten(self._compiled["loss"]) if trains else ()
        if trains and losses.count(None) == len(losses):
            raise RuntimeError(f"{function}: {self.name} must be compiled with a loss, got none")

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: Any = "auto",
        callbacks: Any = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: bool = True,
        class_weight: dict[int, float] | None = None,
        sample_weight: Any = None,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
        validation_batch_size: int | None = None,
        validation_freq: Any = 1,
    ) -> History:
        """Trains the model.

        Args:
            x: Inputs, (rows, ...); a list or a dict by name for several. Bools and integers are
                converted batch by batch. Or what gives batches (x, y) or (x, y, sample_weight): a
                ``utils.PyDataset``, a generator or another iterable; ``y``, ``sample_weight`` and
                ``validation_split`` then stay out.
            y: Targets, likewise; one-hot or integer labels as the loss wants them.
            batch_size: Rows per step; 32 by default. The last batch of an epoch may have fewer.
            epochs: The number of the epoch to end before, counted from 0.
            verbose: 0 prints nothing, 1 (or "auto") a bar, 2 a line per epoch.
            callbacks: Callbacks.
            validation_split: Share of the rows, the last ones before shuffling, to validate on.
            validation_data: (x, y) or (x, y, sample_weight) to validate on instead, or a dataset or
                generator of such batches.
            shuffle: Whether every epoch takes the rows in a new random order.
            class_weight: Weight of each class's rows in the loss.
            sample_weight: Weight of each row, (rows,), or of each step, (rows, steps).
            initial_epoch: The number of the first epoch.
            steps_per_epoch: Batches per epoch, each epoch going on where the one before ended; by default
                all there are.
            validation_steps: Batches per validation; by default all there are.
            validation_batch_size: Rows per step of validation; ``batch_size`` by default.
            validation_freq: Validate after every so many epochs, or after the epochs listed (from 1).
        Returns:
            The History, which is also ``model.history``.
        Raises:
            KeyboardInterrupt: Ctrl-C was pressed. The batch in hand was finished, ``on_train_end`` was
                called, and ``model.history`` holds the epochs that were completed.
            RuntimeError: The model is not compiled.
            TypeError, ValueError: The data do not fit the model.
        """
        self._must_be_compiled("fit")
        return training.fit(
            self,
            x,
            y,
            batch_size=batch_size,
            epochs=epochs,
            verbose=verbose,
            callbacks=callbacks,
            validation_split=validation_split,
            validation_data=validation_data,
            shuffle=shuffle,
            class_weight=class_weight,
            sample_weight=sample_weight,
            initial_epoch=initial_epoch,
            steps_per_epoch=steps_per_epoch,
            validation_steps=validation_steps,
            validation_batch_size=validation_batch_size,
            validation_freq=validation_freq,
        )

    def evaluate(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        verbose: Any = "auto",
        sample_weight: Any = None,
        steps: int | None = None,
        callbacks: Any = None,
        return_dict: bool = False,
    ) -> Any:
        """The loss and metrics over data.

        Args:
            x: Inputs, as for ``fit``.
            y: Targets.
            batch_size: Rows per step; 32 by default.
            verbose: As for ``fit``.
            sample_weight: As for ``fit``.
            steps: How many batches; by default all there are.
            callbacks: Callbacks.
            return_dict: Whether to return them by name.
        Returns:
            A dict, or [loss, *metrics], or the loss alone where there are no metrics.
        """
        self._must_be_compiled("evaluate")
        training.evaluate(
            self,
            x,
            y,
            batch_size=batch_size,
            verbose=verbose,
            sample_weight=sample_weight,
            steps=steps,
            callbacks=callbacks,
        )
        return self._results(return_dict)

    def _results(self, return_dict: bool) -> Any:
        """What the objective has counted, in the form that was asked for."""
        objective = self.objective
        if return_dict:
            return objective.logs()
        values = objective.in_order()
        return values if len(values) > 1 else values[0]

    def predict(
        self,
        x: Any,
        batch_size: int | None = None,
        verbose: Any = "auto",
        steps: int | None = None,
        callbacks: Any = None,
    ) -> Any:
        """The outputs for data.

        Args:
            x: Inputs, as for ``fit``.
            batch_size: Rows per step; the library chooses by default.
            verbose: As for ``fit``.
            steps: How many batches; by default all there are.
            callbacks: Callbacks.
        Returns:
            An array (rows, ...), or the structure of them that the model's outputs have.
        """
        outputs = training.predict(
            self, x, batch_size=batch_size, verbose=verbose, steps=steps, callbacks=callbacks
        )
        return unflatten(self._outputs_structure, outputs)

    def predict_classes(self, x: Any, batch_size: int | None = None, verbose: Any = 0) -> Array:
        """The most likely class for data: (rows, ...) int64 from outputs (rows, ..., classes).

        A last axis of size 1 is taken for the probability of class 1.

        Raises:
            ValueError: The model has several outputs.
        """
        outputs = training.predict(
            self, x, batch_size=batch_size, verbose=verbose, steps=None, callbacks=None
        )
        if len(outputs) != 1:
            raise ValueError(message("predict_classes", "model", "have 1 output", str(len(outputs))))
        (output,) = outputs
        if output.shape[-1] == 1:
            return np.asarray(output > 0.5, np.int64)
        return np.asarray(output.argmax(axis=-1))

    def predict_plan(self) -> Plan:
        """The plan of inference."""
        if self._predict_plan is None:
            self._predict_plan = Plan(self.inputs, self.outputs)
        return self._predict_plan

    def train_on_batch(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        class_weight: dict[int, float] | None = None,
        return_dict: bool = False,
    ) -> Any:
        """One training step on one batch; returns its loss and metrics as ``evaluate`` does."""
        self._must_be_compiled("train_on_batch")
        training.on_batch(self, x, y, sample_weight, class_weight, train=True)
        return self._results(return_dict)

    def gradients(
        self,
        x: Any,
        y: Any,
        sample_weight: Any = None,
        class_weight: dict[int, float] | None = None,
    ) -> list[Array]:
        """The gradients of the loss of one batch, for a training loop of one's own.

        As in a training step there is dropout, and stateful layers keep their states; weights and metrics
        stay as they are.

        Args:
            x: One batch of inputs, as for ``train_on_batch``.
            y: Its targets.
            sample_weight: As for ``fit``.
            class_weight: As for ``fit``.
        Returns:
            An array per variable of ``trainable_weights``, in that order: as they were when the model was
            first trained or asked, as the optimizer sees them.
        Raises:
            RuntimeError: The model is not compiled with a loss.
            TypeError, ValueError: The data do not fit the model.
        """
        self._must_be_compiled("gradients")
        return training.gradients(self, x, y, sample_weight, class_weight)

    def test_on_batch(
        self, x: Any, y: Any = None, sample_weight: Any = None, return_dict: bool = False
    ) -> Any:
        """The loss and metrics of one batch."""
        self._must_be_compiled("test_on_batch")
        training.on_batch(self, x, y, sample_weight, None, train=False)
        return self._results(return_dict)

    def predict_on_batch(self, x: Any) -> Any:
        """The outputs for one batch."""
        self.ensure_built_for(x, "predict_on_batch")
        plan = self.predict_plan()
        outputs = plan.run(batch_inputs(self, x, plan, "predict_on_batch"))
        return unflatten(self._outputs_structure, outputs)

    def reset_metrics(self) -> None:
        """Starts the running means of loss and metrics again."""
        self.objective.reset()

    @property
    def metrics_names(self) -> list[str]:
        """The names of what ``evaluate`` returns; known once targets have been seen."""
        return self.objective.names_in_order()
