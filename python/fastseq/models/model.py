"""Model: a graph of layers that can be trained, evaluated and asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from fastseq import _registry, optimizers, training
from fastseq._arrays import Array, describe, message
from fastseq._names import unknown
from fastseq._symbol import Symbol
from fastseq.callbacks import History
from fastseq.graph import Plan
from fastseq.layers.base import Layer, unique_name
from fastseq.layers.calls import LayerCall, calls_by_depth, flatten, replay, unflatten
from fastseq.models.description import graph_config, graph_from_config
from fastseq.models.kept import Kept
from fastseq.objective import Objective, refuse_unknown
from fastseq.sources import batch_inputs
from fastseq.stepper import Stepper
from fastseq.summary import render

__all__ = ["Model"]


class Model(Kept):
    """A graph of layers, from its inputs to its outputs.

    Args:
        inputs: A Symbol made by ``Input`` (or any other), or a list or dict of them.
        outputs: Symbols computed from them, one or a list or dict; they may be any in the graph.
        name: For people.
        trainable: Whether training may change its weights.
    Attributes:
        inputs: The input Symbols, a list.
        outputs: The output Symbols, a list.
        history: The History of the last ``fit``, also while it runs and after Ctrl-C.
        stop_training: Set it in a callback to end training after this batch.
        optimizer: As given to ``compile``, made from its name.
    """

    supports_masking = True

    def __init__(
        self, inputs: Any = None, outputs: Any = None, name: str | None = None, trainable: bool = True
    ) -> None:
        kind = "functional" if type(self) is Model else type(self).__name__
        super().__init__(name=unique_name(kind) if name is None else name, trainable=trainable)
        self.history: History | None = None
        self.stop_training = False
        self.optimizer: optimizers.Optimizer | None = None
        self._compiled: dict[str, Any] | None = None
        self._objective: Objective | None = None
        self.inputs: list[Symbol] = []
        self.outputs: list[Symbol] = []
        self._predict_plan: Plan | None = None
        if inputs is not None or outputs is not None:
            self._connect(inputs, outputs)

    def _connect(self, inputs: Any, outputs: Any) -> None:
        """Takes the graph between inputs and outputs as its own."""
        for argument, value in (("inputs", inputs), ("outputs", outputs)):
            wrong = [v for v in flatten(value) if not isinstance(v, Symbol)]
            if wrong or not flatten(value):
                got = describe(wrong[0]) if wrong else "none"
                raise TypeError(message("Model", argument, "be Symbols", got))
        self._inputs_structure, self._outputs_structure = inputs, outputs
        self.inputs, self.outputs = flatten(inputs), flatten(outputs)
        self._ranked = calls_by_depth(self.outputs, self.inputs)
        self._layers = list(dict.fromkeys(call.layer for _, call in self._ranked))
        self.built = True
        self._forget_plans()
        Plan(self.inputs, self.outputs)  # refuses outputs that need other inputs

    def _forget_plans(self) -> None:
        self._predict_plan = None
        self._objective = None

    # The graph.

    @property
    def layers(self) -> list[Layer]:
        """Its layers in Keras's order: by depth from the outputs, inputs first."""
        return list(self._layers)

    def sublayers(self) -> list[Layer]:
        return self.layers

    @property
    def input(self) -> Any:
        """Its input Symbol, or the structure of them it was given."""
        return self._inputs_structure

    @property
    def output(self) -> Any:
        """Its output Symbol, or the structure of them it was given."""
        return self._outputs_structure

    @property
    def input_shape(self) -> Any:
        """The shape of its input, or a list of them."""
        shapes = [symbol.shape for symbol in self.inputs]
        return shapes[0] if len(shapes) == 1 else shapes

    @property
    def output_shape(self) -> Any:
        """The shape of its output, or a list of them."""
        shapes = [symbol.shape for symbol in self.outputs]
        return shapes[0] if len(shapes) == 1 else shapes

    @property
    def input_names(self) -> list[str]:
        """The names by which inputs can be given in a dict."""
        if isinstance(self._inputs_structure, dict):
            return sorted(self._inputs_structure)
        return [
            symbol.call.layer.name if symbol.call else f"input_{k}" for k, symbol in enumerate(self.inputs)
        ]

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

    @property
    def calls(self) -> list[LayerCall]:
        """The calls of layers that it is made of, inputs first."""
        return [call for _, call in self._ranked] if self.built else []

    def get_layer(self, name: str | None = None, index: int | None = None) -> Layer:
        """The layer of that name, or at that place in ``layers``.

        Raises:
            ValueError: There is none; the text lists the names.
        """
        if (name is None) == (index is None):
            got = "neither" if name is None else "both"
            raise ValueError(message("get_layer", "name", "be given, or index instead", got))
        if index is not None:
            if not -len(self.layers) <= index < len(self.layers):
                rule = f"be less than {len(self.layers)}"
                raise ValueError(message("get_layer", "index", rule, str(index)))
            return self.layers[index]
        for layer in self.layers:
            if layer.name == name:
                return layer
        known = [layer.name for layer in self.layers]
        rule = f"be one of {', '.join(known)}"
        raise ValueError(message("get_layer", "name", rule, unknown(str(name), known)))

    def call(self, inputs: Any, mask: Any = None, training: bool | None = None) -> Any:
        """The graph once more, on other Symbols, with the same weights."""
        made = dict(zip(self.inputs, flatten(inputs), strict=True))
        for symbol, one in zip(self.inputs, flatten(mask) if mask is not None else [], strict=False):
            if one is not None and made[symbol].mask is None:
                made[symbol].mask = one
        for output in self.outputs:
            replay(output, made, training)
        return unflatten(self._outputs_structure, [made[output] for output in self.outputs])

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        return None  # its outputs carry the masks that its own layers gave them

    def _run(self, inputs: Any, options: dict[str, Any]) -> Any:
        self.ensure_built_for(inputs, self.name)
        return super()._run(inputs, options)

    def ensure_built_for(self, x: Any, function: str) -> None:
        """Makes the graph if it waits for the data's shape."""
        if not self.built:
            raise RuntimeError(f"{function}: {self.name} must have inputs and outputs, got none")

    # Training.

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
        if trains and all(loss is None for loss in flatten(self._compiled["loss"])):
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

    def stepper(self, batch_size: int = 1) -> Stepper:
        """The model to run one step of its sequences at a time, with the weights it has now.

        Args:
            batch_size: Sequences that run side by side.
        Returns:
            A Stepper: ``stepper.step(x_t)`` is what ``predict`` gives for the last of the steps so far.
        Raises:
            RuntimeError: The model is not built yet.
            ValueError: A layer needs more than one step at a time; the text names it.
        """
        if not self.built:
            raise RuntimeError(f"stepper: {self.name} must be built, got one without weights yet")
        return Stepper(self, batch_size)

    def reset_states(self) -> None:
        """Sets the kept state of all its stateful layers to 0."""
        for layer in self.layers:
            if getattr(layer, "stateful", False):
                layer.reset_states()  # type: ignore[attr-defined]

    @property
    def stateful(self) -> bool:
        """Whether a layer keeps its state between batches."""
        return any(getattr(layer, "stateful", False) for layer in self._layers) if self.built else False

    def reset_metrics(self) -> None:
        """Starts the running means of loss and metrics again."""
        self.objective.reset()

    @property
    def metrics_names(self) -> list[str]:
        """The names of what ``evaluate`` returns; known once targets have been seen."""
        return self.objective.names_in_order()

    # Looking at it.

    def summary(
        self,
        line_length: int | None = None,
        positions: Sequence[float] | None = None,
        print_fn: Callable[[str], Any] | None = None,
        expand_nested: bool = False,
        show_trainable: bool = False,
        layer_range: Sequence[str] | None = None,
    ) -> None:
        """Prints the layers with their output shapes and numbers of parameters.

        Args:
            line_length: Width of the table; as wide as its content by default.
            positions: Accepted for Keras's sake.
            print_fn: Called with the whole text instead of ``print``.
            expand_nested: Whether layers of models within are listed too.
            show_trainable: Whether a column says if a layer is trained.
            layer_range: Names of the first and the last layer to list.
        """
        text = render(self, self.calls, line_length, expand_nested, show_trainable, layer_range)
        (print_fn or print)(text)

    def get_config(self) -> dict[str, Any]:
        """Its layers and how they are joined, as plain values.

        Raises:
            RuntimeError: It has no graph.
            ValueError: Something in it has no plain form; the text says what.
        """
        if not self.built:
            raise RuntimeError(f"get_config: {self.name} must have inputs and outputs, got none")
        return graph_config(self)

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Mapping[str, Any] | None = None) -> Any:
        """A new model of new layers, as ``get_config`` described them.

        Args:
            config: What ``get_config`` gave.
            custom_objects: Layers of your own, by name.
        """
        with _registry.custom_object_scope(custom_objects or {}):
            return graph_from_config(config, Model)

    def config_class(self) -> type[Layer]:
        return Model if type(self).get_config is Model.get_config else type(self)
