// Losses: the value of each row and the gradient in one pass.
#pragma once

#include "cpu/rowwise_activation.h"
#include "math/losses.h"

namespace fastseq {
namespace FASTSEQ_TARGET {

template <class T>
FASTSEQ_INLINE T row_weight(const LossCall<T>& call, std::ptrdiff_t r) {
  return call.weights != nullptr ? call.weights[r] : call.weight;
}

// The target of one row as registers, from probabilities or from a label, smoothed.
template <class T>
struct TargetRow {
  const T* probabilities;
  std::ptrdiff_t label;
  Vec<T> scale, shift;

  FASTSEQ_INLINE TargetRow(const LossCall<T>& call, std::ptrdiff_t r)
      : probabilities(call.target != nullptr ? call.target + r * call.columns : nullptr),
        label(call.labels != nullptr ? static_cast<std::ptrdiff_t>(call.labels[r]) : 0),
        scale(call.target_scale),
        shift(call.target_shift) {}

  // Lanes beyond the row are 0.
  FASTSEQ_INLINE Vec<T> load(std::ptrdiff_t c, std::ptrdiff_t part) const {
    using V = Vec<T>;
    const V zero(T(0));
    const V hard = probabilities != nullptr ? V::load_part(probabilities + c, part) : V::one_hot(label - c);
    return select<T>(V::first(part), hard * scale + shift, zero);
  }
};

template <class T>
FASTSEQ_INLINE void clear_row(const LossCall<T>& call, std::ptrdiff_t r) {
  call.losses[r] = T(0);
  if (call.doutput == nullptr) return;
  T* d = call.doutput + r * call.columns;
  for (std::ptrdiff_t c = 0; c < call.columns; ++c) d[c] = T(0);
}

// loss = sum_c t_c (log sum exp(o) - o_c);  slope_c = softmax(o)_c sum(t) - t_c
// Rows go in blocks: what a row needs once (a logarithm, a division) is done for all of a block at once.
template <class T>
struct CrossEntropyBlock {
  static constexpr std::ptrdiff_t rows = 32;
  alignas(64) T total[rows];  // sum exp(o - max o)
  alignas(64) T mass[rows];   // sum t
  alignas(64) T dot[rows];    // sum t (max o - o)
  alignas(64) T weight[rows];
  alignas(64) T scale[rows];
};

template <class T>
FASTSEQ_INLINE void cross_entropy_sums(const LossCall<T>& call, std::ptrdiff_t r, CrossEntropyBlock<T>& block,
                                       std::ptrdiff_t k) {
  using V = Vec<T>;
  const std::ptrdiff_t C = call.columns;
  const TargetRow<T> target(call, r);
  const T* o = call.output + r * C;
  T* d = call.doutput != nullptr ? call.doutput + r * C : nullptr;
  const V zero(T(0)), most(row_maximum(C, o));
  V total = zero, mass = zero, dot = zero;
  for_columns<T>(C, [&](auto c, auto part) {
    const V shifted = V::load_part(o + c, part) - most, t = target.load(c, part);
    const V e = select<T>(V::first(part), exp(shifted), zero);
    total += e;
    mass += t;
    dot += cross_entropy_term(t, shifted);
    if (d != nullptr) e.store_part(d + c, part);
  });
  block.total[k] = sum(total);
  block.mass[k] = sum(mass);
  block.dot[k] = sum(dot);
  block.weight[k] = row_weight(call, r);
}

template <class T>
FASTSEQ_INLINE void cross_entropy_slopes(const LossCall<T>& call, std::ptrdiff_t r, T weight, T scale) {
  using V = Vec<T>;
  const std::ptrdiff_t C = call.columns;
  const TargetRow<T> target(call, r);
  T* d = call.doutput + r * C;
  for_columns<T>(C, [&](auto c, auto part) {
    const V e = V::load_part(d + c, part);
    (V(weight) * (e * V(scale) - target.load(c, part))).store_part(d + c, part);
  });
}

template <class T>
void cross_entropy_of_logits(const LossCall<T>& call, std::ptrdiff_t begin, std::ptrdiff_t end) {
  using V = Vec<T>;
  CrossEntropyBlock<T> block = {};
  for (std::ptrdiff_t first = begin; first < end; first += block.rows) {
    const std::ptrdiff_t count = end - first < block.rows ? end - first : block.rows;
    for (std::ptrdiff_t k = 0; k < count; ++k) cross_entropy_sums(call, first + k, block, k);
    for (std::ptrdiff_t k = 0; k < count; k += V::lanes) {
      const V total = V::load(block.total + k), mass = V::load(block.mass + k),
              weight = V::load(block.weight + k);
      const V loss = weight * (mass * log(total) + V::load(block.dot + k));
      select<T>(weight == V(T(0)), V(T(0)), loss).store_part(call.losses + first + k, count - k);
      (mass / total).store(block.scale + k);
    }
    if (call.doutput == nullptr) continue;
    for (std::ptrdiff_t k = 0; k < count; ++k) {
      if (block.weight[k] == T(0)) {
        clear_row(call, first + k);
      } else {
        cross_entropy_slopes(call, first + k, block.weight[k], block.scale[k]);
      }
    }
  }
}

// p = o / sum(o), q = p clipped: loss = sum_c t_c -log q_c. With g_c = -t_c / q_c where p is not clipped,
// else 0: slope_c = (g_c - sum_k g_k p_k) / sum(o)
template <class T>
void cross_entropy_of_probabilities(const LossCall<T>& call, std::ptrdiff_t r) {
  using V = Vec<T>;
  const std::ptrdiff_t C = call.columns;
  const TargetRow<T> target(call, r);
  const T* o = call.output + r * C;
  const V zero(T(0)), weight(row_weight(call, r));
  V total = zero;
  for_columns<T>(C, [&](auto c, auto part) { total += V::load_part(o + c, part); });
  const V all(sum(total));
  V loss = zero, dot = zero;
  for_columns<T>(C, [&](auto c, auto part) {
    const V p = V::load_part(o + c, part) / all, t = target.load(c, part);
    loss += cross_entropy_term(t, log(clip_probability(p)));
    dot += t * clip_slope(p);  // -g p, since q is p there
  });
  call.losses[r] = (weight * V(sum(loss))).v[0];
  if (call.doutput == nullptr) return;
  T* d = call.doutput + r * C;
  const V back(sum(dot));
  for_columns<T>(C, [&](auto c, auto part) {
    const V p = V::load_part(o + c, part) / all, t = target.load(c, part);
    (weight * ((back - clip_slope(p) * t / clip_probability(p)) / all)).store_part(d + c, part);
  });
}

// loss = mean_c F(o_c, t_c)
template <class F, class T>
void mean_loss(const LossCall<T>& call, std::ptrdiff_t r) {
  using V = Vec<T>;
  const std::ptrdiff_t C = call.columns;
  const TargetRow<T> target(call, r);
  const T* o = call.output + r * C;
  T* d = call.doutput != nullptr ? call.doutput + r * C : nullptr;
  const V weight(row_weight(call, r) / T(C)), zero(T(0));
  V total = zero;
  for_columns<T>(C, [&](auto c, auto part) {
    const V out = V::load_part(o + c, part), t = target.load(c, part);
    total += select<T>(V::first(part), F::value(out, t), zero);
    if (d != nullptr) (weight * F::slope(out, t)).store_part(d + c, part);
  });
  call.losses[r] = (weight * V(sum(total))).v[0];
}

// Row by row.
template <class T, class Row>
FASTSEQ_INLINE void for_rows(const LossCall<T>& call, std::ptrdiff_t begin, std::ptrdiff_t end, Row row) {
  for (std::ptrdiff_t r = begin; r < end; ++r) {
    if (row_weight(call, r) == T(0)) {
      clear_row(call, r);
    } else {
      row(call, r);
    }
  }
}

template <class T>
void loss_rows(const LossCall<T>& call, std::ptrdiff_t begin, std::ptrdiff_t end) {
  switch (call.loss) {
    case Loss::categorical_logits:
      return cross_entropy_of_logits(call, begin, end);
    case Loss::categorical_probabilities:
      return for_rows(call, begin, end, cross_entropy_of_probabilities<T>);
    case Loss::squared_error:
      return for_rows(call, begin, end, mean_loss<SquaredError, T>);
    case Loss::absolute_error:
      return for_rows(call, begin, end, mean_loss<AbsoluteError, T>);
    case Loss::binary_logits:
      return for_rows(call, begin, end, mean_loss<BinaryLogits, T>);
    case Loss::binary_probabilities:
      return for_rows(call, begin, end, mean_loss<BinaryProbabilities, T>);
  }
}

}  // namespace FASTSEQ_TARGET
}  // namespace fastseq
