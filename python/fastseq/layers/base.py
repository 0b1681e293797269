"""Layer: parameters, and how they join operations into a graph. Layers contain no mathematics.

Gradients of parameters are added to ``Variable.gradient``; gradients of inputs are assigned.
"""

from __future__ import annotations

import inspect
import math
import re
import warnings
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastseq import constraints, initializers, ops, regularizers
from fastseq._arrays import Array, describe, floating, message, number
from fastseq._names import unknown
from fastseq._random import draw_seed
from fastseq._symbol import RandomSeed, Symbol, Variable, tracing
from fastseq.layers.arguments import SHAPE_OPTIONS, dtype_of, input_shape_of, options_of, shape_of
from fastseq.layers.arriving import is_arriving, reserved
from fastseq.layers.calls import LayerCall, flatten, unflatten
from fastseq.layers.description import Described, arguments_of, plain
from fastseq.layers.eager import run
from fastseq.layers.handwritten import by_hand

__all__ = ["Layer"]

_names: Counter[str] = Counter()


def unique_name(class_name: str) -> str:
    """lstm, lstm_1, lstm_2, ... for LSTM: Keras's names of layers that were given none."""
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", class_name)
    name = re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()
    taken = _names[name]
    _names[name] += 1
    return f"{name}_{taken}" if taken else name


def reset_names() -> None:
    """Starts the numbers in layers' names again."""
    _names.clear()


class Layer(Described):
    """Base of all layers.

    A subclass keeps its arguments as attributes of the same name, makes its weights in ``build`` and
    joins operations in ``call``: those of ``fastseq.ops``, operators, slices, and other layers, which it
    keeps as attributes. Their gradients follow. Instead of ``call`` it may have a forward and a backward
    written in numpy, which a plan runs as one operation: ``forward(*inputs)`` gives (output or a tuple of
    them, saved), reading weights as ``self.kernel.value``; ``backward(saved, *doutputs)`` gives the gradient
    of each input, then of each trainable weight in the order they were made, float arrays of their shapes.
    Outputs have the shape of the first input unless ``compute_output_shape`` says another.

    Args:
        name: A name, unique in a model; made from the class's name by default.
        trainable: Whether optimizers may change its weights.
        dtype: "float32" or "float64"; ``backend.floatx()`` by default.
        activity_regularizer: Of its output, divided by the size of the batch: a name, a Regularizer or a
            function.
        options: Where it is the first layer of a Sequential, one of ``input_shape`` (without the
            batch), ``batch_input_shape`` or ``input_dim`` with ``input_length``.
    Attributes:
        built: Whether its weights exist.
        supports_masking: Whether masks of its input reach its output.
    """

    supports_masking = False

    def __init__(
        self,
        *,
        name: str | None = None,
        trainable: bool = True,
        dtype: Any = None,
        activity_regularizer: Any = None,
        **options: Any,
    ) -> None:
        kind = type(self).__name__
        for option in options:
            if option not in SHAPE_OPTIONS:
                known = options_of(type(self))
                rule = f"be among {', '.join(known)}"
                raise TypeError(message(kind, "options", rule, unknown(option, known)))
        if name is not None and not isinstance(name, str):
            raise TypeError(message(kind, "name", "be a str", describe(name)))
        self.activity_regularizer = regularizers.get(activity_regularizer, kind, "activity_regularizer")
        self.name = unique_name(kind) if name is None else name
        self.built = False
        self._trainable = bool(trainable)
        self.dtype = dtype_of(dtype, kind)
        self.variables_made: list[Variable] = []
        self._calls: list[LayerCall] = []
        self._added: list[Any] | None = None  # losses of the call that is being traced
        self._plans: dict[Any, Any] = {}
        self.batch_input_shape = input_shape_of(kind, options)

    def refuse_unless_none(self, **values: Any) -> None:
        """Raises ValueError for an argument of Keras's that has no meaning here yet."""
        for argument, value in values.items():
            if value is not None:
                raise ValueError(message(type(self).__name__, argument, "be None", describe(value)))

    # What a subclass defines.

    def build(self, input_shape: Any) -> None:
        """Makes the weights, given the shape of the input (a list of shapes for several)."""

    def call(self, *inputs: Any, **options: Any) -> Any:
        """Joins operations: Symbols in, Symbols out. Where a subclass has ``forward``, runs that."""
        if not hasattr(self, "forward") or not hasattr(self, "backward"):
            raise NotImplementedError(f"{type(self).__name__} must define call, or forward and backward")
        symbols = flatten(inputs[0])
        shapes = [symbol.shape for symbol in symbols]
        made: Any = shapes[0]
        if type(self).compute_output_shape is not Layer.compute_output_shape:
            made = self.compute_output_shape(shapes if isinstance(inputs[0], (list, tuple)) else made)
        several = bool(made) and isinstance(made[0], (list, tuple))
        weights = [v for v in self.variables_made if v.trainable]
        outputs = by_hand(self, symbols, weights, made if several else [made])
        return list(outputs) if several else outputs

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """The mask of the output, from that of the input."""
        return mask

    def sublayers(self) -> list[Layer]:
        """The layers this one is made of: those it keeps as attributes, in lists, tuples and dicts, too."""
        own = {"_calls", "_plans"}
        values = [value for name, value in vars(self).items() if name not in own]
        return [leaf for leaf in _kept(values) if isinstance(leaf, Layer)]

    # Weights.

    def add_weight(
        self,
        shape: Any = (),
        initializer: Any = None,
        dtype: Any = None,
        trainable: bool = True,
        *,
        regularizer: Any = None,
        constraint: Any = None,
        name: str | None = None,
    ) -> Variable:
        """Makes a weight of this layer.

        Args:
            shape: Its shape, an int or integers.
            initializer: A name, an Initializer or a function of (shape, dtype); "glorot_uniform" by default.
            dtype: "float32" or "float64"; the layer's by default.
            trainable: Whether optimizers may change it.
            regularizer: Its penalty, which training adds to the loss: a name, a Regularizer or a function.
            constraint: What is done to it after each step: a name, a Constraint or a function of its value.
            name: For people; ``layer/name`` in the whole.
        Raises:
            ValueError: The shape is not known, or an argument is none of these.
        """
        kind = type(self).__name__
        sizes = shape_of(shape, f"{kind}.add_weight", "shape")
        if None in sizes:
            raise ValueError(message(f"{kind}.add_weight", "shape", "be known", str(sizes)))
        make = initializers.get("glorot_uniform" if initializer is None else initializer, kind, "initializer")
        made = self.dtype if dtype is None else dtype_of(dtype, kind)
        if is_arriving():
            value = reserved(sizes, made, f"{kind}.add_weight")
        else:
            value = np.asarray(make(sizes, made), order="C")
        variable = Variable(value, f"{self.name}/{name or 'weight'}", trainable)
        variable.regularizer = regularizers.get(regularizer, kind, "regularizer")
        variable.constraint = constraints.get(constraint, kind, "constraint")
        self.variables_made.append(variable)
        return variable

    def keep_rules(self, **rules: Any) -> None:
        """Keeps regularizers and constraints as the arguments are named: ``kernel_constraint=...``."""
        for argument, value in rules.items():
            get = regularizers.get if argument.endswith("_regularizer") else constraints.get
            setattr(self, argument, get(value, type(self).__name__, argument))

    def add_ruled(self, name: str, shape: Any, initializer: Any, rules: str | None = None) -> Variable:
        """``add_weight`` with what ``keep_rules`` has kept for it.

        Args:
            name: "kernel", say.
            shape: Its shape.
            initializer: As for ``add_weight``.
            rules: What its regularizer's and constraint's names begin with; ``name`` by default.
        """
        regularizer, constraint = (
            getattr(self, f"{rules or name}_{rule}") for rule in ("regularizer", "constraint")
        )
        return self.add_weight(shape, initializer, regularizer=regularizer, constraint=constraint, name=name)

    def add_loss(self, loss: Any) -> None:
        """Adds a number to what models with this layer minimise; for use in ``call``.

        Args:
            loss: A Symbol of shape (), computed from the inputs or the weights.
        Raises:
            RuntimeError: Outside of ``call``.
            ValueError: Of another shape.
            TypeError: No Symbol.
        """
        function = f"{self.name}.add_loss"
        if self._added is None:
            raise RuntimeError(f"{function}: it must be called within call, got a call from outside")
        self._added.append(penalty(loss, function, "loss"))

    @property
    def losses(self) -> list[float]:
        """The penalties of its trainable weights as they are now."""
        penalised = [v for v in self.trainable_weights if v.regularizer is not None]
        return [float(v.regularizer(v.value)) for v in penalised]  # type: ignore[misc]

    def make_seed(self, seed: int | None = None) -> RandomSeed:
        """A source of seeds for this layer's randomness: from ``seed``, or drawn."""
        if seed is None:
            return RandomSeed(0 if is_arriving() else draw_seed())
        return RandomSeed(number(seed, type(self).__name__, "seed", low=0, whole=True))

    @property
    def weights(self) -> list[Variable]:
        """All its weights, those of its sublayers after its own."""
        own = [v for v in self.variables_made if v.trainable] + [
            v for v in self.variables_made if not v.trainable
        ]
        return list(dict.fromkeys(own + [v for layer in self.sublayers() for v in layer.weights]))

    @property
    def trainable_weights(self) -> list[Variable]:
        """The weights that optimizers may change."""
        if not self.trainable:
            return []
        own = [v for v in self.variables_made if v.trainable]
        return list(dict.fromkeys(own + [v for layer in self.sublayers() for v in layer.trainable_weights]))

    @property
    def non_trainable_weights(self) -> list[Variable]:
        """The weights that optimizers leave alone."""
        trainable = set(self.trainable_weights)
        return [v for v in self.weights if v not in trainable]

    variables = weights
    trainable_variables = trainable_weights
    non_trainable_variables = non_trainable_weights

    @property
    def trainable(self) -> bool:
        """Whether optimizers may change its weights; setting it sets it for its sublayers too."""
        return self._trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        self._trainable = bool(value)
        for layer in self.sublayers():
            layer.trainable = value

    def get_weights(self) -> list[Array]:
        """Copies of all weights."""
        return [variable.numpy() for variable in self.weights]

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Overwrites all weights, in the order of ``get_weights``; all or none.

        Raises:
            ValueError: Another number of arrays, or one of another shape.
        """
        variables = self.weights
        function = f"{self.name}.set_weights"
        if len(weights) != len(variables):
            raise ValueError(message(function, "weights", f"be {len(variables)} arrays", str(len(weights))))
        arrays = []
        for index, (variable, value) in enumerate(zip(variables, weights, strict=True)):
            array = floating(value, function, f"weights[{index}]", dtype=variable.dtype)
            if array.shape != variable.shape:
                rule = f"have shape {variable.shape}"
                raise ValueError(message(function, f"weights[{index}]", rule, str(array.shape)))
            arrays.append(array)
        with Variable.changing:
            for variable, array in zip(variables, arrays, strict=True):
                variable.value[...] = array

    def count_params(self) -> int:
        """How many numbers its weights hold."""
        if not self.built:
            raise ValueError(
                f"{self.name}.count_params: the layer must be built, got one without weights yet"
            )
        return sum(math.prod(variable.shape) for variable in self.weights)

    # Calls.

    def __call__(self, inputs: Any, *arguments: Any, **options: Any) -> Any:
        """Adds this layer to a graph (Symbols), or runs it at once (arrays).

        Args:
            inputs: A Symbol or an array, or a list of them.
            arguments: Further arguments of ``call``, by position.
            options: By name; of most layers ``mask`` and ``training``, of recurrent ones
                ``initial_state``.
        """
        names = list(inspect.signature(self.call).parameters)[1:]
        options.update(zip(names, arguments, strict=False))
        if others := [name for name in options if name not in names and name not in ("mask", "training")]:
            known = sorted({*names, "mask", "training"} - {"options"})
            rule = f"be among {', '.join(known)}"
            raise TypeError(message(self.name, "options", rule, unknown(others[0], known)))
        leaves = flatten([inputs, options])
        if not any(isinstance(leaf, Symbol) for leaf in leaves):
            return self._run(inputs, options)
        outputs = self._trace(inputs, options)
        call = LayerCall(self, inputs, options, outputs)
        for index, symbol in reversed(list(enumerate(call.outputs))):  # an output and h may be one
            symbol.call = call
            symbol.call_index = index
        self._calls.append(call)
        return outputs

    def _trace(self, inputs: Any, options: dict[str, Any]) -> Any:
        """Joins the operations of one call on Symbols, building the layer first and passing masks on."""
        symbols = flatten(inputs)
        for symbol in symbols:
            if not isinstance(symbol, Symbol):
                raise TypeError(message(self.name, "inputs", "be Symbols or all arrays", describe(symbol)))
        self.ensure_built([s.shape for s in symbols] if isinstance(inputs, (list, tuple)) else inputs.shape)
        options = dict(options)
        accepted = inspect.signature(self.call).parameters
        mask = options.get("mask")
        if mask is None:
            masks = [symbol.mask for symbol in symbols]
            mask = masks if isinstance(inputs, (list, tuple)) else masks[0]
            if isinstance(mask, list) and all(m is None for m in mask):
                mask = None
        options["mask"] = mask
        given = {name: value for name, value in options.items() if name in accepted}
        before, self._added = self._added, []
        try:
            with tracing():
                outputs = self.call(inputs, **given)
                if self.activity_regularizer is not None:
                    self._added += [self._activity(symbol) for symbol in flatten(outputs)]
            added = self._added
        finally:
            self._added = before
        fresh = [ops.identity(s) if s in symbols else s for s in flatten(outputs)]
        for loss in added:
            masks, fresh[0] = fresh[0].mask, ops.attached(fresh[0], loss)
            fresh[0].mask = masks
        outputs = unflatten(outputs, fresh)
        self._pass_mask(inputs, mask, outputs)
        return outputs

    def _activity(self, output: Symbol) -> Any:
        """The penalty of an output, divided by the size of the batch."""
        assert self.activity_regularizer is not None
        function = f"{self.name}.activity_regularizer"
        return penalty(self.activity_regularizer(output), function, "loss") / ops.rows(output)

    def _pass_mask(self, inputs: Any, mask: Any, outputs: Any) -> None:
        if not self.supports_masking:
            if mask is not None:
                warnings.warn(
                    f"layer {self.name} ({type(self).__name__}) does not support masks: that of its input "
                    "is lost, and the layers after it will not see it",
                    stacklevel=4,
                )
            return
        made = self.compute_mask(inputs, mask)
        made = made if isinstance(made, (list, tuple)) else [made]
        for symbol, output_mask in zip(flatten(outputs), made, strict=False):
            if symbol.mask is None:
                symbol.mask = output_mask

    def ensure_built(self, input_shape: Any) -> None:
        """Makes the weights unless they exist."""
        if not self.built:
            self.build(input_shape)
            self.built = True

    def _run(self, inputs: Any, options: dict[str, Any]) -> Any:
        """Runs the layer on arrays."""
        return run(self, inputs, options)

    # Looking at it.

    def _first_call(self, what: str) -> LayerCall:
        if not self._calls:
            raise AttributeError(
                f"{self.name}.{what}: the layer must have been called on a Symbol, got no call"
            )
        return self._calls[0]

    @property
    def input(self) -> Any:
        """The Symbol it was first called on, or a list of them."""
        inputs = self._first_call("input").inputs
        return inputs[0] if len(inputs) == 1 else inputs

    @property
    def output(self) -> Any:
        """What that call returned."""
        return self._first_call("output").structure

    @property
    def input_shape(self) -> Any:
        """The shape of ``input``."""
        shapes = [symbol.shape for symbol in self._first_call("input_shape").inputs]
        return shapes[0] if len(shapes) == 1 else shapes

    @property
    def output_shape(self) -> Any:
        """The shape of ``output``."""
        shapes = [symbol.shape for symbol in self._first_call("output_shape").outputs]
        return shapes[0] if len(shapes) == 1 else shapes

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The shape of the output for that of the input; builds the layer."""
        several = bool(input_shape) and isinstance(input_shape[0], (list, tuple))
        symbols = [Symbol(shape, self.dtype) for shape in (input_shape if several else [input_shape])]
        outputs = self._trace(symbols if several else symbols[0], {})
        shapes = [symbol.shape for symbol in flatten(outputs)]
        return shapes[0] if len(shapes) == 1 else shapes

    def get_config(self) -> dict[str, Any]:
        """The arguments that make this layer again, as plain values."""
        config: dict[str, Any] = {"name": self.name, "trainable": self.trainable, "dtype": str(self.dtype)}
        if self.batch_input_shape is not None:
            config["batch_input_shape"] = self.batch_input_shape
        if self.activity_regularizer is not None:
            config["activity_regularizer"] = plain(self.activity_regularizer)
        for argument in arguments_of(type(self)):
            if argument not in config and argument != "weights" and hasattr(self, argument):
                config[argument] = plain(getattr(self, argument))
        return config

    def __repr__(self) -> str:
        return f"<{type(self).__name__} name={self.name}, built={self.built}>"


def penalty(loss: Any, function: str, argument: str) -> Any:
    """What is to be added to the loss: a Symbol that stands for one number.

    Raises:
        TypeError: No Symbol.
        ValueError: A Symbol of another shape.
    """
    if not isinstance(loss, Symbol):
        raise TypeError(message(function, argument, "be a Symbol", describe(loss)))
    if loss.shape:
        raise ValueError(message(function, argument, "have shape ()", str(loss.shape)))
    return loss


def _kept(value: Any) -> list[Any]:
    """What nested lists, tuples and dicts hold, in order."""
    if isinstance(value, dict):
        value = list(value.values())
    return [leaf for item in value for leaf in _kept(item)] if isinstance(value, (list, tuple)) else [value]
