// Losses of one element, value beside slope: o is the output, t the target. V is a SIMD register.
#pragma once

#include "activations.h"
#include "functions.h"

namespace fastseq {
namespace FASTSEQ_TARGET {

// Probabilities are kept this far from 0 and 1 before their logarithm is taken (keras.config.epsilon()).
constexpr double probability_margin = 1e-7;

template <class V>
FASTSEQ_HD V clip_probability(V p) {
  using S = typename V::Scalar;
  return min(V(S(1 - probability_margin)), max(V(S(probability_margin)), p));
}

// 1 where clip_probability leaves p alone, else 0.
template <class V>
FASTSEQ_HD V clip_slope(V p) {
  return select(clip_probability(p) == p, V(typename V::Scalar(1)), V(typename V::Scalar(0)));
}

struct SquaredError {
  template <class V>
  FASTSEQ_HD static V value(V o, V t) {
    return (o - t) * (o - t);
  }
  template <class V>
  FASTSEQ_HD static V slope(V o, V t) {
    return (o - t) + (o - t);
  }
};

struct AbsoluteError {
  template <class V>
  FASTSEQ_HD static V value(V o, V t) {
    return abs(o - t);
  }
  template <class V>
  FASTSEQ_HD static V slope(V o, V t) {
    using S = typename V::Scalar;
    const V zero(S(0)), one(S(1));
    return select(o > t, one, select(o < t, -one, o - t));  // 0 where they meet, NaN stays NaN
  }
};

// -t log s - (1 - t) log(1 - s) with s = sigmoid(o), in a form that never overflows
struct BinaryLogits {
  template <class V>
  FASTSEQ_HD static V value(V o, V t) {
    return max(V(typename V::Scalar(0)), o) - o * t + log1p(exp(-abs(o)));
  }
  template <class V>
  FASTSEQ_HD static V slope(V o, V t) {
    return sigmoid(o) - t;
  }
};

// -t log p - (1 - t) log(1 - p) with p = o clipped
struct BinaryProbabilities {
  template <class V>
  FASTSEQ_HD static V value(V o, V t) {
    const V one(typename V::Scalar(1)), p = clip_probability(o);
    return -(t * log(p) + (one - t) * log(one - p));
  }
  template <class V>
  FASTSEQ_HD static V slope(V o, V t) {
    const V one(typename V::Scalar(1)), p = clip_probability(o);
    return clip_slope(o) * (p - t) / (p * (one - p));
  }
};

// t * -log p, nothing where t is 0 even if p is 0
template <class V>
FASTSEQ_HD V cross_entropy_term(V t, V log_p) {
  const V zero(typename V::Scalar(0));
  return select(t == zero, zero, -(t * log_p));
}

}  // namespace FASTSEQ_TARGET
}  // namespace fastseq
