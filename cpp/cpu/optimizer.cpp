// Optimizer steps: every array is read and written once.
#include "cpu/optimizer_kernels.h"
#include "cpu/rowwise.h"
#include "math/optimizers.h"

namespace fastseq {
namespace FASTSEQ_TARGET {

// What is common to all rules; rule(g, w, at, part) takes a register of gradients and updates one of values.
template <class T, class Rule>
FASTSEQ_INLINE void update_values(const UpdateCall<T>& call, std::ptrdiff_t begin, std::ptrdiff_t end,
                                  Rule rule) {
  using V = Vec<T>;
  const V zero(T(0)), scale(call.scale), limit(call.limit), decay(call.decay);
  const bool decays = call.decay != T(0), clear = call.clear;
  for (std::ptrdiff_t i = begin; i < end; i += V::lanes) {
    const std::ptrdiff_t part = end - i;
    const V g = min(limit, max(-limit, V::load_part(call.gradient + i, part) * scale));
    V w = V::load_part(call.value + i, part);
    if (decays) w = w - w * decay;
    rule(g, w, i, part);
    w.store_part(call.value + i, part);
    if (clear) zero.store_part(call.gradient + i, part);
  }
}

// rule(m) changes a register of the first slot.
template <class T, class Rule>
FASTSEQ_INLINE void with_slot(const UpdateCall<T>& call, std::ptrdiff_t at, std::ptrdiff_t part, Rule rule) {
  Vec<T> m = Vec<T>::load_part(call.slot_1 + at, part);
  rule(m);
  m.store_part(call.slot_1 + at, part);
}

// rule(m, v) changes a register of each of the first two slots.
template <class T, class Rule>
FASTSEQ_INLINE void with_slots(const UpdateCall<T>& call, std::ptrdiff_t at, std::ptrdiff_t part, Rule rule) {
  with_slot(call, at, part, [&](Vec<T>& m) {
    Vec<T> v = Vec<T>::load_part(call.slot_2 + at, part);
    rule(m, v);
    v.store_part(call.slot_2 + at, part);
  });
}

template <class T>
void update(const UpdateCall<T>& call, std::ptrdiff_t begin, std::ptrdiff_t end) {
  using V = Vec<T>;
  switch (call.rule) {
    case UpdateRule::sgd: {
      const SgdSettings<V> s = {call.rate, call.momentum, call.nesterov};
      return update_values(call, begin, end, [&](V g, V& w, auto, auto) { sgd_step(s, g, w); });
    }
    case UpdateRule::momentum: {
      const SgdSettings<V> s = {call.rate, call.momentum, call.nesterov};
      return update_values(call, begin, end, [&](V g, V& w, auto i, auto part) {
        with_slot(call, i, part, [&](V& m) { sgd_step(s, g, w, m); });
      });
    }
    case UpdateRule::adam: {
      const AdamSettings<V> s = {call.rate, call.one_minus_beta_1, call.one_minus_beta_2, call.epsilon};
      return update_values(call, begin, end, [&](V g, V& w, auto i, auto part) {
        with_slots(call, i, part, [&](V& m, V& v) { adam_step(s, g, w, m, v); });
      });
    }
    case UpdateRule::amsgrad: {
      const AdamSettings<V> s = {call.rate, call.one_minus_beta_1, call.one_minus_beta_2, call.epsilon};
      return update_values(call, begin, end, [&](V g, V& w, auto i, auto part) {
        V largest = V::load_part(call.slot_3 + i, part);
        with_slots(call, i, part, [&](V& m, V& v) { amsgrad_step(s, g, w, m, v, largest); });
        largest.store_part(call.slot_3 + i, part);
      });
    }
    case UpdateRule::nadam: {
      const NadamSettings<V> s = {call.rate,    call.one_minus_beta_1, call.one_minus_beta_2, call.epsilon,
                                  call.of_mean, call.of_gradient,      call.of_squares};
      return update_values(call, begin, end, [&](V g, V& w, auto i, auto part) {
        with_slots(call, i, part, [&](V& m, V& v) { nadam_step(s, g, w, m, v); });
      });
    }
    case UpdateRule::adamax: {
      const AdamaxSettings<V> s = {call.rate, call.one_minus_beta_1, call.beta_2, call.epsilon};
      return update_values(call, begin, end, [&](V g, V& w, auto i, auto part) {
        with_slots(call, i, part, [&](V& m, V& u) { adamax_step(s, g, w, m, u); });
      });
    }
    case UpdateRule::adagrad: {
      const AdagradSettings<V> s = {call.rate, call.epsilon};
      return update_values(call, begin, end, [&](V g, V& w, auto i, auto part) {
        with_slot(call, i, part, [&](V& squares) { adagrad_step(s, g, w, squares); });
      });
    }
    case UpdateRule::lion: {
      const LionSettings<V> s = {call.rate, call.beta_1, call.one_minus_beta_1, call.beta_2,
                                 call.one_minus_beta_2};
      return update_values(call, begin, end, [&](V g, V& w, auto i, auto part) {
        with_slot(call, i, part, [&](V& m) { lion_step(s, g, w, m); });
      });
    }
    case UpdateRule::rmsprop: {
      const RmspropSettings<V> s = {call.rate, call.one_minus_beta_2, call.epsilon};
      const V momentum(call.momentum), one_minus_rho = s.one_minus_rho;
      return update_values(call, begin, end, [&](V g, V& w, auto i, auto part) {
        V v = V::load_part(call.slot_1 + i, part), mean(T(0));
        if (call.slot_3 != nullptr) {
          mean = V::load_part(call.slot_3 + i, part);
          mean = mean + (g - mean) * one_minus_rho;
          mean.store_part(call.slot_3 + i, part);
        }
        V back = rmsprop_step(s, g, v, mean);
        v.store_part(call.slot_1 + i, part);
        if (call.slot_2 != nullptr) {
          back = back + momentum * V::load_part(call.slot_2 + i, part);
          back.store_part(call.slot_2 + i, part);
        }
        w = w - back;
      });
    }
  }
}

template <class T>
void average(T* value, T* average, T momentum, T one_minus_momentum, bool overwrite, std::ptrdiff_t begin,
             std::ptrdiff_t end) {
  using V = Vec<T>;
  for (std::ptrdiff_t i = begin; i < end; i += V::lanes) {
    const std::ptrdiff_t part = end - i;
    const V w = V::load_part(value + i, part), before = V::load_part(average + i, part);
    const V mean = running_average(V(momentum), V(one_minus_momentum), before, w);
    mean.store_part(average + i, part);
    if (overwrite) mean.store_part(value + i, part);
  }
}

template <class T>
T square_sum(const T* x, std::ptrdiff_t begin, std::ptrdiff_t end) {
  using V = Vec<T>;
  constexpr int chains = 4;
  V totals[chains] = {T(0), T(0), T(0), T(0)};
  for (std::ptrdiff_t i = begin; i < end; i += chains * V::lanes)
#pragma GCC unroll 4
    for (int k = 0; k < chains; ++k) {
      const std::ptrdiff_t at = i + k * V::lanes;
      const V each = V::load_part(x + at, end > at ? end - at : 0);
      totals[k] += each * each;
    }
  return sum((totals[0] + totals[1]) + (totals[2] + totals[3]));
}

#define FASTSEQ_OPTIMIZER_TABLE(T) {update<T>, average<T>, square_sum<T>}

extern const OptimizerKernels optimizer_kernels;
const OptimizerKernels optimizer_kernels = {FASTSEQ_OPTIMIZER_TABLE(float), FASTSEQ_OPTIMIZER_TABLE(double)};

}  // namespace FASTSEQ_TARGET
}  // namespace fastseq
