// Losses with their gradients, and what accuracy counts.
#include "ops/loss.h"
#include "python/bind.h"
#include "python/integers.h"

namespace fastseq {
namespace {

// Integers of the shape of `output` without its last axis.
Integers labels_of(const char* function, const py::array& target, const py::array& output) {
  const Integers labels = integers(function, "target", target);
  bool ok = target.ndim() == output.ndim() - 1;
  for (py::ssize_t axis = 0; ok && axis < target.ndim(); ++axis)
    ok = target.shape(axis) == output.shape(axis);
  check_value(
      ok, function, "target",
      [&] {
        std::vector<std::int64_t> shape = shape_of(output);
        shape.pop_back();
        return "have shape " + shape_text(shape) + ", the prediction's without its last axis";
      },
      [&] { return shape_text(shape_of(target)); });
  return labels;
}

template <class T>
void set_weights(const char* function, LossCall<T>& call, const py::object& weights, std::int64_t rows) {
  call.weight = T(1);
  if (weights.is_none()) return;
  if (py::isinstance<py::array>(weights)) {
    const auto array = py::reinterpret_borrow<py::array>(weights);
    call.weights = elements<T>(function, "weights", array);
    check_value(
        array.size() == rows, function, "weights",
        [&] { return "have one number for each of " + std::to_string(rows) + " rows"; },
        [&] { return "shape " + shape_text(shape_of(array)); });
  } else {
    call.weight = static_cast<T>(py::cast<double>(weights));
  }
}

py::tuple bind_loss_of(const char* function, int kind, const py::array& output, const py::array& target,
                       bool labelled, const py::object& weights, double target_scale, double target_shift,
                       bool wants_gradient) {
  return with_float_type(function, "prediction", output, [&](auto zero) -> py::tuple {
    using T = decltype(zero);
    LossCall<T> call = {};
    call.loss = static_cast<Loss>(kind);
    call.output = elements<T>(function, "prediction", output);
    const RowShape shape = rows_of(function, "prediction", output);
    check_value(shape.columns > 0, function, "prediction", "have a last axis of at least 1",
                [&] { return "shape " + shape_text(shape_of(output)); });
    call.columns = shape.columns;
    Integers labels = {};
    if (labelled) {
      labels = labels_of(function, target, output);
    } else {
      call.target = elements<T>(function, "target", target);
      check_same_shape(function, "target", target, "prediction", output);
    }
    set_weights(function, call, weights, shape.rows);
    call.target_scale = static_cast<T>(target_scale);
    call.target_shift = static_cast<T>(target_shift);
    py::array_t<T> losses = empty_rows_of<T>(output);
    call.losses = losses.mutable_data();
    py::object doutput = py::none();
    if (wants_gradient) {
      py::array_t<T> fresh = empty_like<T>(output);
      call.doutput = fresh.mutable_data();
      doutput = std::move(fresh);
    }
    {
      const GilDropped dropped(static_cast<double>(output.size()));
      loss(function, call, shape.rows, labelled ? &labels : nullptr);
    }
    return py::make_tuple(losses, doutput);
  });
}

py::array bind_categorical_matches(const char* function, const py::array& output, const py::array& target,
                                   bool labelled) {
  return with_float_type(function, "prediction", output, [&](auto zero) -> py::array {
    using T = decltype(zero);
    const T* from = elements<T>(function, "prediction", output);
    const RowShape shape = rows_of(function, "prediction", output);
    Integers labels = {};
    const T* against = nullptr;
    if (labelled) {
      labels = labels_of(function, target, output);
    } else {
      against = elements<T>(function, "target", target);
      check_same_shape(function, "target", target, "prediction", output);
    }
    py::array_t<T> matches = empty_rows_of<T>(output);
    T* to = matches.mutable_data();
    const GilDropped dropped(static_cast<double>(output.size()));
    categorical_matches(function, shape.rows, shape.columns, from, against, labelled ? &labels : nullptr, to);
    return matches;
  });
}

py::array bind_binary_matches(const char* function, const py::array& output, const py::array& target,
                              double threshold) {
  return with_float_type(function, "prediction", output, [&](auto zero) -> py::array {
    using T = decltype(zero);
    const T* from = elements<T>(function, "prediction", output);
    const T* against = elements<T>(function, "target", target);
    check_same_shape(function, "target", target, "prediction", output);
    const RowShape shape = rows_of(function, "prediction", output);
    check_value(shape.columns > 0, function, "prediction", "have a last axis of at least 1",
                [&] { return "shape " + shape_text(shape_of(output)); });
    py::array_t<T> matches = empty_rows_of<T>(output);
    T* to = matches.mutable_data();
    const GilDropped dropped(static_cast<double>(output.size()));
    binary_matches(shape.rows, shape.columns, from, against, static_cast<T>(threshold), to);
    return matches;
  });
}

}  // namespace

void bind_loss(py::module_& m) {
  m.def("loss", &bind_loss_of, py::arg("function"), py::arg("kind"), py::arg("prediction"), py::arg("target"),
        py::arg("labelled"), py::arg("weights"), py::arg("target_scale"), py::arg("target_shift"),
        py::arg("wants_gradient"));
  m.def("categorical_matches", &bind_categorical_matches, py::arg("function"), py::arg("prediction"),
        py::arg("target"), py::arg("labelled"));
  m.def("binary_matches", &bind_binary_matches, py::arg("function"), py::arg("prediction"), py::arg("target"),
        py::arg("threshold"));
}

}  // namespace fastseq
