// The best alignment of one sequence (Viterbi). L labels, T frames of C classes.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cpu/ctc_kernels.h"

namespace fastseq {

template <class T>
struct CtcPath {
  CtcInput input;
  std::ptrdiff_t frames, classes, labels;
  std::int64_t blank;
  const std::int64_t* label;  // (labels,)
  const T* inputs;            // (frames, classes)

  // (labels + 1,) or nullptr: blanks where it is true take any frame, at no less than this log-probability.
  const bool* gap;
  double gap_score;

  // Memory and sharing, without a trace in the results: frames between states that are kept for the way back
  // (>= 1), and parts that the states are divided into, at most max_chunks.
  std::ptrdiff_t block, chunks;

  std::int64_t *starts, *ends;  // (labels,)
  T* confidences;               // (labels,)
  std::int64_t* path;           // (frames,)
  T* log_probs;                 // (frames,) of the path's classes; may be nullptr
  T* score;    // one number: -inf where no path is possible, NaN where frames hold no numbers;
               // the path, starts and ends are left as they were then
  void* work;  // work_bytes, aligned for double
};

// All of it, or by parts: first prepare, and log_sums of all frames; then each chunk of states advances over
// each block of frames but the last, after the chunk before it has done so; then trace.
template <class T>
struct CtcAlignTable {
  std::ptrdiff_t (*work_bytes)(const CtcPath<T>&);
  std::ptrdiff_t (*max_chunks)(const CtcPath<T>&);
  void (*sequence)(const CtcPath<T>&);
  void (*prepare)(const CtcPath<T>&);
  void (*log_sums)(const CtcPath<T>&, std::ptrdiff_t begin, std::ptrdiff_t end);
  void (*advance)(const CtcPath<T>&, std::ptrdiff_t chunk, std::ptrdiff_t block);
  void (*trace)(const CtcPath<T>&);
};

struct CtcAlignKernels {
  CtcAlignTable<float> f32;
  CtcAlignTable<double> f64;

  template <class T>
  const CtcAlignTable<T>& of() const {
    if constexpr (sizeof(T) == sizeof(float)) {
      return f32;
    } else {
      return f64;
    }
  }
};

}  // namespace fastseq
