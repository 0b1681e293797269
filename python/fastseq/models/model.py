"""Model: a graph of layers that can be trained, evaluated and asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fastseq import _registry
from fastseq._arrays import describe, message
from fastseq._names import unknown
from fastseq._symbol import Symbol
from fastseq.graph import Plan
from fastseq.layers.base import Layer, unique_name
from fastseq.layers.calls import LayerCall, calls_by_depth, flatten, replay, unflatten
from fastseq.models.description import graph_config, graph_from_config
from fastseq.models.trained import Trained
from fastseq.stepper import Stepper
from fastseq.summary import render

__all__ = ["Model"]


class Model(Trained):
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

    # Steps.

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
