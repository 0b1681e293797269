// y = activation(x kernel + bias) and its gradients. N rows, F features, U units.
#pragma once

#include <cstddef>

#include "base/team.h"
#include "math/activations.h"

namespace fastseq {

template <class T>
struct DenseForward {
  std::ptrdiff_t N, F, U;
  const T *x, *kernel, *bias;  // (N, F), (F, U), (U,) or nullptr
  T* y;                        // (N, U)
  Activation activation;
  T* packed;  // work space, packed_count elements
};

template <class T>
struct DenseBackward {
  std::ptrdiff_t N, F, U;
  const T *x, *kernel, *y, *dy;  // y is not read for the linear activation
  T *dx, *dkernel, *dbias;       // nullptr where not wanted
  bool add_kernel, add_bias;     // add to what is there
  Activation activation;
  T* packed;  // work space, packed_count elements
  T* member;  // work space, member_count elements for each member
};

template <class T>
struct DenseTable {
  std::ptrdiff_t (*forward_packed_count)(const DenseForward<T>&);
  std::ptrdiff_t (*backward_packed_count)(const DenseBackward<T>&);
  std::ptrdiff_t (*backward_member_count)(const DenseBackward<T>&);
  void (*forward)(const DenseForward<T>&, const Team&);
  void (*backward)(const DenseBackward<T>&, const Team&);
};

struct DenseKernels {
  DenseTable<float> f32;
  DenseTable<double> f64;

  template <class T>
  const DenseTable<T>& of() const {
    if constexpr (sizeof(T) == sizeof(float)) {
      return f32;
    } else {
      return f64;
    }
  }
};

}  // namespace fastseq
