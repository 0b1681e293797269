// CTC loss and gradient of a batch.
#pragma once

#include "ops/ctc_checks.h"

namespace fastseq {

enum class Infeasible : int { inf, zero, raise };

template <class T>
struct CtcCall : CtcBatch<T> {
  Infeasible infeasible;
  std::int64_t skipped;  // frames at the start of every sequence of `inputs` and `gradient`, not counted in
                         // `frames` and ignored
  const T* weights;      // (batch,) to multiply losses and gradients with, or nullptr
  T* losses;             // (batch,)
  T* gradient;           // (batch, skipped + frames, classes), or nullptr
};

// Throws std::invalid_argument, naming the first offender, where a length or a label is out of range, a label
// is the blank, or, asked to raise, a sequence has no alignment.
template <class T>
void ctc(const char* function, const CtcCall<T>& call);

}  // namespace fastseq
