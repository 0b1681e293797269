"""clone_model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastseq._arrays import describe, message
from fastseq._symbol import Symbol
from fastseq.layers import Input
from fastseq.layers.base import Layer
from fastseq.layers.calls import flatten, replay, unflatten
from fastseq.layers.input import InputLayer
from fastseq.models import Model, Sequential

__all__ = ["clone_model"]


def _again(layer: Layer) -> Any:
    return clone_model(layer) if isinstance(layer, Model) else type(layer).from_config(layer.get_config())


def clone_model(
    model: Model, input_tensors: Any = None, clone_function: Callable[[Layer], Layer] | None = None
) -> Any:
    """A model of the same layers, made anew, with weights of its own that start anew.

    Args:
        model: A Sequential, or a Model made from inputs and outputs.
        input_tensors: Symbols to build the new model on, in the structure of the model's inputs; new
            ones by default.
        clone_function: Makes each new layer from the old one, inputs aside; by default from its
            configuration. A layer that it returns as it is becomes one of both models.
    Raises:
        TypeError: Not a model, or ``clone_function`` gives no layer.
        ValueError: Another number of inputs, or a layer without a plain configuration.
    """
    if not isinstance(model, Model):
        raise TypeError(message("clone_model", "model", "be a model", describe(model)))
    clones: dict[Layer, Layer] = {}

    def clone(layer: Layer) -> Any:
        if layer not in clones:
            made = (clone_function or _again)(layer)
            if not isinstance(made, Layer):
                raise TypeError(message("clone_model", "clone_function", "return a layer", describe(made)))
            clones[layer] = made
        return clones[layer]

    if isinstance(model, Sequential):
        return _sequential(model, input_tensors, clone)
    given = [_like(symbol) for symbol in model.inputs] if input_tensors is None else flatten(input_tensors)
    if len(given) != len(model.inputs):
        rule = f"be {len(model.inputs)} Symbols"
        raise ValueError(message("clone_model", "input_tensors", rule, str(len(given))))
    made = dict(zip(model.inputs, given, strict=True))
    for output in model.outputs:
        replay(output, made, None, lambda layer, inputs, options: clone(layer)(inputs, **options))
    inputs, outputs = model.input, model.output
    return Model(
        unflatten(inputs, given),
        unflatten(outputs, [made[output] for output in model.outputs]),
        name=model.name,
        trainable=model.trainable,
    )


def _sequential(model: Sequential, input_tensors: Any, clone: Callable[[Layer], Any]) -> Any:
    layers: list[Any] = [clone(layer) for layer in model.layers]
    if input_tensors is not None:
        layers = [*flatten(input_tensors), *layers]
    elif model.built:
        layers = [InputLayer(batch_shape=model.inputs[0].shape, dtype=model.inputs[0].dtype), *layers]
    return type(model)(layers, trainable=model.trainable, name=model.name)


def _like(symbol: Symbol) -> Symbol:
    """A new input such as this one."""
    name = symbol.call.layer.name if symbol.call is not None else None
    return Input(batch_shape=symbol.shape, dtype=symbol.dtype, name=name)
