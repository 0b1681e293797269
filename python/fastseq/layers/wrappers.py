"""Bidirectional and TimeDistributed."""

from __future__ import annotations

from typing import Any

from fastseq import ops
from fastseq._arrays import describe, message
from fastseq._symbol import Symbol
from fastseq.layers.base import Layer
from fastseq.layers.calls import flatten
from fastseq.layers.core import Activation, Dense, Dropout
from fastseq.layers.description import to_config
from fastseq.layers.rnn import Recurrent

__all__ = ["Bidirectional", "TimeDistributed", "Wrapper"]

MERGE_MODES = ("concat", "sum", "mul", "ave", None)


class Wrapper(Layer, abstract=True):
    """Base of layers around another one.

    Attributes:
        layer: The layer within.
    """

    def __init__(self, layer: Layer, **options: Any) -> None:
        kind = type(self).__name__
        if not isinstance(layer, Layer):
            raise TypeError(message(kind, "layer", "be a layer", describe(layer)))
        super().__init__(**options)
        self.layer = layer
        if self.batch_input_shape is None:
            self.batch_input_shape = layer.batch_input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "layer": to_config(self.layer)}


class TimeDistributed(Wrapper):
    """A layer applied to every step: all steps at once, as one larger batch.

    Args:
        layer: Takes (batch, ...); the wrapper takes (batch, steps, ...).
        options: As for ``Layer``.
    """

    supports_masking = True

    def build(self, input_shape: Any) -> None:
        if len(input_shape) < 3:
            rule = "have shape (batch, steps, ...)"
            raise ValueError(message(self.name, "inputs", rule, f"shape {input_shape}"))
        self.layer.ensure_built((input_shape[0], *input_shape[2:]))

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        options = {} if training is None else {"training": training}
        if isinstance(self.layer, (Dense, Activation, Dropout)):  # these work on the last axis anyway
            return self.layer._trace(_bare(inputs), options)
        output = self.layer._trace(ops.fold_steps(inputs), options)
        return ops.unfold_steps(output, inputs)


def _bare(symbol: Symbol) -> Symbol:
    """The Symbol without its mask, which the wrapper passes on itself."""
    return ops.identity(symbol) if symbol.mask is not None else symbol


class Bidirectional(Wrapper):
    """A recurrent layer run over the steps in both directions.

    The backward output is turned back before the two are merged; masked steps are 0.

    Args:
        layer: Copied, for the forward direction, and for the backward one unless that is given.
        merge_mode: "concat", "sum", "mul", "ave", or None for the two outputs as a list.
        weights: Starting weights, the forward layer's first.
        backward_layer: The layer for the other direction; its ``go_backwards`` is the opposite.
        options: As for ``Layer``.
    """

    supports_masking = True

    def __init__(
        self,
        layer: Recurrent,
        merge_mode: str | None = "concat",
        weights: Any = None,
        backward_layer: Recurrent | None = None,
        **options: Any,
    ) -> None:
        for argument, value in (("layer", layer), ("backward_layer", backward_layer)):
            if not isinstance(value, Recurrent) and not (argument == "backward_layer" and value is None):
                got = type(value).__name__ if isinstance(value, Layer) else describe(value)
                raise TypeError(message("Bidirectional", argument, "be a recurrent layer", got))
        if merge_mode not in MERGE_MODES:
            rule = "be one of concat, sum, mul, ave, None"
            raise ValueError(message("Bidirectional", "merge_mode", rule, describe(merge_mode)))
        super().__init__(layer, **options)
        self.merge_mode = merge_mode
        self.forward_layer = _copy(layer, "forward_", layer.go_backwards)
        self.backward_layer = (
            _copy(layer, "backward_", not layer.go_backwards) if backward_layer is None else backward_layer
        )
        self._given_backward = backward_layer is not None
        if self.forward_layer.go_backwards == self.backward_layer.go_backwards:
            rule = "run the other way than layer"
            got = f"go_backwards={self.backward_layer.go_backwards} in both"
            raise ValueError(message("Bidirectional", "backward_layer", rule, got))
        for attribute in ("stateful", "return_sequences", "return_state"):
            theirs = getattr(self.backward_layer, attribute)
            if theirs != getattr(self.forward_layer, attribute):
                rule = f"have the {attribute} of layer"
                raise ValueError(message("Bidirectional", "backward_layer", rule, str(theirs)))
        for direction in (self.forward_layer, self.backward_layer):
            direction.zero_output_for_mask = direction.return_sequences
        self.stateful = layer.stateful
        self.return_sequences = layer.return_sequences
        self.return_state = layer.return_state
        self._initial_weights = weights

    def sublayers(self) -> list[Layer]:
        return [self.forward_layer, self.backward_layer]

    def build(self, input_shape: Any) -> None:
        self.forward_layer.ensure_built(input_shape)
        self.backward_layer.ensure_built(input_shape)
        if self._initial_weights is not None:
            self.set_weights(self._initial_weights)

    def call(
        self, inputs: Any, initial_state: Any = None, mask: Any = None, training: bool | None = None
    ) -> Any:
        states = [None, None] if initial_state is None else self._halves(initial_state)
        options = {"mask": mask, "training": training}
        forward = flatten(self.forward_layer._trace(inputs, {**options, "initial_state": states[0]}))
        backward = flatten(self.backward_layer._trace(inputs, {**options, "initial_state": states[1]}))
        ahead, back = forward[0], backward[0]
        if self.return_sequences:
            back = ops.reverse(back)
        if self.merge_mode == "concat":
            outputs = [ops.concatenate([ahead, back])]
        elif self.merge_mode == "sum":
            outputs = [ops.add(ahead, back)]
        elif self.merge_mode == "ave":
            outputs = [ops.average([ahead, back])]
        elif self.merge_mode == "mul":
            outputs = [ops.multiply(ahead, back)]
        else:
            outputs = [ahead, back]
        if self.return_state:
            return [*outputs, *forward[1:], *backward[1:]]
        return outputs if len(outputs) > 1 else outputs[0]

    def _halves(self, initial_state: Any) -> list[Any]:
        states = list(initial_state)
        count = len(self.forward_layer.state_names)
        if len(states) != 2 * count:
            rule = f"be {2 * count} arrays, the forward layer's first"
            raise ValueError(message(self.name, "initial_state", rule, str(len(states))))
        return [states[:count], states[count:]]

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        mask = mask if self.return_sequences else None
        outputs = 2 if self.merge_mode is None else 1
        states = 2 * len(self.forward_layer.state_names) if self.return_state else 0
        return [mask] * outputs + [None] * states

    def reset_states(self) -> None:
        """Sets the kept states of both directions to 0."""
        self.forward_layer.reset_states()
        self.backward_layer.reset_states()

    reset_state = reset_states

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        config.pop("backward_layer", None)
        if self._given_backward:
            config["backward_layer"] = to_config(self.backward_layer)
        return config


def _copy(layer: Recurrent, prefix: str, go_backwards: bool) -> Recurrent:
    config = layer.get_config()
    config.pop("batch_input_shape", None)
    config["name"] = prefix + layer.name.removeprefix(prefix)
    config["go_backwards"] = go_backwards
    copy: Recurrent = type(layer).from_config(config)
    return copy
