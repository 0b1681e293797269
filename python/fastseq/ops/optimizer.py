"""Optimizer steps: one call over all parameters of a model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from fastseq import _core
from fastseq._arrays import Array, describe, message

__all__ = [
    "ParameterTable",
    "adagrad_step",
    "adam_step",
    "adamax_step",
    "average_step",
    "lion_step",
    "nadam_step",
    "rmsprop_step",
    "sgd_step",
]


class ParameterTable:
    """The parameters of a model with their gradients, checked once and then changed in place.

    It holds references to the arrays: a parameter that is to be changed must stay the same array.

    Args:
        pairs: (value, gradient) arrays of one shape and dtype, float32 or float64, C-contiguous and
            writable; they may be views of one buffer, but must not overlap.
        decays: For each pair whether weight decay is for it; None for all.
    Raises:
        TypeError: Another dtype or layout.
        ValueError: Shapes disagree, or an array is read-only.
    """

    def __init__(self, pairs: Iterable[tuple[Array, Array]], decays: Sequence[bool] | None = None) -> None:
        function = "ParameterTable"
        values, gradients = [], []
        for k, (value, gradient) in enumerate(pairs):
            for name, array in (("values", value), ("gradients", gradient)):
                if not isinstance(array, np.ndarray):
                    raise TypeError(message(function, f"{name}[{k}]", "be an array", describe(array)))
            values.append(value)
            gradients.append(gradient)
        if decays is None:
            decays = [True] * len(values)
        elif len(decays) != len(values):
            rule = f"have one entry for each of {len(values)} parameters"
            raise ValueError(message(function, "decays", rule, str(len(decays))))
        self._table = _core.ParameterTable(values, gradients, list(decays))

    def __len__(self) -> int:
        return len(self._table)

    @property
    def count(self) -> int:
        """Numbers in all parameters together."""
        return self._table.count


def sgd_step(
    table: ParameterTable,
    velocities: Sequence[Array] | None = None,
    *,
    learning_rate: float,
    momentum: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
    clipnorm: float | None = None,
    clipvalue: float | None = None,
    global_clipnorm: float | None = None,
    clear_gradients: bool = True,
) -> None:
    """One step of stochastic gradient descent, all parameters in one call.

    Args:
        table: The parameters, changed in place.
        velocities: One array like each parameter, changed in place; None only without momentum.
        learning_rate: How far a step goes.
        momentum: How much of the last step is repeated, in [0, 1].
        nesterov: Whether the gradient is taken as if after that repeat.
        weight_decay: Share of each parameter taken off per unit of learning rate, before the step.
        clipnorm: Largest norm of each parameter's gradient; None for any. At most one of the three
            clippings may be given.
        clipvalue: Largest absolute value of a gradient's element; None for any.
        global_clipnorm: Largest norm of all gradients together; None for any.
        clear_gradients: Set the gradients to 0 in the same sweep.
    Raises:
        TypeError: An array of another dtype or layout.
        ValueError: Shapes disagree, or a setting is out of range.
    """
    _core.sgd_step(
        table._table,
        velocities,
        momentum,
        nesterov,
        learning_rate,
        weight_decay,
        clipnorm,
        clipvalue,
        global_clipnorm,
        clear_gradients,
    )


def adam_step(
    table: ParameterTable,
    m: Sequence[Array],
    v: Sequence[Array],
    largest: Sequence[Array] | None = None,
    *,
    step: int,
    learning_rate: float = 0.001,
    beta_1: float = 0.9,
    beta_2: float = 0.999,
    epsilon: float = 1e-7,
    weight_decay: float = 0.0,
    clipnorm: float | None = None,
    clipvalue: float | None = None,
    global_clipnorm: float | None = None,
    clear_gradients: bool = True,
) -> None:
    """One step of Adam, all parameters in one call.

    Args:
        table: The parameters, changed in place.
        m: Running means of the gradients: one array like each parameter, changed in place.
        v: Running means of their squares, likewise.
        largest: The largest of those so far, likewise, to take their place in the step (amsgrad); None for
            Adam without it.
        step: 1 for the first step, 2 for the next.
        learning_rate: How far a step goes.
        beta_1: Decay of ``m``, in [0, 1).
        beta_2: Decay of ``v``, in [0, 1).
        epsilon: Added to the square root.

        All else as in ``sgd_step``.
    Raises:
        TypeError: An array of another dtype or layout.
        ValueError: Shapes disagree, or a setting is out of range.
    Source:
        Kingma & Ba (2015), https://arxiv.org/abs/1412.6980, in the order given at the end of its
        section 2, which is Keras's; ``largest``: Reddi, Kale & Kumar (2018),
        https://arxiv.org/abs/1904.09237, algorithm 2.
    """
    _core.adam_step(
        table._table,
        m,
        v,
        largest,
        step,
        beta_1,
        beta_2,
        epsilon,
        learning_rate,
        weight_decay,
        clipnorm,
        clipvalue,
        global_clipnorm,
        clear_gradients,
    )


def nadam_step(
    table: ParameterTable,
    m: Sequence[Array],
    v: Sequence[Array],
    *,
    step: int,
    momentum_product: float,
    learning_rate: float = 0.001,
    beta_1: float = 0.9,
    beta_2: float = 0.999,
    epsilon: float = 1e-7,
    weight_decay: float = 0.0,
    clipnorm: float | None = None,
    clipvalue: float | None = None,
    global_clipnorm: float | None = None,
    clear_gradients: bool = True,
) -> None:
    """One step of Adam with Nesterov's momentum, all parameters in one call.

    Args:
        table: The parameters, changed in place.
        m: Running means of the gradients: one array like each parameter, changed in place.
        v: Running means of their squares, likewise.
        step: 1 for the first step, 2 for the next.
        momentum_product: Of the momenta of all steps, this one included, in [0, 1): that of step t is
            ``beta_1 * (1 - 0.5 * 0.96 ** t)``.
        learning_rate: How far a step goes.
        beta_1: Decay of ``m``, in [0, 1).
        beta_2: Decay of ``v``, in [0, 1).
        epsilon: Added to the square root.

        All else as in ``sgd_step``.
    Raises:
        TypeError: An array of another dtype or layout.
        ValueError: Shapes disagree, or a setting is out of range.
    Source:
        Dozat (2016), https://cs229.stanford.edu/proj2015/054_report.pdf, as in Keras.
    """
    _core.nadam_step(
        table._table,
        m,
        v,
        step,
        momentum_product,
        beta_1,
        beta_2,
        epsilon,
        learning_rate,
        weight_decay,
        clipnorm,
        clipvalue,
        global_clipnorm,
        clear_gradients,
    )


def adamax_step(
    table: ParameterTable,
    m: Sequence[Array],
    u: Sequence[Array],
    *,
    step: int,
    learning_rate: float = 0.001,
    beta_1: float = 0.9,
    beta_2: float = 0.999,
    epsilon: float = 1e-7,
    weight_decay: float = 0.0,
    clipnorm: float | None = None,
    clipvalue: float | None = None,
    global_clipnorm: float | None = None,
    clear_gradients: bool = True,
) -> None:
    """One step of Adamax, all parameters in one call.

    Args:
        table: The parameters, changed in place.
        m: Running means of the gradients: one array like each parameter, changed in place.
        u: The largest gradients, which fade, likewise.
        step: 1 for the first step, 2 for the next.
        learning_rate: How far a step goes.
        beta_1: Decay of ``m``, in [0, 1).
        beta_2: How slowly ``u`` fades, in [0, 1).
        epsilon: Added to ``u``.

        All else as in ``sgd_step``.
    Raises:
        TypeError: An array of another dtype or layout.
        ValueError: Shapes disagree, or a setting is out of range.
    Source:
        Kingma & Ba (2015), https://arxiv.org/abs/1412.6980, section 7.1.
    """
    _core.adamax_step(
        table._table,
        m,
        u,
        step,
        beta_1,
        beta_2,
        epsilon,
        learning_rate,
        weight_decay,
        clipnorm,
        clipvalue,
        global_clipnorm,
        clear_gradients,
    )


def adagrad_step(
    table: ParameterTable,
    squares: Sequence[Array],
    *,
    learning_rate: float = 0.001,
    epsilon: float = 1e-7,
    weight_decay: float = 0.0,
    clipnorm: float | None = None,
    clipvalue: float | None = None,
    global_clipnorm: float | None = None,
    clear_gradients: bool = True,
) -> None:
    """One step of Adagrad, all parameters in one call.

    Args:
        table: The parameters, changed in place.
        squares: Sums of the squared gradients: one array like each parameter, changed in place.
        learning_rate: How far a step goes.
        epsilon: Added to ``squares``, within the root, as in Keras.

        All else as in ``sgd_step``.
    Raises:
        TypeError: An array of another dtype or layout.
        ValueError: Shapes disagree, or a setting is out of range.
    Source:
        Duchi, Hazan & Singer (2011), https://jmlr.org/papers/v12/duchi11a.html
    """
    _core.adagrad_step(
        table._table,
        squares,
        epsilon,
        learning_rate,
        weight_decay,
        clipnorm,
        clipvalue,
        global_clipnorm,
        clear_gradients,
    )


def lion_step(
    table: ParameterTable,
    m: Sequence[Array],
    *,
    learning_rate: float = 0.001,
    beta_1: float = 0.9,
    beta_2: float = 0.99,
    weight_decay: float = 0.0,
    clipnorm: float | None = None,
    clipvalue: float | None = None,
    global_clipnorm: float | None = None,
    clear_gradients: bool = True,
) -> None:
    """One step of Lion, all parameters in one call.

    Args:
        table: The parameters, changed in place.
        m: Running means of the gradients: one array like each parameter, changed in place.
        learning_rate: How far every parameter goes, along the sign of a mean.
        beta_1: How much of ``m`` is in that mean, beside the gradient; in (0, 1].
        beta_2: Decay of ``m``, in [0, 1].

        All else as in ``sgd_step``.
    Raises:
        TypeError: An array of another dtype or layout.
        ValueError: Shapes disagree, or a setting is out of range.
    Source:
        Chen et al. (2023), https://arxiv.org/abs/2302.06675, algorithm 2.
    """
    _core.lion_step(
        table._table,
        m,
        beta_1,
        beta_2,
        learning_rate,
        weight_decay,
        clipnorm,
        clipvalue,
        global_clipnorm,
        clear_gradients,
    )


def rmsprop_step(
    table: ParameterTable,
    squares: Sequence[Array],
    momenta: Sequence[Array] | None = None,
    means: Sequence[Array] | None = None,
    *,
    learning_rate: float = 0.001,
    rho: float = 0.9,
    momentum: float = 0.0,
    epsilon: float = 1e-7,
    weight_decay: float = 0.0,
    clipnorm: float | None = None,
    clipvalue: float | None = None,
    global_clipnorm: float | None = None,
    clear_gradients: bool = True,
) -> None:
    """One step of RMSprop, all parameters in one call.

    Args:
        table: The parameters, changed in place.
        squares: Running means of the squared gradients: one array like each parameter, changed in place.
        momenta: What the last step went by, likewise; None only without momentum.
        means: Running means of the gradients, likewise; their squares are taken off ``squares`` within
            the root. None for RMSprop without them.
        learning_rate: How far a step goes.
        rho: Decay of the running means, in [0, 1].
        momentum: How much of the last step is repeated, in [0, 1].
        epsilon: Added to the mean of squares, within the root, as in Keras.

        All else as in ``sgd_step``.
    Raises:
        TypeError: An array of another dtype or layout.
        ValueError: Shapes disagree, or a setting is out of range.
    Source:
        Tieleman & Hinton (2012), lecture 6.5; with ``means`` Graves (2013),
        https://arxiv.org/abs/1308.0850, equations 38 to 41.
    """
    _core.rmsprop_step(
        table._table,
        squares,
        momenta,
        means,
        rho,
        momentum,
        epsilon,
        learning_rate,
        weight_decay,
        clipnorm,
        clipvalue,
        global_clipnorm,
        clear_gradients,
    )


def average_step(
    table: ParameterTable, averages: Sequence[Array], *, momentum: float, overwrite: bool = False
) -> None:
    """Moves running means of the parameters towards them, all in one call.

    Args:
        table: The parameters.
        averages: Their running means: one array like each parameter, changed in place.
        momentum: How much of the means stays, in [0, 1].
        overwrite: Whether the parameters then become their means.
    Raises:
        TypeError: An array of another dtype or layout.
        ValueError: Shapes disagree, or the momentum is out of range.
    """
    _core.average_step(table._table, averages, momentum, overwrite)
