// CTC.
#include "ops/ctc.h"

#include "python/bind.h"
#include "python/ctc_arrays.h"

namespace fastseq {
namespace {

py::tuple bind_ctc_of(const char* function, const py::array& inputs, const py::array& labels,
                      const py::array& input_lengths, const py::array& label_lengths,
                      const py::object& weights, std::int64_t skipped, std::int64_t blank, int input,
                      int infeasible, bool wants_gradient) {
  return with_float_type(function, "logits", inputs, [&](auto zero) -> py::tuple {
    using T = decltype(zero);
    CtcCall<T> call = {};
    call.infeasible = static_cast<Infeasible>(infeasible);
    read_frames(function, inputs, input_lengths, blank, input, call);
    check_value(
        skipped >= 0 && skipped <= call.frames, function, "skip_steps",
        [&] { return "lie in [0, " + std::to_string(call.frames) + "]"; }, skipped);
    call.skipped = skipped;
    call.frames -= skipped;
    read_labels(function, labels, label_lengths, call);
    if (!weights.is_none()) {
      const auto array = py::reinterpret_borrow<py::array>(weights);
      check_shape(function, "weights", array, {call.batch});
      call.weights = elements<T>(function, "weights", array);
    }
    py::array_t<T> losses(static_cast<py::ssize_t>(call.batch));
    call.losses = losses.mutable_data();
    py::object gradient = py::none();
    if (wants_gradient) {
      py::array_t<T> fresh = empty_like<T>(inputs);
      call.gradient = fresh.mutable_data();
      gradient = std::move(fresh);
    }
    {
      const GilDropped dropped(static_cast<double>(inputs.size()));
      ctc(function, call);
    }
    return py::make_tuple(losses, gradient);
  });
}

}  // namespace

void bind_ctc(py::module_& m) {
  m.def("ctc", &bind_ctc_of, py::arg("function"), py::arg("logits"), py::arg("labels"),
        py::arg("logit_lengths"), py::arg("label_lengths"), py::arg("weights"), py::arg("skip_steps"),
        py::arg("blank"), py::arg("input"), py::arg("infeasible"), py::arg("wants_gradient"));
}

}  // namespace fastseq
