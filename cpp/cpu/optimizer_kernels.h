// One step of an optimizer over a share of one variable.
#pragma once

#include <cstddef>

namespace fastseq {

enum class UpdateRule : int { sgd, momentum, adam, amsgrad, nadam, adamax, adagrad, lion, rmsprop };

// What one step does to one variable. Gradients are scaled, then limited, then used, then cleared if asked.
template <class T>
struct UpdateCall {
  UpdateRule rule;
  // Slots as the rule needs: momentum; first and second moment and amsgrad's largest second; Adagrad's sum of
  // squares; or, of RMSprop, the mean of squares and, where wanted, momentum and the mean of gradients.
  T *value, *gradient, *slot_1, *slot_2, *slot_3;
  T rate;  // Adam and Adamax: with the corrections for the first steps in it
  T momentum, beta_1, beta_2, one_minus_beta_1, one_minus_beta_2, epsilon;  // RMSprop: rho for both
  T of_mean, of_gradient, of_squares;                                       // Nadam's corrections
  bool nesterov;
  T scale, limit;  // 1 and infinity where nothing is clipped
  T decay;         // value loses this share of itself first
  bool clear;
};

template <class T>
struct OptimizerTable {
  void (*update)(const UpdateCall<T>&, std::ptrdiff_t begin, std::ptrdiff_t end);
  // average = momentum average + (1 - momentum) value; and value = average, if asked.
  void (*average)(T* value, T* average, T momentum, T one_minus_momentum, bool overwrite,
                  std::ptrdiff_t begin, std::ptrdiff_t end);
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
