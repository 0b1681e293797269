"""Attention and AdditiveAttention: each query's mean of the values, weighted by how well their keys fit."""

from __future__ import annotations

from typing import Any

from fastseq import ops
from fastseq._arrays import describe, message, number
from fastseq._symbol import Variable
from fastseq.layers.base import Layer

__all__ = ["AdditiveAttention", "Attention"]

SCORE_MODES = ("dot", "concat")
MASKED = 1e9  # Keras's: what is taken from the scores of values that are masked


class _Attention(Layer, abstract=True):
    """Base: everything but the scores."""

    supports_masking = True

    def __init__(self, use_scale: bool, dropout: float, seed: int | None, **options: Any) -> None:
        super().__init__(**options)
        self.use_scale = bool(use_scale)
        self.dropout = number(dropout, type(self).__name__, "dropout", low=0, high=1)
        self.seed = seed
        self.random = self.make_seed(seed)
        self.scale: Variable | None = None

    def scores(self, query: Any, key: Any) -> Any:
        """(batch, queries, values) of query (batch, queries, features) and key (batch, values, features)."""
        raise NotImplementedError

    def _refuse_but_lists(self, inputs: Any) -> None:
        if not isinstance(inputs, (list, tuple)) or len(inputs) not in (2, 3):
            count = f"a list of {len(inputs)}" if isinstance(inputs, (list, tuple)) else describe(inputs)
            rule = "be a list [query, value] or [query, value, key]"
            raise ValueError(message(self.name, "inputs", rule, count))

    def call(
        self,
        inputs: Any,
        mask: Any = None,
        training: bool | None = None,
        return_attention_scores: bool = False,
        use_causal_mask: bool = False,
    ) -> Any:
        self._refuse_but_lists(inputs)
        query, value = inputs[0], inputs[1]
        query_mask, value_mask = (None, None) if mask is None else mask[:2]
        scores = self.scores(query, inputs[-1] if len(inputs) == 3 else value)
        valid = None if value_mask is None else ops.expand_dims(value_mask, -2)
        if use_causal_mask:
            causal = ops.causal_mask(scores)
            valid = causal if valid is None else ops.logical_and(valid, causal)
        if valid is not None:
            scores = ops.where(valid, scores, scores - MASKED)
        weights = ops.softmax(scores)
        if self.dropout:
            weights = ops.dropout(weights, self.dropout, self.random)
            weights.node.random = training
        output = ops.matmul(weights, value)
        if query_mask is not None:
            output = ops.where(ops.expand_dims(query_mask, -1), output, 0.0)
        return [output, weights] if return_attention_scores else output

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """That of the queries."""
        return None if mask is None else mask[0]


class Attention(_Attention):
    """Attention by dot products: softmax(query key') value.

    Called on [query, value] or [query, value, key], (batch, queries, features) and twice (batch, values,
    features); gives (batch, queries, features of the value). Masked values get no weight, the output of
    masked queries is 0. When called, ``return_attention_scores=True`` gives the weights, too, and
    ``use_causal_mask=True`` lets no query see values after its own place.

    Args:
        use_scale: Whether scores are multiplied with a trained number.
        score_mode: "dot", or "concat": the trained sum of tanh(query + key).
        dropout: Of the weights, in training; in [0, 1].
        seed: Where its randomness starts; drawn by default.
        options: As for ``Layer``.
    Source:
        Luong et al. (2015), https://arxiv.org/abs/1508.04025
    """

    def __init__(
        self,
        use_scale: bool = False,
        score_mode: str = "dot",
        dropout: float = 0.0,
        seed: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(use_scale, dropout, seed, **options)
        if score_mode not in SCORE_MODES:
            rule = f"be one of {', '.join(SCORE_MODES)}"
            raise ValueError(message("Attention", "score_mode", rule, describe(score_mode)))
        self.score_mode = score_mode
        self.concat_score_weight: Variable

    def build(self, input_shape: Any) -> None:
        if self.use_scale:
            self.scale = self.add_weight((), "ones", name="scale")
        if self.score_mode == "concat":
            self.concat_score_weight = self.add_weight((), "ones", name="concat_score_weight")

    def scores(self, query: Any, key: Any) -> Any:
        if self.score_mode == "dot":
            product = ops.matmul(query, ops.transpose(key, (0, 2, 1)))
            return product if self.scale is None else product * self.scale
        sums = _pairs(query, key)
        sums = sums if self.scale is None else sums * self.scale
        return self.concat_score_weight * ops.sum(ops.activation(sums, "tanh"), axis=-1)


class AdditiveAttention(_Attention):
    """Attention by sums: softmax(sum(scale tanh(query + key))) value; called as ``Attention``.

    Args:
        use_scale: Whether each feature has a trained factor.
        dropout: Of the weights, in training; in [0, 1].
        seed: Where its randomness starts; drawn by default.
        options: As for ``Layer``.
    Source:
        Bahdanau, Cho & Bengio (2015), https://arxiv.org/abs/1409.0473
    """

    def __init__(
        self, use_scale: bool = True, dropout: float = 0.0, seed: int | None = None, **options: Any
    ) -> None:
        super().__init__(use_scale, dropout, seed, **options)

    def build(self, input_shape: Any) -> None:
        self._refuse_but_lists(input_shape)
        if self.use_scale:
            self.scale = self.add_weight((input_shape[0][-1],), name="scale")

    def scores(self, query: Any, key: Any) -> Any:
        terms = ops.activation(_pairs(query, key), "tanh")
        return ops.sum(terms if self.scale is None else terms * self.scale, axis=-1)


def _pairs(query: Any, key: Any) -> Any:
    """The sum of every query with every key: (batch, queries, values, features)."""
    return ops.expand_dims(query, -2) + ops.expand_dims(key, -3)
