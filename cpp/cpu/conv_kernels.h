// Convolution and pooling over (N, H, W, channels), with their gradients. N images, C channels in, U filters.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/team.h"
#include "math/activations.h"

namespace fastseq {

// One axis of the image: output o sees, through tap k, input o * stride + k * dilation - before; what lies
// outside counts as zero (of pooling: as not there).
struct ConvAxis {
  std::ptrdiff_t input, output, taps, stride, dilation, before;
};

struct ConvShape {
  std::ptrdiff_t N, C, U;
  ConvAxis h, w;
  // Only the maxima of blocks of this size are wanted; the outputs of both axes are whole multiples.
  std::ptrdiff_t pool_h = 1, pool_w = 1;
};

template <class T>
struct ConvForward {
  ConvShape shape;
  const T *x, *kernel, *bias;  // (N, H, W, C), (taps, taps, C, U), (U,) or nullptr
  T* y;                        // (N, output / pool_h, output / pool_w, U)
  std::uint16_t* place;        // like y: of each maximum, counted through its block; or nullptr
  Activation activation;
  T *packed, *member;  // work space, as of ConvBackward
  std::ptrdiff_t member_count;
};

template <class T>
struct ConvBackward {
  ConvShape shape;
  const T *x, *kernel, *y, *dy;  // y is not read for the linear activation
  const std::uint16_t* place;    // read where pooled
  T *dx, *dkernel, *dbias;       // nullptr where not wanted
  bool add_kernel, add_bias;     // add to what is there
  Activation activation;
  // Work space: as many elements as the counts of the table; `member` has member_count for each member.
  T *packed, *gradient, *sums, *member;
  std::ptrdiff_t member_count;
};

enum class Pool : int { max, average };

template <class T>
struct PoolCall {
  Pool pool;
  ConvShape shape;  // U is C, dilation 1
  const T* x;
  T* y;
  std::uint16_t* place;  // of each maximum, counted through its window; nullptr where nobody asks
};

template <class T>
struct PoolBackward {
  Pool pool;
  ConvShape shape;
  const T* dy;
  const std::uint16_t* place;
  T* dx;
};

template <class T>
struct ConvTable {
  std::ptrdiff_t (*forward_packed_count)(const ConvShape&);
  std::ptrdiff_t (*forward_member_count)(const ConvShape&);
  void (*forward)(const ConvForward<T>&, const Team&);
  std::ptrdiff_t (*backward_packed_count)(const ConvBackward<T>&);
  std::ptrdiff_t (*backward_gradient_count)(const ConvBackward<T>&);
  std::ptrdiff_t (*backward_sums_count)(const ConvBackward<T>&);
  std::ptrdiff_t (*backward_member_count)(const ConvBackward<T>&);
  void (*backward)(ConvBackward<T>, const Team&);
  // Rows of the output, counted through all images, from begin to end.
  void (*pool)(const PoolCall<T>&, std::ptrdiff_t begin, std::ptrdiff_t end);
  // Rows of the input.
  void (*pool_backward)(const PoolBackward<T>&, std::ptrdiff_t begin, std::ptrdiff_t end);
};

struct ConvKernels {
  ConvTable<float> f32;
  ConvTable<double> f64;

  template <class T>
  const ConvTable<T>& of() const {
    if constexpr (sizeof(T) == sizeof(float)) {
      return f32;
    } else {
      return f64;
    }
  }
};

}  // namespace fastseq
