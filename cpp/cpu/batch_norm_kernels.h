// Batch normalization over the rows of (R, C), and its gradients.
#pragma once

#include <cstddef>

#include "base/team.h"

namespace fastseq {

// y = (x - mean) / sqrt(variance + epsilon) gamma + beta, for each of C channels.
template <class T>
struct NormForward {
  std::ptrdiff_t R, C;
  const T* x;
  const bool* mask;  // (R,): whether a row counts in mean and variance; nullptr: all do
  T total;           // what sums are divided by: about the number of rows that count
  bool measure;      // make mean and variance from x; otherwise they are given
  T *mean, *variance;
  const T *gamma, *beta;  // (C,), or nullptr: 1 and 0
  T epsilon;
  T* y;
  T* work;  // work_count elements
};

template <class T>
struct NormBackward {
  std::ptrdiff_t R, C;
  const T *x, *dy;
  const bool* mask;
  T total, excess;  // what sums were divided by, and how much that is more than the number of rows
  bool measured;    // mean and variance depend on x
  const T *mean, *variance, *gamma;
  T epsilon;
  T *dx, *dgamma, *dbeta;    // nullptr where not wanted
  bool add_gamma, add_beta;  // add to what is there
  T* work;                   // work_count elements
};

template <class T>
struct NormTable {
  std::ptrdiff_t (*work_count)(std::ptrdiff_t R, std::ptrdiff_t C);
  void (*forward)(const NormForward<T>&, const Team&);
  void (*backward)(const NormBackward<T>&, const Team&);
};

struct BatchNormKernels {
  NormTable<float> f32;
  NormTable<double> f64;

  template <class T>
  const NormTable<T>& of() const {
    if constexpr (sizeof(T) == sizeof(float)) {
      return f32;
    } else {
      return f64;
    }
  }
};

}  // namespace fastseq
