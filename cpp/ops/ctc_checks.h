// What every CTC operation is given - frames of a batch, mostly with labels - and what it refuses.
// N sequences, T frames, C classes, L labels.
#pragma once

#include <cstdint>
#include <string>

#include "base/checks.h"
#include "cpu/ctc_kernels.h"

namespace fastseq {

template <class T>
struct CtcFrames {
  CtcInput input;
  std::int64_t batch, frames, classes, blank;
  const T* inputs;                    // (batch, frames, classes)
  const std::int64_t* input_lengths;  // (batch,)
};

template <class T>
struct CtcBatch : CtcFrames<T> {
  std::int64_t longest;
  const std::int64_t* labels;         // (batch, longest)
  const std::int64_t* label_lengths;  // (batch,)

  const std::int64_t* label_of(std::int64_t n) const { return labels + n * longest; }
};

inline std::string at_index(std::int64_t value, std::int64_t n) {
  return std::to_string(value) + " at index " + std::to_string(n);
}

inline void check_lengths(const char* function, const char* argument, const std::int64_t* lengths,
                          std::int64_t batch, std::int64_t most) {
  for (std::int64_t n = 0; n < batch; ++n)
    check_value(
        lengths[n] >= 0 && lengths[n] <= most, function, argument,
        [&] { return "lie in [0, " + std::to_string(most) + "]"; }, [&] { return at_index(lengths[n], n); });
}

template <class T>
void check_frames(const char* function, const CtcFrames<T>& call) {
  check_lengths(function, "logit_lengths", call.input_lengths, call.batch, call.frames);
}

// Frames and labels; the first offender is named.
template <class T>
void check_batch(const char* function, const CtcBatch<T>& call) {
  check_frames(function, call);
  check_lengths(function, "label_lengths", call.label_lengths, call.batch, call.longest);
  for (std::int64_t n = 0; n < call.batch; ++n) {
    const std::int64_t* label = call.label_of(n);
    for (std::int64_t k = 0; k < call.label_lengths[n]; ++k)
      check_value(
          label[k] >= 0 && label[k] < call.classes && label[k] != call.blank, function, "labels",
          [&] {
            return "lie in [0, " + std::to_string(call.classes) + ") and differ from the blank, " +
                   std::to_string(call.blank);
          },
          [&] {
            return std::to_string(label[k]) + " at index (" + std::to_string(n) + ", " + std::to_string(k) +
                   ")";
          });
  }
}

// Frames that the labels of a sequence need: one each, and a blank between equal ones.
template <class T>
std::int64_t frames_needed(const CtcBatch<T>& call, std::int64_t n) {
  const std::int64_t* label = call.label_of(n);
  std::int64_t needed = call.label_lengths[n];
  for (std::int64_t k = 1; k < call.label_lengths[n]; ++k) needed += label[k] == label[k - 1];
  return needed;
}

// Whether they are there. What takes no batch in which they are missing asks check_fits.
template <class T>
bool fits(const CtcBatch<T>& call, std::int64_t n) {
  return frames_needed(call, n) <= call.input_lengths[n];
}

template <class T>
void check_fits(const char* function, const CtcBatch<T>& call) {
  for (std::int64_t n = 0; n < call.batch; ++n)
    check_value(fits(call, n), function, "logit_lengths",
                "leave a frame for each label and one between equal ones", [&] {
                  return at_index(call.input_lengths[n], n) + ", where " +
                         std::to_string(call.label_lengths[n]) + " labels need " +
                         std::to_string(frames_needed(call, n));
                });
}

// For what was asked to raise: sequence n has the frames, and yet no alignment that can be.
inline void check_possible(bool possible, const char* function, std::int64_t n) {
  check_value(possible, function, "logits", "give some alignment a probability above 0",
              [&] { return "none for index " + std::to_string(n); });
}

}  // namespace fastseq
