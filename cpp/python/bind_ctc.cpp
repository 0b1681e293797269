// CTC.
#include "ops/ctc.h"

#include "python/arrays.h"
#include "python/bind.h"

namespace fastseq {
namespace {

py::tuple bind_ctc_of(const char* function, const py::array& inputs, const py::array& labels,
                      const py::array& input_lengths, const py::array& label_lengths, std::int64_t blank,
                      int input, int infeasible, bool wants_gradient) {
  return with_float_type(function, "logits", inputs, [&](auto zero) -> py::tuple {
    using T = decltype(zero);
    CtcCall<T> call = {};
    call.input = static_cast<CtcInput>(input);
    call.infeasible = static_cast<Infeasible>(infeasible);
    call.inputs = elements<T>(function, "logits", inputs);
    check_value(inputs.ndim() == 3 && inputs.shape(2) > 0, function, "logits",
                "have shape (batch, steps, classes)", [&] { return shape_text(shape_of(inputs)); });
    call.batch = inputs.shape(0);
    call.frames = inputs.shape(1);
    call.classes = inputs.shape(2);
    check_value(
        labels.ndim() == 2 && labels.shape(0) == call.batch, function, "labels",
        [&] { return "have shape (" + std::to_string(call.batch) + ", longest)"; },
        [&] { return shape_text(shape_of(labels)); });
    call.longest = labels.shape(1);
    check_shape(function, "logit_lengths", input_lengths, {call.batch});
    check_shape(function, "label_lengths", label_lengths, {call.batch});
    call.labels = elements<std::int64_t>(function, "labels", labels);
    call.input_lengths = elements<std::int64_t>(function, "logit_lengths", input_lengths);
    call.label_lengths = elements<std::int64_t>(function, "label_lengths", label_lengths);
    check_value(
        blank >= -call.classes && blank < call.classes, function, "blank",
        [&] { return "be a class in [0, " + std::to_string(call.classes) + ") or count from the end"; },
        blank);
    call.blank = blank < 0 ? blank + call.classes : blank;
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
        py::arg("logit_lengths"), py::arg("label_lengths"), py::arg("blank"), py::arg("input"),
        py::arg("infeasible"), py::arg("wants_gradient"));
}

}  // namespace fastseq
