// What decoding asks of the frames, and of all prefixes of a beam at once. C classes.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cpu/ctc_kernels.h"

namespace fastseq {

// One frame of a beam of prefixes, in logarithms of probabilities, none of them NaN or inf.
struct CtcBeamRows {
  std::ptrdiff_t count;
  double blank;            // of the frame's blank
  const double* total;     // of the prefix
  const double* label;     // of it where it ends in its last label, not in a blank
  const double* emitted;   // of the last label in this frame
  const double* entering;  // of coming to it from the prefix one label shorter, in this frame
  double *to_total, *to_label, *to_blank;
};

template <class T>
struct CtcDecodeTable {
  // best[t]: the first class of the largest value; scores[t]: the logarithm of its probability, NaN where the
  // frame holds NaN, inf or a negative probability.
  void (*best)(CtcInput, std::ptrdiff_t C, const T* x, std::int32_t* best, double* scores,
               std::ptrdiff_t begin, std::ptrdiff_t end);
  // y (count, C): logarithms of probabilities; false where some frame holds such.
  bool (*log_probs)(CtcInput, std::ptrdiff_t C, const T* x, double* y, std::ptrdiff_t count);
};

struct CtcDecodeKernels {
  CtcDecodeTable<float> f32;
  CtcDecodeTable<double> f64;
  void (*stay)(const CtcBeamRows&);

  template <class T>
  const CtcDecodeTable<T>& of() const {
    if constexpr (sizeof(T) == sizeof(float)) {
      return f32;
    } else {
      return f64;
    }
  }
};

}  // namespace fastseq
