"""CTC as a loss of models: labels, their lengths and those of the frames, from whatever form they come in."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastseq import ops
from fastseq._arrays import INT64, Array, describe, message, number, total
from fastseq.losses.base import Loss, row_weights
from fastseq.ops._ctc import choice, label_counts, read_labels, read_lengths

__all__ = ["CTC", "ctc"]

NORMALIZE = ("none", "label_length", "batch")
PARTS = ("labels", "label_lengths", "logit_lengths")


class CTC(Loss):
    """Connectionist temporal classification: -log P(labels) of every sequence; see ``ops.ctc_loss``.

    Predictions are (batch, steps, classes). Targets are one of

    - (batch, longest) labels, each row ended by padding, by its length, or by the array's end;
    - a list of sequences of labels;
    - a dict of ``labels`` (either of these) and, if wanted, ``label_lengths`` (rows,) and ``logit_lengths``
      (rows,): how many steps count, those skipped not among them.

    A mask of the predictions says which steps count, too: others are as if they were not there.

    Args:
        blank: The class of the blank; negative ones count from the end.
        skip_steps: How many steps at the start of every sequence are ignored.
        normalize: What the sum over the batch is divided by. "none": nothing. "label_length": each
            loss by its number of labels (at least 1), then all by the number of sequences. "batch":
            the number of sequences, as in Keras.
        from_logits: True: predictions are unnormalised. False: they are probabilities. None: a model
            says by itself, where they are made by a softmax (also behind slices and reshapes; the loss
            then reads what goes into it) or by a Dense without activation.
        padding: The value that ends a row of labels. None: the blank, or any negative number.
        infeasible: The loss of labels that no alignment spells: "inf", "zero", or "raise". Their
            gradient is 0.
        reduction: As in other losses, in place of what ``normalize`` means: "none" gives one loss per
            sequence when called on arrays.
        name: For people.
    Raises:
        ValueError: An option is none of these.
    Source:
        Graves et al. (2006), https://doi.org/10.1145/1143844.1143891
    """

    sequences = True

    def __init__(
        self,
        blank: int = 0,
        skip_steps: int = 0,
        normalize: str = "batch",
        from_logits: bool | None = None,
        padding: int | None = None,
        infeasible: str = "inf",
        reduction: str | None = None,
        name: str | None = "ctc",
    ) -> None:
        choice("CTC", "normalize", normalize, NORMALIZE)
        choice("CTC", "infeasible", infeasible, ops.ctc.INFEASIBLE)
        if from_logits is not None and not isinstance(from_logits, (bool, np.bool_)):
            raise TypeError(message("CTC", "from_logits", "be True, False or None", describe(from_logits)))
        self._given_reduction = reduction
        if reduction is None:
            reduction = "sum" if normalize == "none" else "sum_over_batch_size"
        super().__init__(name, reduction)
        self.blank: int = number(blank, "CTC", "blank", whole=True)
        self.skip_steps: int = number(skip_steps, "CTC", "skip_steps", low=0, whole=True)
        self.normalize = normalize
        self.from_logits = None if from_logits is None else bool(from_logits)
        self.padding = None if padding is None else number(padding, "CTC", "padding", whole=True)
        self.infeasible = infeasible
        self.spelling = {"decode": "ctc", "blank": self.blank, "padding": -1}  # of what for_metrics gives

    def absorbed(self, activation: str) -> str | None:
        """See ``Loss``.

        Raises:
            ValueError: Nobody says whether the predictions are normalised, or the model says that they
                are where ``from_logits`` says that they are not.
        """
        if self.from_logits is None:
            if activation in ("softmax", "linear"):
                return activation
            rule = "be given where predictions come from neither a softmax nor a Dense without activation"
            raise ValueError(message("CTC", "from_logits", rule, f"None after {activation}"))
        if self.from_logits and activation == "softmax":
            raise ValueError(message("CTC", "from_logits", "be None or False after a softmax", "True"))
        return None if self.from_logits else "softmax" if activation == "softmax" else None

    # Targets: (rows, 2 + longest) int64: steps that count or -1 for all, labels that count, and the
    # labels, -1 after the last. One array, so that it is shuffled and split as any other.

    def column(self, y_true: Any, prediction: Any, function: str, argument: str) -> Array:
        return self.target(y_true, prediction, function, argument)

    def target(self, y_true: Any, prediction: Any, function: str, argument: str) -> Array:
        shape = prediction.shape
        if len(shape) != 3:
            raise ValueError(
                message(function, "predictions", "have shape (batch, steps, classes)", str(shape))
            )
        parts = y_true if isinstance(y_true, dict) else {"labels": y_true}
        if "labels" not in parts or any(name not in PARTS for name in parts):
            rule = f"have the key labels, and no others than {', '.join(PARTS[1:])}"
            raise ValueError(message(function, argument, rule, ", ".join(map(str, parts))))
        labels, found = read_labels(function, parts["labels"], parts.get("label_lengths"), argument=argument)
        counts = self._counts(function, argument, labels, found, shape[2])
        rows, longest = labels.shape
        target = np.full((rows, 2 + longest), -1, INT64)
        if parts.get("logit_lengths") is not None:
            lengths = read_lengths(function, "logit_lengths", parts["logit_lengths"], rows, 0)
            most = np.iinfo(np.int64).max if shape[1] is None else max(shape[1] - self.skip_steps, 0)
            _within(function, "logit_lengths", lengths, rows, most)
            target[:, 0] = lengths
        target[:, 1] = counts
        np.copyto(target[:, 2:], labels, where=np.arange(longest) < counts[:, None])
        return target

    def _counts(
        self, function: str, argument: str, labels: Array, lengths: Array, classes: int | None
    ) -> Array:
        """How many labels each row has, all of them checked."""
        _within(function, "label_lengths", lengths, *labels.shape)
        blank = self.blank if classes is None or self.blank >= 0 else self.blank + classes
        if self.padding is None:
            ends, what = (labels < 0) | (labels == blank), "the blank or a negative number"
        else:
            ends, what = labels == self.padding, f"the padding, {self.padding}"
        counts = label_counts(function, argument, labels, ends, what, lengths)
        wrong = (labels < 0) | (labels == blank)
        if classes is not None:
            wrong |= labels >= classes
        wrong &= np.arange(labels.shape[1]) < counts[:, None]
        if wrong.any():
            row, at = (int(k) for k in np.argwhere(wrong)[0])
            got = f"{labels[row, at]} at index ({row}, {at})"
            rule = f"lie in [0, {classes}) and differ from the blank, {blank}"
            raise ValueError(message(function, argument, rule, got))
        return counts

    # Values.

    def rows(
        self, prediction: Array, target: Array, weights: float | Array, logits: bool, gradient: bool
    ) -> tuple[Array, Array | None]:
        steps = max(prediction.shape[1] - self.skip_steps, 0)
        lengths = np.where(target[:, 0] < 0, steps, target[:, 0])
        return self._run(prediction, target, lengths, self.skip_steps, weights, logits, gradient)

    def _run(
        self, frames: Array, target: Array, lengths: Array, skip: int, weights: float | Array, logits: bool,
        gradient: bool,
    ) -> tuple[Array, Array | None]:  # fmt: skip
        each = np.broadcast_to(np.asarray(weights, frames.dtype), len(frames))
        if self.normalize == "label_length":
            each = each / np.maximum(target[:, 1], 1).astype(frames.dtype)
        options: Any = {
            "weights": each,
            "blank": self.blank,
            "skip_steps": skip,
            "input": "logits" if logits or self.from_logits else "probs",
            "infeasible": self.infeasible,
        }
        labels, counts = target[:, 2:], target[:, 1]
        if gradient:
            return ops.ctc_loss_and_gradient(frames, labels, lengths, counts, **options)
        return ops.ctc_loss(frames, labels, lengths, counts, **options), None

    def measure(
        self,
        prediction: Array,
        target: Array,
        weights: Array | None,
        mask: Array | None,
        logits: bool,
        gradient: bool,
    ) -> tuple[float, Array | None]:
        each = row_weights(self.compared(prediction), weights, None, self.reduction, prediction.dtype)
        if mask is None:
            return self._total(self.rows(prediction, target, each, logits, gradient))
        valid = self._valid(prediction, target, mask)
        counts = valid.sum(axis=1)
        place = np.arange(prediction.shape[1]) - self.skip_steps
        if np.array_equal(valid, (place >= 0) & (place < counts[:, None])):
            return self._total(self._run(prediction, target, counts, self.skip_steps, each, logits, gradient))
        # The steps that count, moved to the front of their rows; the gradient goes back where they were.
        order = np.argsort(~valid, axis=1, kind="stable")[:, :, None]
        frames = np.take_along_axis(prediction, order, axis=1)
        value, dframes = self._total(self._run(frames, target, counts, 0, each, logits, gradient))
        if dframes is None:
            return value, None
        dprediction = np.empty_like(dframes)
        np.put_along_axis(dprediction, order, dframes, axis=1)
        return value, dprediction

    @staticmethod
    def _total(result: tuple[Array, Array | None]) -> tuple[float, Array | None]:
        return total(result[0]), result[1]

    def _valid(self, prediction: Array, target: Array, mask: Array | None) -> Array:
        """Which steps count: bool (batch, steps)."""
        step = np.arange(prediction.shape[1])
        valid = np.broadcast_to(step >= self.skip_steps, prediction.shape[:2])
        lengths = target[:, :1]
        valid = valid & ((lengths < 0) | (step < self.skip_steps + lengths))
        return np.asarray(valid if mask is None else valid & mask)

    def for_metrics(self, prediction: Array, target: Array, mask: Array | None) -> tuple[Array, Array]:
        """Labels, -1 after the last, and predictions in which a step that does not count spells nothing:
        it repeats the one before, or is a blank where there is none."""
        valid = self._valid(prediction, target, mask)
        if not valid.all():
            last = np.maximum.accumulate(np.where(valid, np.arange(valid.shape[1]), -1), axis=1)[:, :, None]
            nothing = np.zeros(prediction.shape[-1], prediction.dtype)
            nothing[self.blank] = 1
            repeated = np.take_along_axis(prediction, np.maximum(last, 0), axis=1)
            prediction = np.where(last < 0, nothing, repeated)
        return target[:, 2:], prediction

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """The loss of arrays; ``from_logits`` must have been given.

        Args:
            y_true: As for a model.
            y_pred: (batch, steps, classes).
            sample_weight: One weight per sequence; None for 1.
        Returns:
            A number, or (batch,) losses with reduction "none".
        Raises:
            TypeError: Not numbers.
            ValueError: Shapes do not fit, a label or length is out of range, or nobody said what the
                predictions are.
        """
        if self.from_logits is None:
            raise ValueError(message(self.name, "from_logits", "be given to compare arrays", "None"))
        return super().__call__(y_true, y_pred, sample_weight)

    def get_config(self) -> dict[str, Any]:
        names = ("blank", "skip_steps", "normalize", "from_logits", "padding", "infeasible", "name")
        return {**{name: getattr(self, name) for name in names}, "reduction": self._given_reduction}


def _within(function: str, argument: str, lengths: Array, rows: int, most: int) -> None:
    if lengths.shape != (rows,):
        raise ValueError(message(function, argument, f"have shape ({rows},)", str(lengths.shape)))
    wrong = (lengths < 0) | (lengths > most)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(message(function, argument, f"lie in [0, {most}]", f"{lengths[row]} at index {row}"))


def ctc(y_true: Any, y_pred: Any, *, from_logits: bool, blank: int = 0) -> Array:
    """One value per sequence: see ``CTC``."""
    return CTC(blank, from_logits=from_logits, reduction="none")(y_true, y_pred)  # type: ignore[no-any-return]
