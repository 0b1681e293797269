"""Metrics of right and wrong positives and negatives, by thresholds: precision, recall, AUC, F scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastseq._arrays import Array, describe, floating, message, number
from fastseq._floatx import EPSILON
from fastseq.losses.base import widened
from fastseq.losses.symbolic import same_rank
from fastseq.metrics.base import Metric

__all__ = [
    "AUC",
    "F1Score",
    "FBetaScore",
    "FalseNegatives",
    "FalsePositives",
    "Precision",
    "Recall",
    "TrueNegatives",
    "TruePositives",
]

COUNTS = ("true_positives", "false_positives", "true_negatives", "false_negatives")


def _over(a: Array, b: Array) -> Array:
    """a / b, and 0 where b is 0."""
    quotient: Array = np.divide(a, b, out=np.zeros_like(a), where=b != 0)
    return quotient


def confusion(target: Array, prediction: Array, weights: Array, thresholds: Array) -> dict[str, Array]:
    """The weights of the four outcomes at each threshold: a prediction above it is a positive.

    Args:
        target: (count,) bool: whether each is a positive.
        prediction: (count,), NaN being a negative.
        weights: (count,).
        thresholds: Growing, in the type of the predictions.
    Returns:
        For each of ``COUNTS`` an array like ``thresholds``, float64.
    """
    below = np.searchsorted(thresholds, prediction)  # how many thresholds each prediction is above
    below[np.isnan(prediction)] = 0
    size = len(thresholds) + 1
    counts = {}
    for found, missed, those in (("true", "false", target), ("false", "true", ~target)):
        at = np.bincount(below, weights=weights * those, minlength=size)
        above = at[::-1].cumsum()[::-1][1:]
        counts[f"{found}_positives"] = above
        counts[f"{missed}_negatives"] = at.sum() - above
    return counts


class _Thresholds(Metric):
    """Common to the metrics that count outcomes at thresholds.

    Attributes:
        thresholds: Sorted or not, as they were given.
    """

    def __init__(self, thresholds: Sequence[float], name: str | None, dtype: Any) -> None:
        self.thresholds = list(thresholds)
        order = np.argsort(self.thresholds, kind="stable")
        self._sorted = np.asarray(self.thresholds, np.float64)[order]
        self._back = np.argsort(order)
        super().__init__(name, dtype)

    def reset_state(self) -> None:
        self._counts = dict.fromkeys(COUNTS, np.zeros(len(self.thresholds)))

    def _prepare(self, y_true: Any, y_pred: Any, sample_weight: Any) -> tuple[Array, Array, Array]:
        """(targets, predictions, weights) of one shape."""
        function = type(self).__name__
        prediction = floating(y_pred, function, "y_pred")
        target = floating(y_true, function, "y_true", dtype=prediction.dtype)
        target, prediction = same_rank(target, prediction)
        if target.shape != prediction.shape:
            rule = f"have shape {prediction.shape}"
            raise ValueError(message(function, "y_true", rule, str(target.shape)))
        weights = np.float64(1.0) if sample_weight is None else np.asarray(sample_weight, np.float64)
        return target, prediction, np.array(_spread(weights, prediction.shape))

    def _count(self, target: Array, prediction: Array, weights: Array) -> None:
        thresholds = self._sorted.astype(prediction.dtype)
        counts = confusion(target.ravel() != 0, prediction.ravel(), weights.ravel(), thresholds)
        self._counts = {name: self._counts[name] + counts[name][self._back] for name in COUNTS}

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        self._count(*self._prepare(y_true, y_pred, sample_weight))

    def _of(self, *names: str) -> list[Array]:
        return [self._counts[name] for name in names]

    def _alone(self, values: Array) -> Any:
        """The value of one threshold as a number, those of several as an array."""
        return float(values[0]) if len(self.thresholds) == 1 else values


def _spread(weights: Array, shape: tuple[int, ...]) -> Array:
    """Weights of samples or rows, for each of their predictions."""
    if weights.ndim == len(shape) + 1 and weights.shape[-1] == 1:
        weights = weights[..., 0]
    return widened(weights, shape)


def _given(thresholds: Any, default: float, kind: str) -> list[float]:
    several = [default] if thresholds is None else thresholds
    several = several if isinstance(several, (list, tuple, np.ndarray)) else [several]
    return [
        float(one) if one == default else number(one, kind, "thresholds", low=0, high=1) for one in several
    ]


class _Outcome(_Thresholds):
    """The weight of one of the four outcomes."""

    outcome: str

    def __init__(self, thresholds: Any = None, name: str | None = None, dtype: Any = None) -> None:
        self.given = thresholds
        super().__init__(_given(thresholds, 0.5, type(self).__name__), name, dtype)

    def result(self) -> Any:
        return self._alone(self._counts[self.outcome])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "thresholds": self.given}


class TruePositives(_Outcome):
    """How many positives are predicted above the threshold, or how much they weigh.

    Args:
        thresholds: In [0, 1], one or several, with an array as the result; 0.5 by default.
        name: Its key in the logs.
        dtype: Ignored.
    """

    outcome = "true_positives"


class FalsePositives(_Outcome):
    """How many negatives are predicted above the threshold; arguments of ``TruePositives``."""

    outcome = "false_positives"


class TrueNegatives(_Outcome):
    """How many negatives are not predicted above the threshold; arguments of ``TruePositives``."""

    outcome = "true_negatives"


class FalseNegatives(_Outcome):
    """How many positives are not predicted above the threshold; arguments of ``TruePositives``."""

    outcome = "false_negatives"


class _Share(_Thresholds):
    """Common to precision and recall: true positives as a share of them and ``others``."""

    others: str

    def __init__(
        self,
        thresholds: Any = None,
        top_k: int | None = None,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        kind = type(self).__name__
        self.given = thresholds
        self.top_k = None if top_k is None else number(top_k, kind, "top_k", low=1, whole=True)
        self.class_id = None if class_id is None else number(class_id, kind, "class_id", low=0, whole=True)
        default = 0.5 if top_k is None else float(np.finfo(np.float32).min)
        super().__init__(_given(thresholds, default, kind), name, dtype)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        target, prediction, weights = self._prepare(y_true, y_pred, sample_weight)
        if self.top_k is not None:
            best = np.argsort(-prediction, axis=-1, kind="stable")[..., : self.top_k]
            chosen = np.zeros(prediction.shape, np.bool_)
            np.put_along_axis(chosen, best, True, axis=-1)
            prediction = np.where(chosen, prediction, prediction.dtype.type(-np.inf))
        if self.class_id is not None:
            if prediction.ndim < 2 or self.class_id >= prediction.shape[-1]:
                rule = f"be a class of predictions of shape {prediction.shape}"
                raise ValueError(message(type(self).__name__, "class_id", rule, str(self.class_id)))
            target, prediction, weights = (a[..., self.class_id] for a in (target, prediction, weights))
        self._count(target, prediction, weights)

    def result(self) -> Any:
        found, others = self._of("true_positives", self.others)
        return self._alone(_over(found, found + others))

    def get_config(self) -> dict[str, Any]:
        config = {"thresholds": self.given, "top_k": self.top_k, "class_id": self.class_id}
        return {**super().get_config(), **config}


class Precision(_Share):
    """The share of positives among what is predicted above the threshold; 0 where nothing is.

    Args:
        thresholds: In [0, 1], one or several, with an array as the result; 0.5 by default, and with
            ``top_k`` anything.
        top_k: Only the highest predictions of each row are positives, so many.
        class_id: Only this class is looked at.
        name: Its key in the logs.
        dtype: Ignored.
    """

    others = "false_positives"


class Recall(_Share):
    """The share of the positives that are predicted above the threshold; arguments of ``Precision``."""

    others = "false_negatives"


CURVES = ("ROC", "PR", "PRGAIN")
SUMMATIONS = ("interpolation", "minoring", "majoring")


class AUC(_Thresholds):
    """The area under a curve of two rates, from their values at many thresholds.

    Args:
        num_thresholds: How many, at least 2.
        curve: "ROC" (true over false positives), "PR" (precision over recall) or "PRGAIN".
        summation_method: "interpolation", or "minoring" or "majoring" for a bound.
        name: Its key in the logs.
        dtype: Ignored.
        thresholds: In [0, 1], instead of ``num_thresholds`` at equal distances; one at each end is added.
        multi_label: Whether each label (of the last axis) has an area of its own, of which this is the mean.
        num_labels: How many labels there are, with ``multi_label``; found in the data by default.
        label_weights: Of the labels in the mean; without ``multi_label`` of the labels' predictions.
        from_logits: Whether predictions are logits rather than probabilities.
    Source:
        Davis & Goadrich (2006), https://doi.org/10.1145/1143844.1143874, for "PR" interpolated.
    """

    def __init__(
        self,
        num_thresholds: int = 200,
        curve: str = "ROC",
        summation_method: str = "interpolation",
        name: str | None = None,
        dtype: Any = None,
        thresholds: Sequence[float] | None = None,
        multi_label: bool = False,
        num_labels: int | None = None,
        label_weights: Sequence[float] | None = None,
        from_logits: bool = False,
    ) -> None:
        for argument, value, known in (
            ("curve", curve, CURVES), ("summation_method", summation_method, SUMMATIONS),
        ):  # fmt: skip
            if value not in known:
                raise ValueError(message("AUC", argument, f"be one of {', '.join(known)}", describe(value)))
        if num_labels and not multi_label:
            raise ValueError(message("AUC", "num_labels", "be None without multi_label", str(num_labels)))
        self.curve, self.summation_method = curve, summation_method
        self.multi_label, self.num_labels = bool(multi_label), num_labels
        self.label_weights = None if label_weights is None else np.asarray(label_weights, np.float64)
        self.from_logits = bool(from_logits)
        self.given = thresholds
        if thresholds is None:
            steps: int = number(num_thresholds, "AUC", "num_thresholds", low=2, whole=True) - 1
            within = [k / steps for k in range(1, steps)]
        else:
            within = sorted(number(one, "AUC", "thresholds", low=0, high=1) for one in thresholds)
        super().__init__([-EPSILON, *within, 1.0 + EPSILON], name, dtype)

    def reset_state(self) -> None:
        super().reset_state()
        self._by_label: list[dict[str, Array]] = []

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        target, prediction, weights = self._prepare(y_true, y_pred, sample_weight)
        if self.from_logits:
            with np.errstate(over="ignore"):
                prediction = 1.0 / (1.0 + np.exp(-prediction))
        prediction = prediction.clip(0, 1)
        if not self.multi_label:
            if self.label_weights is not None:
                weights = weights * self.label_weights
            self._count(target, prediction, weights)
            return
        labels = prediction.shape[-1]
        if prediction.ndim != 2 or (self.num_labels and labels != self.num_labels):
            rule = f"have shape (batch, {self.num_labels or 'labels'})"
            raise ValueError(message("AUC", "y_pred", rule, str(prediction.shape)))
        kept = self._by_label or [dict.fromkeys(COUNTS, np.zeros(len(self.thresholds)))] * labels
        made = []
        for k, counts in enumerate(kept):
            self._counts = counts
            self._count(target[:, k], prediction[:, k], weights[:, k])
            made.append(self._counts)
        self._by_label = made

    def result(self) -> Any:
        if not self.multi_label:
            return float(self._area(self._counts))
        areas = np.array([self._area(counts) for counts in self._by_label])
        if not len(areas):
            return 0.0
        weights = np.ones(len(areas)) if self.label_weights is None else self.label_weights
        return float(_over(np.array([areas @ weights]), np.array([weights.sum()]))[0])

    def _area(self, counts: dict[str, Array]) -> Any:
        tp, fp, tn, fn = (counts[name] for name in COUNTS)
        if self.curve == "PR" and self.summation_method == "interpolation":
            return _interpolated(tp, fp, fn)
        if self.curve == "ROC":
            x, y = _over(fp, fp + tn), _over(tp, tp + fn)
        elif self.curve == "PR":
            x, y = _over(tp, tp + fn), _over(tp, tp + fp)
        else:
            odds = _over(tp + fn, tn + fp)
            x = np.where(tp == 0, 0.0, 1.0 - odds * _over(fn, tp)).clip(0)
            y = np.where(tp == 0, 1.0, 1.0 - odds * _over(fp, tp))
        combine: dict[str, Callable[[Array, Array], Array]] = {
            "interpolation": lambda a, b: (a + b) / 2.0,
            "minoring": np.minimum,
            "majoring": np.maximum,
        }
        return ((x[:-1] - x[1:]) * combine[self.summation_method](y[:-1], y[1:])).sum()

    def get_config(self) -> dict[str, Any]:
        names = ("curve", "summation_method", "multi_label", "num_labels", "from_logits")
        config = {**super().get_config(), **{name: getattr(self, name) for name in names}}
        config["num_thresholds"] = len(self.thresholds)
        config["thresholds"] = None if self.given is None else list(self.given)
        config["label_weights"] = None if self.label_weights is None else self.label_weights.tolist()
        return config


def _interpolated(tp: Array, fp: Array, fn: Array) -> Any:
    """The area under precision over recall, false positives growing evenly with true ones in between."""
    positives = tp + fp
    dtp, dp = tp[:-1] - tp[1:], positives[:-1] - positives[1:]
    slope = _over(dtp, dp.clip(0))
    intercept = tp[1:] - slope * positives[1:]
    both = (positives[:-1] > 0) & (positives[1:] > 0)
    ratio = np.where(both, _over(positives[:-1], positives[1:].clip(0)), 1.0)
    return _over(slope * (dtp + intercept * np.log(ratio)), (tp[1:] + fn[1:]).clip(0)).sum()


AVERAGES = (None, "micro", "macro", "weighted")


class FBetaScore(Metric):
    """(1 + beta^2) precision recall / (beta^2 precision + recall), by class.

    Args:
        average: None for an array of the classes' scores, "macro" for their mean, "weighted" for that by the
            classes' frequencies, "micro" for the score of all classes' counts together.
        beta: More than 0: how much recall weighs beside precision.
        threshold: In (0, 1], above which a prediction is a positive; None for the largest of each row.
        name: Its key in the logs.
        dtype: Ignored.
    """

    def __init__(
        self,
        average: str | None = None,
        beta: float = 1.0,
        threshold: float | None = None,
        name: str | None = "fbeta_score",
        dtype: Any = None,
    ) -> None:
        kind = type(self).__name__
        if average not in AVERAGES:
            rule = f"be one of {', '.join(map(str, AVERAGES))}"
            raise ValueError(message(kind, "average", rule, describe(average)))
        self.average = average
        self.beta = number(beta, kind, "beta", low=0, open_low=True)
        self.threshold = (
            None if threshold is None else number(threshold, kind, "threshold", low=0, high=1, open_low=True)
        )
        super().__init__(name, dtype)

    def reset_state(self) -> None:
        self._counts: Array | None = None  # true positives, false positives, false negatives, by class

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        kind = type(self).__name__
        prediction = floating(y_pred, kind, "y_pred")
        target = floating(y_true, kind, "y_true", dtype=prediction.dtype)
        if prediction.ndim != 2 or target.shape != prediction.shape:
            rule = "have shape (batch, classes), as y_true"
            raise ValueError(message(kind, "y_pred", rule, f"{prediction.shape} and {target.shape}"))
        if self.threshold is None:
            largest = prediction >= prediction.max(axis=-1, keepdims=True)
            chosen = largest & (abs(prediction) > 1e-9)
        else:
            chosen = prediction > self.threshold
        weights = np.ones(len(target)) if sample_weight is None else np.asarray(sample_weight, np.float64)
        weights = weights.reshape(len(target), 1)
        outcomes = (chosen * target, chosen * (1 - target), (1 - chosen) * target)
        counts = np.array([(outcome * weights).sum(axis=0) for outcome in outcomes])
        self._counts = counts if self._counts is None else self._counts + counts

    def result(self) -> Any:
        counts = np.zeros((3, 1)) if self._counts is None else self._counts
        if self.average == "micro":
            counts = counts.sum(axis=1, keepdims=True)
        found, wrong, missed = counts
        precision, recall = found / (found + wrong + EPSILON), found / (found + missed + EPSILON)
        square = self.beta**2
        scores = (1 + square) * precision * recall / (square * precision + recall + EPSILON)
        if self.average is None:
            return scores
        if self.average == "weighted":
            return float((scores * (found + missed) / ((found + missed).sum() + EPSILON)).sum())
        return float(scores.mean())

    def get_config(self) -> dict[str, Any]:
        names = ("average", "beta", "threshold")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


class F1Score(FBetaScore):
    """``FBetaScore`` with ``beta=1``: the harmonic mean of precision and recall.

    Args:
        average: As for ``FBetaScore``.
        threshold: As there.
        name: Its key in the logs.
        dtype: Ignored.
    """

    def __init__(
        self,
        average: str | None = None,
        threshold: float | None = None,
        name: str | None = "f1_score",
        dtype: Any = None,
    ) -> None:
        super().__init__(average, 1.0, threshold, name, dtype)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["beta"]
        return config
