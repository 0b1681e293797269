"""R2Score: how much of the targets' variance predictions explain."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np

from fastseq._arrays import Array, describe, floating, message, number
from fastseq.losses.symbolic import same_rank
from fastseq.metrics.base import Metric

__all__ = ["R2Score"]

AGGREGATIONS = (None, "uniform_average", "variance_weighted_average")


class R2Score(Metric):
    """1 - the squared errors over those of the targets' mean, of each column of (batch, columns).

    Args:
        class_aggregation: "uniform_average" or "variance_weighted_average" of the columns, or None for all.
        num_regressors: How many independent variables the score is adjusted for; 0 for no adjustment.
        name: Its key in the logs.
        dtype: Ignored.
    """

    def __init__(
        self,
        class_aggregation: str | None = "uniform_average",
        num_regressors: int = 0,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        if class_aggregation not in AGGREGATIONS:
            rule = f"be one of {', '.join(map(str, AGGREGATIONS))}"
            raise ValueError(message("R2Score", "class_aggregation", rule, describe(class_aggregation)))
        self.class_aggregation = class_aggregation
        self.num_regressors = number(num_regressors, "R2Score", "num_regressors", low=0, whole=True)
        super().__init__(name, dtype)

    def reset_state(self) -> None:
        self._sums: Array | None = None  # of weights, targets, squared targets, squared errors; by column
        self._samples = 0

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        prediction = floating(y_pred, "R2Score", "y_pred")
        target = floating(y_true, "R2Score", "y_true", dtype=prediction.dtype)
        target, prediction = same_rank(target, prediction)
        if prediction.ndim != 2 or target.shape != prediction.shape:
            rule = "have shape (batch, columns), as y_true"
            raise ValueError(message("R2Score", "y_pred", rule, f"{prediction.shape} and {target.shape}"))
        weights = np.float64(1.0) if sample_weight is None else np.asarray(sample_weight, np.float64)
        weights = np.broadcast_to(weights[:, None] if weights.ndim == 1 else weights, target.shape)
        true = target.astype(np.float64)
        parts = (np.ones_like(true), true, true * true, np.square(true - prediction))
        sums = np.array([(part * weights).sum(axis=0) for part in parts])
        self._sums = sums if self._sums is None else self._sums + sums
        self._samples += target.size

    def result(self) -> Any:
        if self._sums is None:
            return math.nan
        weight, total, squares, errors = self._sums
        with np.errstate(divide="ignore", invalid="ignore"):
            variance = squares - total * total / weight
            scores = 1.0 - errors / variance
            scores = np.where(np.isinf(scores), 0.0, scores)
            if self.class_aggregation == "uniform_average":
                scores = scores.mean()
            elif self.class_aggregation == "variance_weighted_average":
                scores = (variance * scores).sum() / variance.sum()
        scores = self._adjusted(scores)
        return scores if self.class_aggregation is None else float(scores)

    def _adjusted(self, scores: Any) -> Any:
        left = self._samples - 1 - self.num_regressors
        if not self.num_regressors:
            return scores
        if left <= 0:
            text = f"R2Score: more than {self.num_regressors + 1} samples are needed for the adjusted score"
            warnings.warn(f"{text}, so it is the plain one", stacklevel=3)
            return scores
        return 1.0 - (1.0 - scores) * (self._samples - 1) / left

    def get_config(self) -> dict[str, Any]:
        names = ("class_aggregation", "num_regressors")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}
