"""Lambda: a function of a user's own as a layer."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from fastseq._arrays import describe, message
from fastseq._symbol import Symbol
from fastseq.layers.arguments import shape_of
from fastseq.layers.base import Layer
from fastseq.layers.calls import flatten
from fastseq.layers.traced import TracedFunction, described

__all__ = ["Lambda"]


class Lambda(Layer):
    """What a function of ``fastseq.ops``, operators and slices makes of the inputs.

    The function runs once for each call of the layer on Symbols, with Symbols: its operations join the
    graph, and so their gradients. It never sees values.

    Args:
        function: ``function(inputs)``, a Symbol or a list of them to one or a list of them. If it names
            ``mask`` or ``training``, it is given those, too.
        output_shape: Checked against the shape the function gives: without the batch, or a function of
            the input's shape that gives the output's, with the batch; None asks nothing.
        mask: Of the output: a function of (inputs, mask of the inputs), or a mask; None for none.
        arguments: More arguments of ``function``, by name.
        options: As for ``Layer``.
    Raises:
        TypeError: ``function`` is none; when called: it needs values, or returns something else.
        ValueError: When called: another shape than ``output_shape``.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        output_shape: Any = None,
        mask: Any = None,
        arguments: dict[str, Any] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if not callable(function):
            raise TypeError(message("Lambda", "function", "be a function", describe(function)))
        self.function = function
        self.arguments = dict(arguments or {})
        self.mask = mask
        self.supports_masking = mask is not None
        self._asked_shape = output_shape
        try:
            self._accepts = set(inspect.signature(function).parameters)
        except ValueError:  # compiled functions need not say
            self._accepts = set()

    def call(self, inputs: Any, mask: Any = None, training: bool | None = None) -> Any:
        given = {"mask": mask, "training": training}
        given = {name: value for name, value in given.items() if name in self._accepts}
        try:
            outputs = self.function(inputs, **{**given, **self.arguments})
        except TypeError as error:
            if "Symbol" not in str(error):
                raise
            rule = "be written with fastseq.ops, operators and slices"
            raise TypeError(message(self.name, "function", rule, f"an error: {error}")) from error
        for leaf in flatten(outputs) or [None]:
            if not isinstance(leaf, Symbol):
                rule = "return Symbols computed from its inputs"
                raise TypeError(message(self.name, "function", rule, describe(leaf)))
        self._check_shape(inputs, outputs)
        return outputs

    def _check_shape(self, inputs: Any, outputs: Any) -> None:
        asked = self._asked_shape
        if asked is None:
            return
        if callable(asked):
            several = isinstance(inputs, (list, tuple))
            shapes = asked([s.shape for s in inputs] if several else inputs.shape)
            shapes = shapes if shapes and isinstance(shapes[0], (list, tuple)) else [shapes]
        else:
            shapes = asked if isinstance(asked, (list, tuple)) else (asked,)
            shapes = shapes if shapes and isinstance(shapes[0], (list, tuple)) else [shapes]
            shapes = [(None, *shape_of(shape, "Lambda", "output_shape")) for shape in shapes]
        traced = [symbol.shape for symbol in flatten(outputs)]
        if len(shapes) != len(traced) or not all(map(_agree, shapes, traced)):
            got = " and ".join(map(str, traced))
            rule = f"return the output_shape {' and '.join(str(tuple(shape)) for shape in shapes)}"
            raise ValueError(message(self.name, "function", rule, got))

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        return self.mask(inputs, mask) if callable(self.mask) else self.mask

    def get_config(self) -> dict[str, Any]:
        """Its arguments as plain values: of the function, the operations that its first call traced.

        Raises:
            ValueError: It has not been called on Symbols, its mask is a function, or the function reads
                more than its inputs: weights, masks, Symbols from elsewhere.
        """
        if self.mask is not None:
            raise ValueError(message(self.name, "mask", "be None to be described", describe(self.mask)))
        if isinstance(self.function, TracedFunction):
            description = self.function.description
        else:
            if not self._calls:
                rule = "have been called on Symbols to be described"
                raise ValueError(message(self.name, "layer", rule, "no call"))
            call = self._calls[0]
            description = described(flatten(call.arguments), call.outputs, self.name)
            description["several"] = isinstance(call.structure, (list, tuple))
        config = {**super().get_config(), "function": description}
        for argument in ("arguments", "mask", "output_shape"):  # the operations say all that
            config.pop(argument, None)
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """A Lambda of the operations that ``get_config`` described."""
        return cls(**{**config, "function": TracedFunction(config["function"])})


def _agree(asked: Any, traced: Any) -> bool:
    return len(asked) == len(traced) and all(
        m is None or n is None or m == n for m, n in zip(asked, traced, strict=True)
    )
