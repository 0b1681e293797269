// Alignment by CTC.
#include "ops/ctc_align.h"

#include <pybind11/stl.h>

#include "python/bind.h"
#include "python/ctc_arrays.h"

namespace fastseq {
namespace {

py::tuple bind_ctc_align_of(const char* function, const py::array& inputs, const py::array& labels,
                            const py::array& input_lengths, const py::array& label_lengths,
                            std::int64_t blank, int input, bool raises, const std::optional<py::array>& gaps,
                            double gap_score) {
  return with_float_type(function, "logits", inputs, [&](auto zero) -> py::tuple {
    using T = decltype(zero);
    CtcAlignCall<T> call = {};
    read_frames(function, inputs, input_lengths, blank, input, call);
    read_labels(function, labels, label_lengths, call);
    call.raises = raises;
    if (gaps) {
      check_shape(function, "gaps", *gaps, {call.batch, call.longest + 1});
      call.gaps = elements<bool>(function, "gaps", *gaps);
      call.gap_score = gap_score;
    }
    const auto of_tokens = [&](auto element) {
      return py::array_t<decltype(element)>({call.batch, call.longest});
    };
    const auto of_frames = [&](auto element) {
      return py::array_t<decltype(element)>({call.batch, call.frames});
    };
    py::array_t<std::int64_t> starts = of_tokens(std::int64_t()), ends = of_tokens(std::int64_t()),
                              path = of_frames(std::int64_t());
    py::array_t<T> confidences = of_tokens(T()), log_probs = of_frames(T()),
                   scores(static_cast<py::ssize_t>(call.batch));
    call.starts = starts.mutable_data();
    call.ends = ends.mutable_data();
    call.confidences = confidences.mutable_data();
    call.scores = scores.mutable_data();
    call.path = path.mutable_data();
    call.log_probs = log_probs.mutable_data();
    {
      const GilDropped dropped(static_cast<double>(call.batch * call.frames * (call.classes + call.longest)));
      ctc_align(function, call);
    }
    return py::make_tuple(starts, ends, confidences, scores, path, log_probs);
  });
}

}  // namespace

void bind_ctc_align(py::module_& m) {
  m.def("ctc_align", &bind_ctc_align_of, py::arg("function"), py::arg("logits"), py::arg("labels"),
        py::arg("logit_lengths"), py::arg("label_lengths"), py::arg("blank"), py::arg("input"),
        py::arg("raises"), py::arg("gaps"), py::arg("gap_score"));
}

}  // namespace fastseq
