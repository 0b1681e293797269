// One step of an optimizer over a share of one variable.
#pragma once

#include <cstddef>

namespace fastseq {

enum class UpdateRule : int { sgd, momentum, adam, rmsprop };

// What one step does to one variable. Gradients are scaled, then limited, then used, then cleared if asked.
template <class T>
struct UpdateCall {
  UpdateRule rule;
  // Slots as the rule needs: momentum; first and second moment; or, of RMSprop, the mean of squares and,
  // where wanted, momentum and the mean of gradients.
  T *value, *gradient, *slot_1, *slot_2, *slot_3;
  T rate;  // Adam: with the corrections for the first steps in it
  T momentum, one_minus_beta_1, one_minus_beta_2, epsilon;  // RMSprop: 1 - rho for both
  bool nesterov;
  T scale, limit;  // 1 and infinity where nothing is clipped
  T decay;         // value loses this share of itself first
  bool clear;
};

template <class T>
struct OptimizerTable {
  void (*update)(const UpdateCall<T>&, std::ptrdiff_t begin, std::ptrdiff_t end);
  T (*square_sum)(const T* x, std::ptrdiff_t begin, std::ptrdiff_t end);
};

struct OptimizerKernels {
  OptimizerTable<float> f32;
  OptimizerTable<double> f64;

  template <class T>
  const OptimizerTable<T>& of() const {
    if constexpr (sizeof(T) == sizeof(float)) {
      return f32;
    } else {
      return f64;
    }
  }
};

}  // namespace fastseq
