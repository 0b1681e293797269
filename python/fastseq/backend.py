"""The few functions of keras.backend that programs of its time use, as Keras defines them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastseq import ops
from fastseq._floatx import epsilon, floatx, set_floatx
from fastseq.layers.calls import flatten
from fastseq.models import Model
from fastseq.ops import ctc_batch_cost

__all__ = [
    "ctc_batch_cost",
    "ctc_decode",
    "epsilon",
    "floatx",
    "function",
    "image_data_format",
    "set_floatx",
]

Array = np.ndarray[Any, np.dtype[Any]]


def ctc_decode(
    y_pred: Any, input_length: Any, greedy: bool = True, beam_width: int = 100, top_paths: int = 1
) -> tuple[list[Array], Array]:
    """The labels of a batch of softmax outputs, the blank being the last class.

    Keras takes the logarithm of ``y_pred + 1e-7``; its beam search normalises that again, and merges equal
    neighbours in what it has found ("hello" becomes "helo"). All of that is done here too;
    ``ops.ctc_beam_search`` does neither.

    Args:
        y_pred: (batch, steps, classes), probabilities.
        input_length: (batch,) or (batch, 1), steps of each sequence.
        greedy: The best path alone; otherwise a beam search.
        beam_width: Prefixes that the beam search keeps.
        top_paths: How many paths the beam search returns, at most ``beam_width``.
    Returns:
        A list of ``top_paths`` arrays (one if ``greedy``) of labels (batch, steps), int64, -1 beyond the
        last; and, in the dtype of ``y_pred``, (batch, top_paths) log-probabilities of the paths, or, if
        ``greedy``, (batch, 1) minus the log-probability of the best path. -inf where there is no such path.
    Raises:
        TypeError, ValueError: As of ``ops.ctc_beam_search``, whose ``logits`` are ``y_pred`` here.
    """
    p = np.asarray(y_pred)
    if p.dtype.kind in "iub":
        p = p.astype(np.float32)
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(p + p.dtype.type(epsilon())) if p.dtype.kind == "f" else y_pred
    if greedy:
        best = ops.ctc_greedy_decode(logs, input_length, blank=-1, input="log_probs")
        return [_padded(best.labels, p.shape[1])], -best.scores[:, None].astype(p.dtype)
    found = ops.ctc_beam_search(logs, input_length, blank=-1, beam_width=beam_width, top_paths=top_paths)
    paths = [_padded(_merged(found.labels[:, k]), p.shape[1]) for k in range(top_paths)]
    return paths, found.scores.astype(p.dtype)


def _merged(labels: Array) -> Array:
    """Without labels that equal the one before, rows closed up and filled with -1."""
    stays = np.ones(labels.shape, np.bool_)
    stays[:, 1:] = labels[:, 1:] != labels[:, :-1]
    merged = np.full_like(labels, -1)
    rows, _ = np.nonzero(stays)
    merged[rows, (stays.cumsum(axis=1) - 1)[stays]] = labels[stays]
    return merged


def _padded(labels: Array, steps: int) -> Array:
    return np.pad(labels, ((0, 0), (0, steps - labels.shape[1])), constant_values=-1)


def image_data_format() -> str:
    """ "channels_last": images are (batch, rows, columns, channels), the only way here."""
    return "channels_last"


def function(inputs: Any, outputs: Any) -> Callable[[Sequence[Any]], list[Array]]:
    """A function that computes any Symbols of a graph from others: the activations of inner layers, say.

    Args:
        inputs: A list of Symbols: ``[model.input]``, ``[model.layers[0].input]``.
        outputs: A list of Symbols computed from them: ``[model.layers[1].output]``, slices of those.
    Returns:
        A function of a list of arrays, one per input, that returns a list of arrays, one per output. It
        runs as in inference and reads the weights as they are when it is called.
    Raises:
        TypeError: Not Symbols.
        ValueError: The outputs need other inputs; of what is returned: another number of arrays, or
            one of another shape.
    """
    model = Model(flatten(inputs), flatten(outputs))
    return lambda arrays: flatten(model.predict_on_batch(arrays))
