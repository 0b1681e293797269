// Kernels that treat every row (or every element) by itself. Each works on the share [begin, end) it is told;
// any division into shares gives the same bits. R rows, C columns (classes, units) of contiguous arrays.
#pragma once

#include <cstddef>
#include <cstdint>

#include "math/input_activations.h"

namespace fastseq {

// An activation and its parameters, as cpp/ops/activation.h made them from a name.
struct ActivationChoice {
  bool of_input;   // its slope is computed from the input; otherwise from the output
  int name;        // an Activation or an InputActivation
  double a, b, c;  // parameters of an InputActivation
};

enum class Loss : int {
  categorical_logits,
  categorical_probabilities,
  squared_error,
  absolute_error,
  binary_logits,
  binary_probabilities
};

// losses[r] = weight_r * loss(output[r], target[r]); doutput is the gradient of the sum of all losses.
// A row of weight 0 has loss 0 and gradient 0, whatever it holds.
template <class T>
struct LossCall {
  Loss loss;
  std::ptrdiff_t columns;
  const T* output;             // (R, C)
  const T* target;             // (R, C), or nullptr where labels are given
  const std::int64_t* labels;  // (R,), each in [0, C)
  const T* weights;            // (R,), or nullptr: every row has `weight`
  T weight;
  T target_scale, target_shift;  // targets become scale * target + shift: label smoothing
  T* losses;                     // (R,)
  T* doutput;                    // (R, C), or nullptr
};

enum class SourceType : int { boolean, uint8, int32, int64, float32, float64 };

template <class T>
struct RowwiseTable {
  void (*activate)(const ActivationChoice&, const T* x, T* y, std::ptrdiff_t begin, std::ptrdiff_t end);
  // saved: the output, or the input where choice.of_input
  void (*activate_backward)(const ActivationChoice&, const T* saved, const T* dy, T* dx, std::ptrdiff_t begin,
                            std::ptrdiff_t end);

  void (*softmax)(bool logarithm, std::ptrdiff_t C, const T* x, T* y, std::ptrdiff_t begin,
                  std::ptrdiff_t end);
  void (*softmax_backward)(bool logarithm, std::ptrdiff_t C, const T* y, const T* dy, T* dx,
                           std::ptrdiff_t begin, std::ptrdiff_t end);

  void (*loss)(const LossCall<T>&, std::ptrdiff_t begin, std::ptrdiff_t end);

  // matches[r]: 1 where the largest output is the label (or the largest target), else 0. The first of equals
  // counts, NaN never; a row of NaN alone matches nothing.
  void (*categorical_matches)(std::ptrdiff_t C, const T* output, const T* target, const std::int64_t* labels,
                              T* matches, std::ptrdiff_t begin, std::ptrdiff_t end);
  // matches[r]: the share of columns where (output > threshold) == target.
  void (*binary_matches)(std::ptrdiff_t C, const T* output, const T* target, T threshold, T* matches,
                         std::ptrdiff_t begin, std::ptrdiff_t end);

  // out[r] = source[indices[r]], rows of C elements converted on the way.
  void (*gather)(SourceType, std::ptrdiff_t C, const void* source, const std::int64_t* indices, T* out,
                 std::ptrdiff_t begin, std::ptrdiff_t end);
  // table[indices[i]] += dy[i] for all i of n in order, for the rows of the table in [begin, end).
  void (*scatter_add)(std::ptrdiff_t C, std::ptrdiff_t n, const std::int64_t* indices, const T* dy, T* table,
                      std::ptrdiff_t begin, std::ptrdiff_t end);

  // y = x * factor, the factor of element i being 0 with probability `rate`, else 1 / (1 - rate).
  void (*dropout)(std::uint64_t seed, double rate, const T* x, T* y, std::ptrdiff_t begin,
                  std::ptrdiff_t end);
};

struct RowwiseKernels {
  RowwiseTable<float> f32;
  RowwiseTable<double> f64;

  template <class T>
  const RowwiseTable<T>& of() const {
    if constexpr (sizeof(T) == sizeof(float)) {
      return f32;
    } else {
      return f64;
    }
  }
};

}  // namespace fastseq
