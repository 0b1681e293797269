"""What ``compile`` asked for, made into plans: losses, metrics and the optimizer of one model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from fastseq import losses, metrics, ops
from fastseq._arrays import Array, floating, message
from fastseq._symbol import Symbol, Variable, tracing
from fastseq.asked import by_shape, metric_lists, per_output
from fastseq.graph import Head, Plan, activation_before, attached_losses, pack, segments
from fastseq.layers.base import penalty
from fastseq.losses.base import Loss, row_weights
from fastseq.losses.symbolic import target_symbol, trace
from fastseq.metrics import Mean, Metric
from fastseq.optimizers import Optimizer

__all__ = ["Objective"]


class Objective:
    """The losses, metrics and optimizer of a model.

    What it is given has been through ``refuse_unknown``.

    Args:
        inputs: The model's input Symbols.
        outputs: Its output Symbols.
        names: The outputs' names, for logs and dicts.
        optimizer: An Optimizer, or None where there is nothing to train.
        loss: As given to ``compile``.
        loss_weights: As given to ``compile``.
        metrics: As given to ``compile``.
        weighted_metrics: As given to ``compile``.
        trainable: Gives the variables whose regularizers count.
    Attributes:
        losses: The Loss of each output, or None; fixed once targets have been seen.
    """

    def __init__(
        self,
        inputs: Sequence[Symbol],
        outputs: Sequence[Symbol],
        names: Sequence[str],
        *,
        optimizer: Optimizer | None,
        loss: Any,
        loss_weights: Any,
        metrics: Any,
        weighted_metrics: Any,
        trainable: Callable[[], Sequence[Variable]] = tuple,
    ) -> None:
        self._trainable = trainable
        self._penalised = False  # whether the plans have one more head, for what layers add to the loss
        self.inputs, self.outputs, self.names = list(inputs), list(outputs), list(names)
        self.optimizer = optimizer
        self._asked_loss = [
            one if one is None or by_shape(one) else losses.get(one, "compile", "loss")
            for one in per_output(loss, names, "loss")
        ]
        self._weights = [
            1.0 if w is None else float(w) for w in per_output(loss_weights, names, "loss_weights")
        ]
        self._asked = metric_lists(metrics, names, "metrics")
        self._asked_weighted = metric_lists(weighted_metrics, names, "weighted_metrics")
        self.losses: list[Loss | None] | None = None
        self._traced: dict[int, tuple[Symbol, Symbol]] = {}  # by output: (its targets, its losses)
        self.loss_tracker = Mean("loss")
        self._all: list[Metric] = [self.loss_tracker]
        self._variables: list[Variable] | None = None  # what the optimizer is ready for
        self._optimizer_state: dict[str, list[Array]] | None = None  # until it is ready
        self._train_plan: Plan | None = None
        self._test_plan: Plan | None = None

    # Resolving by the targets' shapes.

    def resolve(self, targets: Sequence[tuple[int, ...] | None]) -> None:
        """Fixes losses and metrics, given the shapes of the targets; does nothing the second time."""
        if self.losses is not None:
            return
        shapes = [symbol.shape for symbol in self.outputs]
        chosen: list[Loss | None] = []
        for identifier, target, shape in zip(self._asked_loss, targets, shapes, strict=True):
            if by_shape(identifier):
                identifier = losses.get(metrics.by_shapes("crossentropy", _known(target), shape))
            chosen.append(identifier)
        self._trace(chosen, targets)
        self._metrics = [
            [self._metric(identifier, target, shape, chosen[k]) for identifier in asked]
            for k, (asked, target, shape) in enumerate(zip(self._asked, targets, shapes, strict=True))
        ]
        self._weighted = [
            [self._metric(identifier, target, shape, chosen[k]) for identifier in asked]
            for k, (asked, target, shape) in enumerate(
                zip(self._asked_weighted, targets, shapes, strict=True)
            )
        ]
        self.losses = chosen
        self._compared = [
            k for k, loss in enumerate(chosen) if loss is not None or self._metrics[k] or self._weighted[k]
        ]
        several = sum(loss is not None for loss in chosen) > 1
        self._output_trackers = [
            Mean(f"{name}_loss") if several and loss is not None else None
            for name, loss in zip(self.names, chosen, strict=True)
        ]
        self._named = self._name_metrics()
        self._all = self.metrics

    def _trace(self, chosen: Sequence[Loss | None], targets: Sequence[tuple[int, ...] | None]) -> None:
        """Joins the losses that are functions to the graph, each with a Symbol for its targets."""
        for k, (loss, target) in enumerate(zip(chosen, targets, strict=True)):
            if loss is not None and loss.traced and target is not None:
                symbol = target_symbol(target, self.outputs[k])
                self._traced[k] = symbol, trace(loss, symbol, self.outputs[k])

    def _metric(self, identifier: Any, target: Any, shape: Any, loss: Loss | None) -> Metric:
        if loss is not None and loss.sequences and metrics.is_accuracy(identifier):
            rule = "name what compares whole sequences (character_error_rate, exact_match)"
            raise ValueError(message("compile", "metrics", rule, repr(identifier)))
        for asked, word in ((metrics.is_accuracy, "accuracy"), (metrics.is_crossentropy, "crossentropy")):
            if asked(identifier):
                known = shape[:-1] if loss is not None and loss.sparse else _known(target)
                metric = metrics.get(metrics.by_shapes(word, known, shape))
                metric.name = identifier
                return metric
        metric = metrics.get(identifier, "compile", "metrics")
        metric.follow(loss)
        return metric

    def _name_metrics(self) -> list[tuple[str, Metric]]:
        """(key in the logs, metric), names made unique as Keras makes them."""
        named: dict[str, Metric] = {}
        for prefix, lists in (("", self._metrics), ("weighted_", self._weighted)):
            for name, entries in zip(self.names, lists, strict=True):
                for metric in entries:
                    key = metric.name if len(self.names) == 1 else f"{name}_{metric.name}"
                    if key in named and prefix:
                        key = prefix + key
                    base, number = key, 0
                    while key in named:
                        number += 1
                        key = f"{base}_{number}"
                    named[key] = metric
        return list(named.items())

    def loss_of(self, k: int) -> Loss | None:
        """The loss of output ``k``, which says what its targets must look like."""
        assert self.losses is not None
        return self.losses[k]

    def like(self, k: int) -> Symbol:
        """What the targets of output ``k`` must fit: the output, or what its loss was traced with."""
        return self._traced[k][0] if k in self._traced else self.outputs[k]

    def takes_sequences(self, k: int) -> bool:
        """Whether the targets of output ``k`` are labels of sequences; known before any are seen."""
        asked = self._asked_loss[k]
        return isinstance(asked, Loss) and asked.sequences

    @property
    def metrics(self) -> list[Metric]:
        """The loss's running mean and all metrics."""
        if self.losses is None:
            return [self.loss_tracker]
        trackers = [t for t in self._output_trackers if t is not None]
        return [self.loss_tracker, *trackers, *(metric for _, metric in self._named)]

    # Plans.

    def _heads(self, gradient: bool) -> list[Head]:
        assert self.losses is not None
        heads = []
        for k in self._compared:
            loss = self.losses[k]
            both = self._metrics[k] + self._weighted[k]
            keep = not all(metric.order_only for metric in both)
            if loss is None:
                heads.append(Head(self.outputs[k], _nothing))
                continue
            measure: Any = loss.measure_traced if k in self._traced else loss.measure
            if self._weights[k] != 1.0 and gradient:
                measure = partial(_scaled, measure, self._weights[k])
            if k in self._traced:
                target, values = self._traced[k]
                heads.append(Head(values, measure, target=target))
                continue
            absorbs = loss.absorbed(activation_before(self.outputs[k])[0])
            heads.append(Head(self.outputs[k], measure, absorbs, keep))
        return heads + self._penalty()

    def _penalty(self) -> list[Head]:
        """The sum of what layers and regularizers add to the loss, if anything."""
        parts: list[Any] = attached_losses(self.outputs)
        with tracing():
            for variable in self._trainable():
                if variable.regularizer is not None:
                    part = variable.regularizer(variable)
                    parts.append(penalty(part, "compile", f"the regularizer of {variable.name}"))
            if parts:
                total = parts[0]
                for part in parts[1:]:
                    total = total + part
                self._penalised = True
                return [Head(ops.identity(total), _whole)]
        return []

    def _for_heads(self, values: Sequence[Any]) -> Sequence[Any]:
        """Targets or weights, one for each head."""
        return [*values, None] if self._penalised else values

    def _watched(self) -> list[tuple[int, int, Metric, bool]]:
        """(place among the compared outputs, output, metric, whether sample weights count)."""
        return [
            (place, k, metric, weighted)
            for place, k in enumerate(self._compared)
            for weighted, lists in ((False, self._metrics), (True, self._weighted))
            for metric in lists[k]
        ]

    def plan_training(self, variables: Sequence[Variable]) -> Plan:
        """The plan of a training step, and the optimizer made ready for ``variables``."""
        if self._train_plan is None:
            variables = self.prepare_optimizer(variables)
            self._constrained = [v for v in variables if v.constraint is not None]
            outputs = [self.outputs[k] for k in self._compared]
            self._train_plan = Plan(
                self.inputs, outputs, training=True, heads=self._heads(True), wanted=variables
            )
            self._follow = self._watched()
        return self._train_plan

    def prepare_optimizer(self, variables: Sequence[Variable]) -> list[Variable]:
        """Makes the optimizer ready for ``variables`` once; returns those that it is ready for."""
        if self._variables is not None:
            return self._variables
        optimizer = self.optimizer
        assert optimizer is not None
        pack(variables)
        pairs = segments(variables)
        if not optimizer.built:
            optimizer.build(pairs, [optimizer.decays(variable) for variable in variables])
        elif not optimizer.built_for(pairs):
            rule = "be new, or have been used for the same weights"
            raise ValueError(message("compile", "optimizer", rule, "one used for other weights"))
        if self._optimizer_state is not None:
            self._put_optimizer_state(self._optimizer_state, variables)
            self._optimizer_state = None
        self._variables = list(variables)
        return self._variables

    def _slots(self, variables: Sequence[Variable]) -> dict[str, list[Array]]:
        """For each slot of the optimizer the part that belongs to each variable, as views."""
        optimizer = self.optimizer
        assert optimizer is not None
        return {
            name: [array.reshape(variable.shape) for array, variable in zip(arrays, variables, strict=True)]
            for name, arrays in zip(optimizer.state_names, optimizer.state, strict=True)
        }

    def optimizer_state(self) -> dict[str, list[Array]]:
        """What the optimizer keeps, by slot an array per variable; empty before the first step."""
        if self._optimizer_state is not None:
            return self._optimizer_state
        return {} if self._variables is None else self._slots(self._variables)

    def set_optimizer_state(self, state: dict[str, list[Array]]) -> None:
        """Gives the optimizer what ``optimizer_state`` gave, now or when it is made ready.

        Raises:
            ValueError: It is the state of another optimizer, or of other variables.
        """
        if not state:
            return
        if self._variables is not None:
            self._put_optimizer_state(state, self._variables)
            return
        names = self.optimizer.state_names  # type: ignore[union-attr]
        if sorted(state) != sorted(names):
            rule = f"have the slots {', '.join(names)}"
            raise ValueError(message("compile", "optimizer state", rule, ", ".join(state)))
        self._optimizer_state = state

    def _put_optimizer_state(self, state: dict[str, list[Array]], variables: Sequence[Variable]) -> None:
        views = self._slots(variables)
        shapes = {name: [value.shape for value in values] for name, values in views.items()}
        given = {name: [value.shape for value in values] for name, values in state.items()}
        if shapes != given:
            rule = "belong to the variables that are trained"
            raise ValueError(message("compile", "optimizer state", rule, "that of others"))
        for name, values in views.items():
            for view, value in zip(values, state[name], strict=True):
                view[...] = value

    @property
    def ready(self) -> Plan | None:
        """The plan of a training step once there is one."""
        return self._train_plan

    def plan_testing(self) -> Plan:
        """The plan of a step of evaluation."""
        if self._test_plan is None:
            outputs = [self.outputs[k] for k in self._compared]
            self._test_plan = Plan(self.inputs, outputs, heads=self._heads(False))
            self._follow = self._watched()
        return self._test_plan

    # Steps.

    def train(self, inputs: Sequence[Array], targets: Sequence[Any], weights: Sequence[Any]) -> None:
        """One training step on arrays that are right; ``plan_training`` came before."""
        plan = self._train_plan
        values, slots = plan.step(inputs, self._for_heads(targets), self._for_heads(weights))  # type: ignore[union-attr]
        self.optimizer.step()  # type: ignore[union-attr]
        if self._constrained:
            with Variable.changing:
                for variable in self._constrained:
                    variable.value[...] = variable.constraint(variable.value)  # type: ignore[misc]
        self._track(plan, values, slots, len(inputs[0]), targets, weights)  # type: ignore[arg-type]

    def gradients(
        self, inputs: Sequence[Array], targets: Sequence[Any], weights: Sequence[Any]
    ) -> list[Array]:
        """What ``train`` would give the optimizer, one array per variable of ``plan_training``."""
        plan = self._train_plan
        plan.step(inputs, self._for_heads(targets), self._for_heads(weights))  # type: ignore[union-attr]
        gradients = [variable.gradient for variable in self._variables]  # type: ignore[union-attr]
        made = [np.array(gradient) for gradient in gradients]
        for gradient in gradients:
            gradient.fill(0)  # type: ignore[union-attr]
        return made

    def test(self, inputs: Sequence[Array], targets: Sequence[Any], weights: Sequence[Any]) -> None:
        """One step of evaluation on arrays that are right; ``plan_testing`` came before."""
        plan = self._test_plan
        slots = plan.forward(inputs, self._for_heads(targets))  # type: ignore[union-attr]
        values = plan.measure(slots, self._for_heads(targets), self._for_heads(weights))  # type: ignore[union-attr]
        plan.commit(slots)  # type: ignore[union-attr]
        self._track(plan, values, slots, len(inputs[0]), targets, weights)  # type: ignore[arg-type]

    def _track(
        self, plan: Plan, values: list[float], slots: list[Any], rows: int, targets: Any, weights: Any
    ) -> None:
        total = values.pop() if self._penalised else 0.0
        for k, value in zip(self._compared, values, strict=True):
            total += self._weights[k] * value
            tracker = self._output_trackers[k]
            if tracker is not None:
                tracker.total += value * rows
                tracker.count += rows
        self.loss_tracker.total += total * rows
        self.loss_tracker.count += rows
        for place, k, metric, weighted in self._follow:
            weight = weights[place] if weighted else None
            mask = plan.mask(slots, place)
            target, prediction = targets[place], slots[plan.outputs[place]]
            loss = self.losses[k]  # type: ignore[index]
            if loss is not None and loss.sequences:
                target, prediction = loss.for_metrics(prediction, target, mask)
            elif mask is not None:
                weight = row_weights(mask.shape, weight, mask, "sum", prediction.dtype)
            metric.update_state(target, prediction, weight)

    def reset(self) -> None:
        """Starts the running means again."""
        for metric in self._all:
            metric.reset_state()

    def logs(self) -> dict[str, float]:
        """The running means by name, in the alphabet's order, as Keras gives them."""
        values = {name: _plain(metric.result()) for name, metric in self._named}
        for tracker in self._output_trackers:
            if tracker is not None:
                values[tracker.name] = tracker.result()
        values["loss"] = self.loss_tracker.result()
        return dict(sorted(values.items()))

    def in_order(self) -> list[float]:
        """The loss, then the metrics: what the ``..._on_batch`` methods return as a list."""
        values = [self.loss_tracker.result()]
        values += [t.result() for t in self._output_trackers if t is not None]
        return values + [_plain(metric.result()) for _, metric in self._named]

    def names_in_order(self) -> list[str]:
        """The names of ``in_order``."""
        trackers = [t.name for t in self._output_trackers if t is not None]
        return ["loss", *trackers, *(name for name, _ in self._named)]

    # Targets.

    @property
    def compared(self) -> list[int]:
        """The outputs that have a loss or a metric, and so targets."""
        return self._compared

    def check_target(self, k: int, value: Any, function: str) -> Array:
        """Targets of output ``k`` converted at once, for the methods that take one batch."""
        assert self.losses is not None
        loss, symbol = self.losses[k], self.like(k)
        if loss is not None:
            return loss.target(value, symbol, function, "y")
        return floating(value, function, "y", dtype=symbol.dtype)

    def target_type(self, k: int) -> Any:
        """The dtype that batches of targets have: None leaves labels as they are."""
        assert self.losses is not None
        loss = self.losses[k]
        labels = loss is not None and (loss.sparse or loss.sequences)
        return None if labels else self.outputs[k].dtype


def _plain(result: Any) -> Any:
    """A metric's value as a number, or, of several, as an array."""
    if isinstance(result, float):
        return result
    return float(result) if np.ndim(result) == 0 else np.asarray(result)


def _known(target: tuple[int, ...] | None) -> tuple[int, ...]:
    return (1,) if target is None else target


def _whole(value: Array, *arguments: Any) -> tuple[float, Array | None]:
    """What is added to the loss as it is."""
    *_, gradient = arguments
    return float(value), np.ones_like(value) if gradient else None


def _nothing(prediction: Array, *_: Any) -> tuple[float, None]:
    return 0.0, None


def _scaled(measure: Any, scale: float, *arguments: Any) -> tuple[float, Array | None]:
    """A loss whose gradient is scaled; its value is not, since it is reported by itself."""
    value, gradient = measure(*arguments)
    if gradient is not None:
        np.multiply(gradient, gradient.dtype.type(scale), out=gradient)
    return value, gradient
