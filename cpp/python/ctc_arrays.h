// The arrays of a CTC call at the border.
#pragma once

#include <string>

#include "ops/ctc_checks.h"
#include "python/arrays.h"

namespace fastseq {

// The class of the blank, which may count from the end.
inline std::int64_t blank_of(const char* function, std::int64_t blank, std::int64_t classes) {
  check_value(
      blank >= -classes && blank < classes, function, "blank",
      [&] { return "be a class in [0, " + std::to_string(classes) + ") or count from the end"; }, blank);
  return blank < 0 ? blank + classes : blank;
}

// Frames of a batch, their lengths, and the blank.
template <class T>
void read_frames(const char* function, const py::array& inputs, const py::array& input_lengths,
                 std::int64_t blank, int input, CtcFrames<T>& call) {
  call.input = static_cast<CtcInput>(input);
  call.inputs = elements<T>(function, "logits", inputs);
  check_value(inputs.ndim() == 3 && inputs.shape(2) > 0, function, "logits",
              "have shape (batch, steps, classes)", [&] { return shape_text(shape_of(inputs)); });
  call.batch = inputs.shape(0);
  call.frames = inputs.shape(1);
  call.classes = inputs.shape(2);
  check_shape(function, "logit_lengths", input_lengths, {call.batch});
  call.input_lengths = elements<std::int64_t>(function, "logit_lengths", input_lengths);
  call.blank = blank_of(function, blank, call.classes);
}

template <class T>
void read_labels(const char* function, const py::array& labels, const py::array& label_lengths,
                 CtcBatch<T>& call) {
  check_value(
      labels.ndim() == 2 && labels.shape(0) == call.batch, function, "labels",
      [&] { return "have shape (" + std::to_string(call.batch) + ", longest)"; },
      [&] { return shape_text(shape_of(labels)); });
  call.longest = labels.shape(1);
  check_shape(function, "label_lengths", label_lengths, {call.batch});
  call.labels = elements<std::int64_t>(function, "labels", labels);
  call.label_lengths = elements<std::int64_t>(function, "label_lengths", label_lengths);
}

}  // namespace fastseq
