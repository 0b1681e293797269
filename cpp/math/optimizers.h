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

// Kingma & Ba (2015), in the form before their section 2.1, which is Keras's
template <class V>
FASTSEQ_HD void adam_step(const AdamSettings<V>& s, V g, V& w, V& m, V& v) {
  m = m + (g - m) * s.one_minus_beta_1;
  v = v + (g * g - v) * s.one_minus_beta_2;
  w = w - m * s.rate / (sqrt(v) + s.epsilon);
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

}  // namespace FASTSEQ_TARGET
}  // namespace fastseq
