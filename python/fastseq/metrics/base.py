"""What every metric is: a number that is updated batch by batch; and the mean, which most of them are."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastseq._arrays import Array, message, total
from fastseq._names import FromArguments, snake
from fastseq.losses.base import Loss, widened

__all__ = ["Mean", "Metric", "Sum"]


class Metric(FromArguments):
    """A number that is updated batch by batch.

    Attributes:
        name: Its key in the logs.
        order_only: Whether it needs only which class is largest, so that logits serve as well.
    """

    order_only = False

    def __init__(self, name: str | None = None, dtype: Any = None) -> None:
        self.name = name or snake(type(self).__name__)
        self.dtype = dtype
        self.reset_state()

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Counts one batch."""
        raise NotImplementedError

    def result(self) -> Any:
        """The value over everything since the last reset: a number, or an array of several."""
        raise NotImplementedError

    def reset_state(self) -> None:
        """Forgets what was counted."""
        raise NotImplementedError

    def follow(self, loss: Loss | None) -> None:
        """Told once by a model which loss its output has; most metrics need not know."""

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Counts one batch and returns the value so far."""
        self.update_state(y_true, y_pred, sample_weight)
        return self.result()

    def get_config(self) -> dict[str, Any]:
        """The arguments that make this metric again."""
        return {"name": self.name}


class Sum(Metric):
    """The sum of the values it is given, times their weights."""

    def reset_state(self) -> None:
        self.total = 0.0

    def result(self) -> float:
        return self.total

    def update_state(self, values: Any, sample_weight: Any = None) -> None:  # type: ignore[override]
        """Counts values: a number, or an array whose first axis is the batch."""
        values = np.asarray(values, dtype=np.float64)
        if sample_weight is not None:
            values = values * widened(np.asarray(sample_weight), values.shape)
        self.total += total(values)

    def __call__(self, values: Any, sample_weight: Any = None) -> float:  # type: ignore[override]
        self.update_state(values, sample_weight)
        return self.result()


class Mean(Metric):
    """The mean of the values it is given, each sample counting once (or its weight)."""

    def reset_state(self) -> None:
        self.total = 0.0
        self.count = 0.0

    def result(self) -> float:
        return self.total / self.count if self.count else 0.0

    def update_state(self, values: Any, sample_weight: Any = None) -> None:  # type: ignore[override]
        """Counts values: a number, or an array whose first axis is the batch."""
        self.count_values(np.asarray(values, dtype=np.float64), sample_weight)

    def __call__(self, values: Any, sample_weight: Any = None) -> float:  # type: ignore[override]
        self.update_state(values, sample_weight)
        return self.result()

    def _for_each(self, values: Array, weights: Array) -> Array:
        """Weights, or a mask, in the shape of the values."""
        try:
            return widened(weights, values.shape)
        except ValueError:
            rule = f"have a value for each weight or masked step, {weights.shape}"
            raise ValueError(message(self.name, "values", rule, f"shape {values.shape}")) from None

    def count_values(self, values: Array, weights: Array | None) -> None:
        """Counts values (batch, ...), several per sample being averaged first, as in Keras."""
        per_sample = values.size // max(values.shape[0], 1) if values.ndim else 1
        per_sample = max(per_sample, 1)
        if weights is None:
            self.total += total(values) / per_sample
            self.count += values.size / per_sample
        else:
            weights = self._for_each(values, np.asarray(weights))
            self.total += total(values * weights) / per_sample
            self.count += total(weights) / per_sample
