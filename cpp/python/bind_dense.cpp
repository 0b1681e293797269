// The dense layer.
#include "ops/activation.h"

#include <pybind11/stl.h>

#include "ops/dense.h"
#include "python/arrays.h"
#include "python/bind.h"

namespace fastseq {
namespace {

template <class Call>
void check_kernel(const char* function, const Call& call, const py::array& kernel) {
  check_value(
      kernel.ndim() == 2 && kernel.shape(0) == call.F, function, "kernel",
      [&] { return "have shape (" + std::to_string(call.F) + ", units) for these features"; },
      [&] { return shape_text(shape_of(kernel)); });
}

py::array bind_dense_forward(const py::array& x, const py::array& kernel,
                             const std::optional<py::array>& bias, const char* activation) {
  constexpr const char* function = "dense_forward";
  return with_float_type(function, "x", x, [&](auto zero) -> py::array {
    using T = decltype(zero);
    DenseForward<T> call = {};
    call.activation = output_activation(function, "activation", activation);
    call.x = elements<T>(function, "x", x);
    call.kernel = elements<T>(function, "kernel", kernel);
    const RowShape shape = rows_of(function, "x", x);
    call.N = shape.rows;
    call.F = shape.columns;
    check_kernel(function, call, kernel);
    call.U = kernel.shape(1);
    if (bias) {
      call.bias = elements<T>(function, "bias", *bias);
      check_shape(function, "bias", *bias, {call.U});
    }
    py::array_t<T> y = empty_rows_of<T>(x, call.U);
    call.y = y.mutable_data();
    const GilDropped dropped(static_cast<double>(call.N) * static_cast<double>(call.U));
    dense_forward(call);
    return y;
  });
}

py::tuple bind_dense_backward(const py::array& x, const py::array& kernel, const py::array& y,
                              const py::array& dy, const char* activation, bool wants_x,
                              const py::object& dkernel, const py::object& dbias) {
  constexpr const char* function = "dense_backward";
  return with_float_type(function, "x", x, [&](auto zero) -> py::tuple {
    using T = decltype(zero);
    DenseBackward<T> call = {};
    call.activation = output_activation(function, "activation", activation);
    call.x = elements<T>(function, "x", x);
    call.kernel = elements<T>(function, "kernel", kernel);
    call.y = elements<T>(function, "y", y);
    call.dy = elements<T>(function, "dy", dy);
    const RowShape shape = rows_of(function, "x", x);
    call.N = shape.rows;
    call.F = shape.columns;
    check_kernel(function, call, kernel);
    call.U = kernel.shape(1);
    check_value(rows_of(function, "y", y).columns == call.U && y.size() == call.N * call.U, function, "y",
                "be what dense_forward gave", [&] { return shape_text(shape_of(y)); });
    check_same_shape(function, "dy", dy, "y", y);
    const py::object kernel_gradient = gradient_array<T>(function, "into['kernel']", dkernel,
                                                         {call.F, call.U}, call.dkernel, call.add_kernel);
    const py::object bias_gradient =
        gradient_array<T>(function, "into['bias']", dbias, {call.U}, call.dbias, call.add_bias);
    py::object dx = py::none();
    if (wants_x) {
      py::array_t<T> fresh = empty_like<T>(x);
      call.dx = fresh.mutable_data();
      dx = std::move(fresh);
    }
    {
      const GilDropped dropped(static_cast<double>(call.N) * static_cast<double>(call.U));
      dense_backward(call);
    }
    return py::make_tuple(dx, kernel_gradient, bias_gradient);
  });
}

}  // namespace

void bind_dense(py::module_& m) {
  m.def("dense_forward", &bind_dense_forward, py::arg("x"), py::arg("kernel"), py::arg("bias"),
        py::arg("activation"));
  m.def("dense_backward", &bind_dense_backward, py::arg("x"), py::arg("kernel"), py::arg("y"), py::arg("dy"),
        py::arg("activation"), py::arg("wants_x"), py::arg("dkernel"), py::arg("dbias"));
}

}  // namespace fastseq
