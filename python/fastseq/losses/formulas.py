"""Losses written with operations: one formula each, for arrays and, traced, for training."""

from __future__ import annotations

import math
from typing import Any

from fastseq import ops
from fastseq._arrays import Array, message, number
from fastseq._floatx import EPSILON
from fastseq.losses.base import Loss

__all__ = [
    "BinaryFocalCrossentropy",
    "CategoricalFocalCrossentropy",
    "CategoricalHinge",
    "CosineSimilarity",
    "Hinge",
    "Huber",
    "KLDivergence",
    "LogCosh",
    "MeanAbsolutePercentageError",
    "MeanSquaredLogarithmicError",
    "Poisson",
    "SquaredHinge",
    "binary_focal_crossentropy",
    "categorical_focal_crossentropy",
    "categorical_hinge",
    "cosine_similarity",
    "hinge",
    "huber",
    "kl_divergence",
    "log_cosh",
    "mean_absolute_percentage_error",
    "mean_squared_logarithmic_error",
    "poisson",
    "squared_hinge",
]


class Formula(Loss):
    """A loss that is a formula of targets and predictions of one shape.

    Args:
        reduction: "sum_over_batch_size", "sum", "mean_with_sample_weight" or "none".
        name: For people.
    """

    def __init__(self, reduction: str | None = "sum_over_batch_size", name: str | None = None) -> None:
        super().__init__(name, reduction)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        wanted, came = y_pred.shape, y_true.shape
        if len(wanted) != len(came) or any(
            m is not None and n is not None and m != n for m, n in zip(wanted, came, strict=True)
        ):
            raise ValueError(message(self.name, "y_true", f"have shape {wanted}", str(came)))
        return self.formula(y_true, y_pred)

    def formula(self, y_true: Any, y_pred: Any) -> Any:
        """The losses of the rows."""
        raise NotImplementedError

    def _number(self, value: Any, argument: str, **bounds: Any) -> Any:
        return number(value, type(self).__name__, argument, **bounds)

    @classmethod
    def of(cls, y_true: Any, y_pred: Any, **options: Any) -> Any:
        """One value per row."""
        return cls(reduction="none", **options)(y_true, y_pred)


# --- errors ---------------------------------------------------------------------------------------


class MeanAbsolutePercentageError(Formula):
    """Mean of 100 |target - prediction| / |target| over the last axis, targets of at least 1e-7."""

    def formula(self, y_true: Any, y_pred: Any) -> Any:
        size = ops.maximum(abs(y_true), EPSILON)
        return 100.0 * ops.mean(abs((y_true - y_pred) / size), axis=-1)


class MeanSquaredLogarithmicError(Formula):
    """Mean of (log(1 + target) - log(1 + prediction))^2 over the last axis, both of at least 1e-7."""

    def formula(self, y_true: Any, y_pred: Any) -> Any:
        true, pred = (ops.log(ops.maximum(y, EPSILON) + 1.0) for y in (y_true, y_pred))
        return ops.mean(ops.square(pred - true), axis=-1)


class Huber(Formula):
    """Mean of error^2 / 2 over the last axis; beyond ``delta`` of the straight line that goes on.

    Args:
        delta: More than 0.
        reduction: "sum_over_batch_size", "sum", "mean_with_sample_weight" or "none".
        name: For people.
    Source:
        Huber (1964), https://doi.org/10.1214/aoms/1177703732
    """

    def __init__(
        self,
        delta: float = 1.0,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "huber_loss",
    ) -> None:
        super().__init__(reduction, name)
        self.delta = self._number(delta, "delta", low=0, open_low=True)

    def formula(self, y_true: Any, y_pred: Any) -> Any:
        size = abs(y_pred - y_true)
        line = self.delta * size - 0.5 * self.delta**2
        return ops.mean(ops.where(size <= self.delta, 0.5 * ops.square(size), line), axis=-1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "delta": self.delta}


class LogCosh(Formula):
    """Mean of log(cosh(error)) over the last axis: about error^2 / 2 near 0, |error| - log 2 far away."""

    def formula(self, y_true: Any, y_pred: Any) -> Any:
        error = y_pred - y_true
        return ops.mean(error + ops.activation(-2.0 * error, "softplus") - math.log(2.0), axis=-1)


class CosineSimilarity(Formula):
    """Minus the cosine of the angle between target and prediction along an axis.

    Args:
        axis: The axis.
        reduction: "sum_over_batch_size", "sum", "mean_with_sample_weight" or "none".
        name: For people.
    """

    def __init__(
        self,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
    ) -> None:
        super().__init__(reduction, name)
        self.axis = self._number(axis, "axis", whole=True)

    def formula(self, y_true: Any, y_pred: Any) -> Any:
        true, pred = (ops.normalize(y, axis=self.axis) for y in (y_true, y_pred))
        return -ops.sum(true * pred, axis=self.axis)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "axis": self.axis}


# --- margins --------------------------------------------------------------------------------------


def _signs(y_true: Any) -> Any:
    """Targets -1 and 1, also where all of them are 0 and 1."""
    binary = ops.min(ops.cast(ops.logical_or(ops.equal(y_true, 0), ops.equal(y_true, 1)), y_true.dtype))
    return ops.where(binary, 2.0 * y_true - 1.0, y_true)


class Hinge(Formula):
    """Mean of max(1 - target * prediction, 0) over the last axis; targets -1 and 1, or 0 and 1."""

    def formula(self, y_true: Any, y_pred: Any) -> Any:
        return ops.mean(ops.maximum(1.0 - _signs(y_true) * y_pred, 0.0), axis=-1)


class SquaredHinge(Formula):
    """Mean of max(1 - target * prediction, 0)^2 over the last axis; targets -1 and 1, or 0 and 1."""

    def formula(self, y_true: Any, y_pred: Any) -> Any:
        return ops.mean(ops.square(ops.maximum(1.0 - _signs(y_true) * y_pred, 0.0)), axis=-1)


class CategoricalHinge(Formula):
    """max(1 + the largest prediction of the other classes - that of the target's, 0); targets one-hot."""

    def formula(self, y_true: Any, y_pred: Any) -> Any:
        own = ops.sum(y_true * y_pred, axis=-1)
        other = ops.max((1.0 - y_true) * y_pred, axis=-1)
        return ops.maximum(other - own + 1.0, 0.0)


# --- distributions --------------------------------------------------------------------------------


class KLDivergence(Formula):
    """Sum of target * log(target / prediction) over the last axis, both kept in [1e-7, 1]."""

    def formula(self, y_true: Any, y_pred: Any) -> Any:
        true, pred = ops.clip(y_true, EPSILON, 1.0), ops.clip(y_pred, EPSILON, 1.0)
        return ops.sum(true * ops.log(true / pred), axis=-1)


class Poisson(Formula):
    """Mean of prediction - target * log(prediction + 1e-7) over the last axis."""

    def formula(self, y_true: Any, y_pred: Any) -> Any:
        return ops.mean(y_pred - y_true * ops.log(y_pred + EPSILON), axis=-1)


class _Focal(Formula):
    """Common to the focal cross-entropies."""

    def __init__(
        self,
        alpha: float,
        gamma: float,
        from_logits: bool,
        label_smoothing: float,
        axis: int,
        reduction: str | None,
        name: str | None,
    ) -> None:
        super().__init__(reduction, name)
        if axis != -1:
            raise ValueError(message(type(self).__name__, "axis", "be -1, the last one", str(axis)))
        self.alpha = self._number(alpha, "alpha", low=0, high=1)
        self.gamma = self._number(gamma, "gamma", low=0)
        self.from_logits = bool(from_logits)
        self.label_smoothing = self._number(label_smoothing, "label_smoothing", low=0, high=1)

    def _smoothed(self, y_true: Any, share: float) -> Any:
        """Targets moved towards ``share`` as far as ``label_smoothing`` says."""
        if not self.label_smoothing:
            return y_true
        return y_true * (1.0 - self.label_smoothing) + self.label_smoothing * share

    def get_config(self) -> dict[str, Any]:
        names = ("alpha", "gamma", "from_logits", "label_smoothing")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


class CategoricalFocalCrossentropy(_Focal):
    """-alpha * sum(target * (1 - probability)^gamma * log(probability)): less of what is right already.

    Args:
        alpha: Weight of all classes, in [0, 1].
        gamma: At least 0; 0 for the plain cross-entropy times ``alpha``.
        from_logits: Whether predictions are logits rather than probabilities.
        label_smoothing: In [0, 1]: how much of each target is spread over all classes.
        axis: -1.
        reduction: "sum_over_batch_size", "sum", "mean_with_sample_weight" or "none".
        name: For people.
    Source:
        Lin et al. (2017), https://arxiv.org/abs/1708.02002
    """

    def __init__(
        self,
        alpha: float = 0.25,
        gamma: float = 2.0,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
    ) -> None:
        super().__init__(alpha, gamma, from_logits, label_smoothing, axis, reduction, name)

    def formula(self, y_true: Any, y_pred: Any) -> Any:
        true = self._smoothed(y_true, 1.0 / y_pred.shape[-1])
        p = ops.softmax(y_pred) if self.from_logits else y_pred
        p = ops.clip(p / ops.sum(p, axis=-1, keepdims=True), EPSILON, 1.0 - EPSILON)
        return -self.alpha * ops.sum(true * (1.0 - p) ** self.gamma * ops.log(p), axis=-1)


class BinaryFocalCrossentropy(_Focal):
    """Mean over the last axis of the binary cross-entropy times (1 - probability of the target)^gamma.

    Args:
        apply_class_balancing: Whether class 1 weighs ``alpha`` and class 0 the rest.
        alpha: In [0, 1].
        gamma: At least 0; 0 for the plain cross-entropy.
        from_logits: Whether predictions are logits rather than probabilities.
        label_smoothing: In [0, 1]: how far targets move towards 1/2.
        axis: -1.
        reduction: "sum_over_batch_size", "sum", "mean_with_sample_weight" or "none".
        name: For people.
    Source:
        Lin et al. (2017), https://arxiv.org/abs/1708.02002
    """

    def __init__(
        self,
        apply_class_balancing: bool = False,
        alpha: float = 0.25,
        gamma: float = 2.0,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
    ) -> None:
        super().__init__(alpha, gamma, from_logits, label_smoothing, axis, reduction, name)
        self.apply_class_balancing = bool(apply_class_balancing)

    def formula(self, y_true: Any, y_pred: Any) -> Any:
        true = self._smoothed(y_true, 0.5)
        p = ops.activation(y_pred, "sigmoid") if self.from_logits else y_pred
        within = ops.clip(p, EPSILON, 1.0 - EPSILON)
        losses = -(true * ops.log(within) + (1.0 - true) * ops.log(1.0 - within))
        losses = (1.0 - (true * p + (1.0 - true) * (1.0 - p))) ** self.gamma * losses
        if self.apply_class_balancing:
            losses = (true * self.alpha + (1.0 - true) * (1.0 - self.alpha)) * losses
        return ops.mean(losses, axis=-1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "apply_class_balancing": self.apply_class_balancing}


# --- the functions: one value per row -------------------------------------------------------------


def mean_absolute_percentage_error(y_true: Any, y_pred: Any) -> Array:
    """One value per row: see ``MeanAbsolutePercentageError``."""
    return MeanAbsolutePercentageError.of(y_true, y_pred)  # type: ignore[no-any-return]


def mean_squared_logarithmic_error(y_true: Any, y_pred: Any) -> Array:
    """One value per row: see ``MeanSquaredLogarithmicError``."""
    return MeanSquaredLogarithmicError.of(y_true, y_pred)  # type: ignore[no-any-return]


def huber(y_true: Any, y_pred: Any, delta: float = 1.0) -> Array:
    """One value per row: see ``Huber``."""
    return Huber.of(y_true, y_pred, delta=delta)  # type: ignore[no-any-return]


def log_cosh(y_true: Any, y_pred: Any) -> Array:
    """One value per row: see ``LogCosh``."""
    return LogCosh.of(y_true, y_pred)  # type: ignore[no-any-return]


def cosine_similarity(y_true: Any, y_pred: Any, axis: int = -1) -> Array:
    """One value per row: see ``CosineSimilarity``."""
    return CosineSimilarity.of(y_true, y_pred, axis=axis)  # type: ignore[no-any-return]


def hinge(y_true: Any, y_pred: Any) -> Array:
    """One value per row: see ``Hinge``."""
    return Hinge.of(y_true, y_pred)  # type: ignore[no-any-return]


def squared_hinge(y_true: Any, y_pred: Any) -> Array:
    """One value per row: see ``SquaredHinge``."""
    return SquaredHinge.of(y_true, y_pred)  # type: ignore[no-any-return]


def categorical_hinge(y_true: Any, y_pred: Any) -> Array:
    """One value per row: see ``CategoricalHinge``."""
    return CategoricalHinge.of(y_true, y_pred)  # type: ignore[no-any-return]


def kl_divergence(y_true: Any, y_pred: Any) -> Array:
    """One value per row: see ``KLDivergence``."""
    return KLDivergence.of(y_true, y_pred)  # type: ignore[no-any-return]


def poisson(y_true: Any, y_pred: Any) -> Array:
    """One value per row: see ``Poisson``."""
    return Poisson.of(y_true, y_pred)  # type: ignore[no-any-return]


def categorical_focal_crossentropy(
    y_true: Any,
    y_pred: Any,
    alpha: float = 0.25,
    gamma: float = 2.0,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> Array:
    """One value per row: see ``CategoricalFocalCrossentropy``."""
    loss = CategoricalFocalCrossentropy(alpha, gamma, from_logits, label_smoothing, axis, "none")
    return loss(y_true, y_pred)  # type: ignore[no-any-return]


def binary_focal_crossentropy(
    y_true: Any,
    y_pred: Any,
    apply_class_balancing: bool = False,
    alpha: float = 0.25,
    gamma: float = 2.0,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> Array:
    """One value per row: see ``BinaryFocalCrossentropy``."""
    loss = BinaryFocalCrossentropy(
        apply_class_balancing, alpha, gamma, from_logits, label_smoothing, axis, "none"
    )
    return loss(y_true, y_pred)  # type: ignore[no-any-return]
