// The best alignment of every sequence of a batch.
#pragma once

#include "ops/ctc_checks.h"

namespace fastseq {

template <class T>
struct CtcAlignCall : CtcBatch<T> {
  bool raises;                  // where a sequence has no alignment
  const bool* gaps;             // (batch, longest + 1) or nullptr: blanks that take any frame ...
  double gap_score;             // ... at no less than this log-probability
  std::int64_t *starts, *ends;  // (batch, longest), -1 where there is nothing to say, as in path
  T* confidences;               // (batch, longest), 0 there
  T* scores;                    // (batch,)
  std::int64_t* path;           // (batch, frames)
  T* log_probs;                 // (batch, frames), of the path's classes; 0 where there is none
};

// Throws std::invalid_argument as ctc() does.
template <class T>
void ctc_align(const char* function, const CtcAlignCall<T>& call);

}  // namespace fastseq
