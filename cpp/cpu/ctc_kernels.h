// CTC loss and gradient of one sequence. L labels, T frames of C classes.
#pragma once

#include <cstddef>
#include <cstdint>

namespace fastseq {

// What the frames hold, in the order of fastseq.ops.ctc.
enum class CtcInput : int { logits, log_probs, probs };

template <class T>
struct CtcSequence {
  CtcInput input;
  std::ptrdiff_t frames, classes, labels;
  std::int64_t blank;
  const std::int64_t* label;  // (labels,)
  const T* inputs;            // (frames, classes)
  T* gradient;                // (frames, classes), or nullptr where not wanted
  T weight;                   // to multiply the gradient with; the loss stays without
  T* loss;                    // one number: inf where the probability is 0; the gradient is 0 then
  T* work;                    // work_count elements
};

// With a gradient, the way forward and the way back each take half of the frames, keeping what they find;
// then they cross, and each makes the gradient of the other half. They may do so side by side: first each
// way, then meet, then join, then cross each way. Without one, the way forward is all.
enum class CtcWay : int { forward, back };

template <class T>
struct CtcTable {
  std::ptrdiff_t (*work_count)(const CtcSequence<T>&);
  void (*sequence)(const CtcSequence<T>&);  // all of it
  void (*prepare)(const CtcSequence<T>&);
  void (*emit)(const CtcSequence<T>&, std::ptrdiff_t begin, std::ptrdiff_t end);  // probabilities of frames
  void (*half)(const CtcSequence<T>&, CtcWay);
  void (*join)(const CtcSequence<T>&);
  void (*cross)(const CtcSequence<T>&, CtcWay);
};

struct CtcKernels {
  CtcTable<float> f32;
  CtcTable<double> f64;

  template <class T>
  const CtcTable<T>& of() const {
    if constexpr (sizeof(T) == sizeof(float)) {
      return f32;
    } else {
      return f64;
    }
  }
};

}  // namespace fastseq
