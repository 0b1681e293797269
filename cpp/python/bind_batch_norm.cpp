// Batch normalization.
#include <pybind11/stl.h>

#include "ops/batch_norm.h"
#include "python/arrays.h"
#include "python/bind.h"

namespace fastseq {
namespace {

// An optional vector of one number for each of `count` channels, or rows.
template <class T>
const T* norm_vector(const char* function, const char* argument, const std::optional<py::array>& a,
                     std::int64_t count) {
  if (!a) return nullptr;
  const T* data = elements<T>(function, argument, *a);
  check_shape(function, argument, *a, {count});
  return data;
}

// y, mean and variance: those of x where none are given.
py::tuple bind_batch_norm_forward(const py::array& x, const std::optional<py::array>& gamma,
                                  const std::optional<py::array>& beta, const std::optional<py::array>& mean,
                                  const std::optional<py::array>& variance,
                                  const std::optional<py::array>& mask, double total, double epsilon) {
  constexpr const char* function = "batch_norm_forward";
  return with_float_type(function, "x", x, [&](auto zero) -> py::tuple {
    using T = decltype(zero);
    NormForward<T> call = {};
    call.x = elements<T>(function, "x", x);
    const RowShape shape = rows_of(function, "x", x);
    call.R = shape.rows;
    call.C = shape.columns;
    call.gamma = norm_vector<T>(function, "gamma", gamma, call.C);
    call.beta = norm_vector<T>(function, "beta", beta, call.C);
    call.mask = norm_vector<bool>(function, "mask", mask, call.R);
    call.total = static_cast<T>(total);
    call.epsilon = static_cast<T>(epsilon);
    call.measure = !mean;
    py::object used_mean, used_variance;
    if (mean) {
      // Not written to unless measured.
      call.mean = const_cast<T*>(norm_vector<T>(function, "mean", mean, call.C));
      call.variance = const_cast<T*>(norm_vector<T>(function, "variance", variance, call.C));
      used_mean = *mean;
      used_variance = *variance;
    } else {
      py::array_t<T> made_mean(call.C), made_variance(call.C);
      call.mean = made_mean.mutable_data();
      call.variance = made_variance.mutable_data();
      used_mean = std::move(made_mean);
      used_variance = std::move(made_variance);
    }
    py::array_t<T> y = empty_like<T>(x);
    call.y = y.mutable_data();
    {
      const GilDropped dropped(static_cast<double>(x.size()));
      norm_forward(call);
    }
    return py::make_tuple(y, used_mean, used_variance);
  });
}

py::tuple bind_batch_norm_backward(const py::array& x, const py::array& dy,
                                   const std::optional<py::array>& gamma, const py::array& mean,
                                   const py::array& variance, bool measured,
                                   const std::optional<py::array>& mask, double total, double excess,
                                   double epsilon, bool wants_x, const py::object& dgamma,
                                   const py::object& dbeta) {
  constexpr const char* function = "batch_norm_backward";
  return with_float_type(function, "x", x, [&](auto zero) -> py::tuple {
    using T = decltype(zero);
    NormBackward<T> call = {};
    call.x = elements<T>(function, "x", x);
    call.dy = elements<T>(function, "dy", dy);
    check_same_shape(function, "dy", dy, "y", x);
    const RowShape shape = rows_of(function, "x", x);
    call.R = shape.rows;
    call.C = shape.columns;
    call.gamma = norm_vector<T>(function, "gamma", gamma, call.C);
    call.mean = norm_vector<T>(function, "mean", mean, call.C);
    call.variance = norm_vector<T>(function, "variance", variance, call.C);
    call.measured = measured;
    call.mask = norm_vector<bool>(function, "mask", mask, call.R);
    call.total = static_cast<T>(total);
    call.excess = static_cast<T>(excess);
    call.epsilon = static_cast<T>(epsilon);
    const py::object gamma_gradient =
        gradient_array<T>(function, "into['gamma']", dgamma, {call.C}, call.dgamma, call.add_gamma);
    const py::object beta_gradient =
        gradient_array<T>(function, "into['beta']", dbeta, {call.C}, call.dbeta, call.add_beta);
    py::object dx = py::none();
    if (wants_x) {
      py::array_t<T> fresh = empty_like<T>(x);
      call.dx = fresh.mutable_data();
      dx = std::move(fresh);
    }
    {
      const GilDropped dropped(static_cast<double>(x.size()));
      norm_backward(call);
    }
    return py::make_tuple(dx, gamma_gradient, beta_gradient);
  });
}

}  // namespace

void bind_batch_norm(py::module_& m) {
  m.def("batch_norm_forward", &bind_batch_norm_forward, py::arg("x"), py::arg("gamma"), py::arg("beta"),
        py::arg("mean"), py::arg("variance"), py::arg("mask"), py::arg("total"), py::arg("epsilon"));
  m.def("batch_norm_backward", &bind_batch_norm_backward, py::arg("x"), py::arg("dy"), py::arg("gamma"),
        py::arg("mean"), py::arg("variance"), py::arg("measured"), py::arg("mask"), py::arg("total"),
        py::arg("excess"), py::arg("epsilon"), py::arg("wants_x"), py::arg("dgamma"), py::arg("dbeta"));
}

}  // namespace fastseq
