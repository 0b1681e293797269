// CTC loss and gradient of a batch.
#pragma once

#include <cstdint>

#include "cpu/ctc_kernels.h"

namespace fastseq {

enum class Infeasible : int { inf, zero, raise };

template <class T>
struct CtcCall {
  CtcInput input;
  Infeasible infeasible;
  std::int64_t batch, frames, classes, longest, blank;
  const T* inputs;                    // (batch, frames, classes)
  const std::int64_t* labels;         // (batch, longest)
  const std::int64_t* input_lengths;  // (batch,)
  const std::int64_t* label_lengths;  // (batch,)
  T* losses;                          // (batch,)
  T* gradient;                        // (batch, frames, classes), or nullptr
};

// Throws std::invalid_argument, naming the first offender, where a length or a label is out of range, a label
// is the blank, or, asked to raise, a sequence has no alignment.
template <class T>
void ctc(const char* function, const CtcCall<T>& call);

}  // namespace fastseq
