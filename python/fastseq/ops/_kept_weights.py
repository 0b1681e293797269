"""Weights of recurrent layers that stay packed for as long as they stay as they are."""

from __future__ import annotations

import weakref
from collections.abc import MutableMapping
from typing import Any

from fastseq._arrays import Array
from fastseq._symbol import Variable
from fastseq.ops.stepper import RecurrentStepper

__all__ = ["KeptWeights"]

_keepers: MutableMapping[Variable, dict[tuple[Any, ...], KeptWeights]] = weakref.WeakKeyDictionary()


class KeptWeights:
    """Packs a layer's weights once they have come twice unchanged: coming once is not worth a copy."""

    __slots__ = ("_activations", "_cell", "_kept", "_name")

    def __init__(self, name: str, cell: int, activation: str, recurrent_activation: str) -> None:
        self._name, self._cell = name, cell
        self._activations = activation, recurrent_activation
        # Variable.changes, the weights, what they are packed in; one tuple, whatever other threads do
        self._kept: tuple[int, list[Any], RecurrentStepper | None] = (-1, [], None)

    @staticmethod
    def of(
        weights: tuple[Variable, Variable, Variable | None], name: str, cell: int, *activations: str
    ) -> KeptWeights:
        """The one that all calls of a layer share.

        Args:
            weights: kernel, recurrent_kernel and bias.
            name: The operation's.
            cell: The kernels' number of the cell.
            activations: activation and recurrent_activation.
        """
        kernel, recurrent_kernel, bias = weights
        of_layer = _keepers.setdefault(recurrent_kernel, {})
        key = id(kernel), id(bias), cell, *activations  # of others in their place: the arrays differ
        return of_layer.setdefault(key, KeptWeights(name, cell, *activations))

    def packed(self, kernel: Array, recurrent_kernel: Array, bias: Array | None) -> RecurrentStepper | None:
        """The values of the weights, packed; None while they are new."""
        changes, seen, stepper = self._kept
        now, weights = Variable.changes, (kernel, recurrent_kernel, bias)
        if changes != now or any(_value(a) is not b for a, b in zip(seen, weights, strict=True)):
            seen, stepper = [None if w is None else weakref.ref(w) for w in weights], None
        elif stepper is None:
            stepper = RecurrentStepper(
                self._name, self._cell, kernel, recurrent_kernel, bias, *self._activations
            )
        else:
            return stepper
        self._kept = now, seen, stepper
        return stepper


def _value(reference: Any) -> Any:
    return None if reference is None else reference()
