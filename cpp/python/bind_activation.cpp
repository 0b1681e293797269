// Activations and softmax.
#include "ops/activation.h"

#include <pybind11/stl.h>

#include "python/arrays.h"
#include "python/bind.h"

namespace fastseq {
namespace {

using Parameters = std::optional<std::array<double, 3>>;

const double* pointer(const Parameters& parameters) { return parameters ? parameters->data() : nullptr; }

py::array bind_activate(const char* function, const py::array& x, const char* name,
                        const Parameters& parameters) {
  const ActivationChoice choice = activation_choice(function, "activation", name, pointer(parameters));
  return with_float_type(function, "x", x, [&](auto zero) -> py::array {
    using T = decltype(zero);
    const T* from = elements<T>(function, "x", x);
    py::array_t<T> y = empty_like<T>(x);
    T* to = y.mutable_data();
    const GilDropped dropped(static_cast<double>(x.size()));
    activate(choice, x.size(), from, to);
    return y;
  });
}

py::array bind_activate_backward(const char* function, const py::array& saved, const py::array& dy,
                                 const char* name, const Parameters& parameters) {
  const ActivationChoice choice = activation_choice(function, "activation", name, pointer(parameters));
  return with_float_type(function, "saved", saved, [&](auto zero) -> py::array {
    using T = decltype(zero);
    const T* from = elements<T>(function, "saved", saved);
    const T* gradient = elements<T>(function, "dy", dy);
    check_same_shape(function, "dy", dy, "y", saved);
    py::array_t<T> dx = empty_like<T>(saved);
    T* to = dx.mutable_data();
    const GilDropped dropped(static_cast<double>(dx.size()));
    activate_backward(choice, dx.size(), from, gradient, to);
    return dx;
  });
}

py::array bind_softmax(const char* function, const py::array& x, bool logarithm) {
  return with_float_type(function, "x", x, [&](auto zero) -> py::array {
    using T = decltype(zero);
    const T* from = elements<T>(function, "x", x);
    const RowShape shape = rows_of(function, "x", x);
    py::array_t<T> y = empty_like<T>(x);
    T* to = y.mutable_data();
    const GilDropped dropped(static_cast<double>(x.size()));
    softmax(logarithm, shape.rows, shape.columns, from, to);
    return y;
  });
}

py::array bind_softmax_backward(const char* function, const py::array& y, const py::array& dy,
                                bool logarithm) {
  return with_float_type(function, "y", y, [&](auto zero) -> py::array {
    using T = decltype(zero);
    const T* from = elements<T>(function, "y", y);
    const T* gradient = elements<T>(function, "dy", dy);
    check_same_shape(function, "dy", dy, "y", y);
    const RowShape shape = rows_of(function, "y", y);
    py::array_t<T> dx = empty_like<T>(y);
    T* to = dx.mutable_data();
    const GilDropped dropped(static_cast<double>(y.size()));
    softmax_backward(logarithm, shape.rows, shape.columns, from, gradient, to);
    return dx;
  });
}

}  // namespace

void bind_activation(py::module_& m) {
  m.def("activate", &bind_activate, py::arg("function"), py::arg("x"), py::arg("name"),
        py::arg("parameters") = py::none());
  m.def("activate_backward", &bind_activate_backward, py::arg("function"), py::arg("saved"), py::arg("dy"),
        py::arg("name"), py::arg("parameters") = py::none());
  m.def("is_output_activation", &is_output_activation, py::arg("name"),
        "Whether the derivative follows from the output; False also for names that do not exist.");
  m.def("softmax", &bind_softmax, py::arg("function"), py::arg("x"), py::arg("logarithm"));
  m.def("softmax_backward", &bind_softmax_backward, py::arg("function"), py::arg("y"), py::arg("dy"),
        py::arg("logarithm"));
}

}  // namespace fastseq
