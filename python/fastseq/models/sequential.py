"""Sequential: layers one after another as a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fastseq import _registry
from fastseq._arrays import column, describe, message
from fastseq._symbol import Symbol, Variable
from fastseq.layers.base import Layer
from fastseq.layers.calls import flatten
from fastseq.layers.description import from_config as layer_from_config
from fastseq.layers.description import to_config
from fastseq.layers.input import InputLayer
from fastseq.models.description import plain
from fastseq.models.model import Model

__all__ = ["Sequential"]


class Sequential(Model):
    """Layers one after another.

    Without an input shape in its first layer it is built by the first data it sees, or by ``build``.

    Args:
        layers: Layers to start with; the first may be an ``Input``.
        trainable: Whether training may change its weights.
        name: For people.
    """

    def __init__(
        self, layers: Sequence[Layer | Symbol] | None = None, trainable: bool = True, name: str | None = None
    ) -> None:
        super().__init__(name=name, trainable=trainable)
        self._layers: list[Layer] = []
        self._source: InputLayer | None = None
        self._inputs_structure = self._outputs_structure = None
        for layer in [layers] if isinstance(layers, Layer) else layers or []:
            self.add(layer)

    def add(self, layer: Any) -> None:
        """Appends a layer.

        Raises:
            TypeError: It is not a layer.
            ValueError: Its name is taken, or it has several outputs.
        """
        if isinstance(layer, Symbol) and layer.call is not None and isinstance(layer.call.layer, InputLayer):
            layer = layer.call.layer
        if not isinstance(layer, Layer):
            raise TypeError(message("Sequential.add", "layer", "be a layer", describe(layer)))
        if isinstance(layer, InputLayer):
            if self._layers or self._source:
                raise ValueError(
                    message("Sequential.add", "layer", "be first if it is an input", "a later one")
                )
            self._source = layer
            return
        if any(other.name == layer.name for other in self._layers):
            raise ValueError(message("Sequential.add", "layer", "have a new name", describe(layer.name)))
        if not self._layers and self._source is None:
            if isinstance(layer, Model) and layer.built:
                self._source = InputLayer(batch_shape=layer.inputs[0].shape, dtype=layer.inputs[0].dtype)
            elif layer.batch_input_shape is not None:
                self._source = InputLayer(batch_shape=layer.batch_input_shape, dtype=layer.dtype)
        self._layers.append(layer)
        try:
            if self.built:
                self._extend(layer, self.outputs[0])
            elif self._source is not None:
                self._assemble()
        except BaseException:
            self._layers.pop()
            raise

    def _extend(self, layer: Layer, symbol: Symbol) -> None:
        output = layer(symbol)
        if len(flatten(output)) != 1:
            got = f"{len(flatten(output))} outputs"
            raise ValueError(message("Sequential.add", "layer", "have 1 output", got))
        layers = self._layers
        self._connect(self._inputs_structure, flatten(output)[0])
        self._layers = layers

    def _assemble(self) -> None:
        """Joins all layers, the input's shape being known."""
        assert self._source is not None
        symbol = self._source.output
        self._inputs_structure = symbol
        for layer in list(self._layers):
            self._extend(layer, symbol)
            symbol = self.outputs[0]

    def pop(self) -> Layer:
        """Removes the last layer and returns it.

        Raises:
            ValueError: There is none.
        """
        if not self._layers:
            raise ValueError("Sequential.pop: layers must hold at least 1, got 0")
        layer = self._layers.pop()
        self.built = False
        self._forget_plans()
        if self._source is not None and self._layers:
            self._assemble()
        return layer

    def build(self, input_shape: Any = None) -> None:
        """Joins the layers for inputs of this shape, the batch included: ``(None, steps, features)``."""
        if self.built or input_shape is None:
            return
        if not self._layers:
            raise ValueError(message("Sequential.build", "layers", "hold at least 1", "0"))
        self._source = InputLayer(batch_shape=tuple(input_shape))
        self._assemble()

    def ensure_built_for(self, x: Any, function: str) -> None:
        if self.built:
            return
        if not self._layers:
            raise RuntimeError(f"{function}: {self.name} must have layers, got none")
        array = column(
            x[0] if isinstance(x, (list, tuple)) and isinstance(x[0], np.ndarray) and len(x) == 1 else x,
            function,
            "x",
        )
        batch = len(array) if any(getattr(layer, "stateful", False) for layer in self._layers) else None
        self.build((batch, *array.shape[1:]))

    def _trace(self, inputs: Any, options: dict[str, Any]) -> Any:
        if not self.built:
            self.build(inputs.shape)
        return super()._trace(inputs, options)

    @property
    def layers(self) -> list[Layer]:
        """Its layers in order, without the input."""
        return list(self._layers)

    @property
    def weights(self) -> list[Variable]:
        """All its weights."""
        return list(dict.fromkeys(v for layer in self._layers for v in layer.weights))

    def get_config(self) -> dict[str, Any]:
        """Its name and the configurations of its layers."""
        layers = [plain(to_config(layer), f"{self.name}.get_config") for layer in self._layers]
        config: dict[str, Any] = {"name": self.name, "trainable": self.trainable, "layers": layers}
        if self._source is not None:
            config["batch_input_shape"] = list(self._source.batch_shape)
            config["input"] = plain(self._source.get_config(), f"{self.name}.get_config")
        return config

    def config_class(self) -> type[Layer]:
        return Sequential if type(self).get_config is Sequential.get_config else type(self)

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Mapping[str, Any] | None = None) -> Any:
        """A new model of new layers, as ``get_config`` described them.

        Args:
            config: What ``get_config`` gave.
            custom_objects: Layers of your own, by name.
        """
        model = cls(trainable=config.get("trainable", True), name=config.get("name"))
        if config.get("input") is not None:
            model.add(InputLayer(**config["input"]))
        elif config.get("batch_input_shape") is not None:
            model.add(InputLayer(batch_shape=config["batch_input_shape"]))
        with _registry.custom_object_scope(custom_objects or {}):
            for description in config["layers"]:
                model.add(layer_from_config(description))
        return model
