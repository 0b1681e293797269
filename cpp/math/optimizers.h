// One step of an optimizer for one element. V is a SIMD register; the settings hold what is the same for all.
#pragma once

#include "target.h"

namespace fastseq {
namespace FASTSEQ_TARGET {

template <class V>
struct SgdSettings {
  V rate, momentum;
  bool nesterov;
};

// m = momentum m - rate g;  w = w + m, or w + momentum m - rate g (Nesterov, as in Sutskever et al. (2013))
template <class V>
FASTSEQ_HD void sgd_step(const SgdSettings<V>& s, V g, V& w, V& m) {
  m = s.momentum * m - s.rate * g;
  w = w + (s.nesterov ? s.momentum * m - s.rate * g : m);
}

template <class V>
FASTSEQ_HD void sgd_step(const SgdSettings<V>& s, V g, V& w) {
  w = w - s.rate * g;
}

template <class V>
struct AdamSettings {
  V rate;  // learning_rate sqrt(1 - beta_2^step) / (1 - beta_1^step)
  V one_minus_beta_1, one_minus_beta_2, epsilon;
};

// The running means that Adam and Nadam take of the gradients and of their squares.
template <class V>
FASTSEQ_HD void moments(V one_minus_beta_1, V one_minus_beta_2, V g, V& m, V& v) {
  m = m + (g - m) * one_minus_beta_1;
  v = v + (g * g - v) * one_minus_beta_2;
}

// Kingma & Ba (2015), in the form before their section 2.1, which is Keras's
template <class V>
FASTSEQ_HD void adam_step(const AdamSettings<V>& s, V g, V& w, V& m, V& v) {
  moments(s.one_minus_beta_1, s.one_minus_beta_2, g, m, v);
  w = w - m * s.rate / (sqrt(v) + s.epsilon);
}

// The same by the largest v so far: Reddi, Kale & Kumar (2018)
template <class V>
FASTSEQ_HD void amsgrad_step(const AdamSettings<V>& s, V g, V& w, V& m, V& v, V& largest) {
  moments(s.one_minus_beta_1, s.one_minus_beta_2, g, m, v);
  largest = max(largest, v);
  w = w - m * s.rate / (sqrt(largest) + s.epsilon);
}

template <class V>
struct NadamSettings {
  V rate, one_minus_beta_1, one_minus_beta_2, epsilon;
  V of_mean, of_gradient, of_squares;  // the corrections for the first steps
};

// Dozat (2016): Adam with Nesterov's momentum, its schedule in the corrections
template <class V>
FASTSEQ_HD void nadam_step(const NadamSettings<V>& s, V g, V& w, V& m, V& v) {
  moments(s.one_minus_beta_1, s.one_minus_beta_2, g, m, v);
  w = w - (s.of_mean * m + s.of_gradient * g) * s.rate / (sqrt(v * s.of_squares) + s.epsilon);
}

template <class V>
struct AdamaxSettings {
  V rate;  // learning_rate / (1 - beta_1^step)
  V one_minus_beta_1, beta_2, epsilon;
};

// Kingma & Ba (2015), section 7.1: by the largest gradient, which fades, instead of the mean of squares
template <class V>
FASTSEQ_HD void adamax_step(const AdamaxSettings<V>& s, V g, V& w, V& m, V& u) {
  m = m + (g - m) * s.one_minus_beta_1;
  u = max(s.beta_2 * u, abs(g));
  w = w - s.rate * m / (u + s.epsilon);
}

template <class V>
struct AdagradSettings {
  V rate, epsilon;
};

// Duchi, Hazan & Singer (2011), epsilon within the root as in Keras
template <class V>
FASTSEQ_HD void adagrad_step(const AdagradSettings<V>& s, V g, V& w, V& squares) {
  squares = squares + g * g;
  w = w - s.rate * g / sqrt(squares + s.epsilon);
}

template <class V>
struct LionSettings {
  V rate, beta_1, one_minus_beta_1, beta_2, one_minus_beta_2;
};

// Chen et al. (2023): the sign of a mean, which stays 0 or NaN where the mean is
template <class V>
FASTSEQ_HD void lion_step(const LionSettings<V>& s, V g, V& w, V& m) {
  using S = typename V::Scalar;
  const V zero(S(0)), mean = m * s.beta_1 + g * s.one_minus_beta_1;
  w = w - s.rate * select(mean > zero, V(S(1)), select(mean < zero, V(S(-1)), mean));
  m = m * s.beta_2 + g * s.one_minus_beta_2;
}

template <class V>
struct RmspropSettings {
  V rate, one_minus_rho, epsilon;
};

// Tieleman & Hinton (2012), epsilon within the root as in Keras: what the step goes back by. v is the running
// mean of squares; `mean` that of the gradients themselves (Graves, 2013, equation 40), or 0 where not
// wanted.
template <class V>
FASTSEQ_HD V rmsprop_step(const RmspropSettings<V>& s, V g, V& v, V mean) {
  v = v + (g * g - v) * s.one_minus_rho;
  return g * s.rate / sqrt(v - mean * mean + s.epsilon);
}

// The running mean of a parameter, for the use of the mean in its place.
template <class V>
FASTSEQ_HD V running_average(V momentum, V one_minus_momentum, V average, V w) {
  return momentum * average + one_minus_momentum * w;
}

}  // namespace FASTSEQ_TARGET
}  // namespace fastseq
