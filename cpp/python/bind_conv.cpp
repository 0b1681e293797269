// Convolution and pooling.
#include "ops/activation.h"

#include <pybind11/stl.h>

#include <array>

#include "ops/conv.h"
#include "python/arrays.h"
#include "python/bind.h"

namespace fastseq {
namespace {

// What Python has worked out of one axis: output, taps, stride, dilation, before. Any numbers are safe, as
// long as they are these and fit together as C++ sizes.
using AxisNumbers = std::array<std::int64_t, 5>;

ConvAxis axis_of(const char* function, const char* argument, std::int64_t input, const AxisNumbers& n) {
  constexpr std::int64_t most = std::int64_t{1} << 31;
  const bool ok = n[0] >= 0 && n[1] >= 1 && n[2] >= 1 && n[3] >= 1 && n[4] >= 0 && n[0] < most &&
                  n[1] < most && n[2] < most && n[3] < most && n[4] < most;
  check_value(ok, function, argument, "be (output, taps, stride, dilation, before)",
              [&] { return shape_text(n.data(), n.size()); });
  return {input, n[0], n[1], n[2], n[3], n[4]};
}

void check_images(const char* function, const py::array& x) {
  check_value(x.ndim() == 4, function, "x", "have shape (batch, height, width, channels)",
              [&] { return shape_text(shape_of(x)); });
}

// The blocks of the output of which only the maximum is wanted, (1, 1) for none.
using PoolNumbers = std::array<std::int64_t, 2>;

ConvShape conv_shape(const char* function, const py::array& x, const py::array& kernel, const AxisNumbers& h,
                     const AxisNumbers& w, const PoolNumbers& pool) {
  check_images(function, x);
  ConvShape shape = {x.shape(0), x.shape(3), 0, axis_of(function, "h", x.shape(1), h),
                     axis_of(function, "w", x.shape(2), w)};
  const bool fits =
      kernel.ndim() == 4 && kernel.shape(0) == h[1] && kernel.shape(1) == w[1] && kernel.shape(2) == shape.C;
  check_value(
      fits, function, "kernel",
      [&] {
        return "have shape (height, width, " + std::to_string(shape.C) + ", filters) for these channels";
      },
      [&] { return shape_text(shape_of(kernel)); });
  shape.U = kernel.shape(3);
  check_value(pool[0] >= 1 && pool[1] >= 1 && pool[0] <= 65536 && pool[1] <= 65536 / pool[0] &&
                  shape.h.output % pool[0] == 0 && shape.w.output % pool[1] == 0,
              function, "pool_size", "divide the output and hold at most 65536 pixels",
              [&] { return shape_text(pool.data(), pool.size()); });
  shape.pool_h = pool[0];
  shape.pool_w = pool[1];
  return shape;
}

template <class T>
py::array_t<T> empty_images(const ConvShape& s, std::int64_t channels) {
  return empty_of<T>({s.N, s.h.output / s.pool_h, s.w.output / s.pool_w, channels});
}

// What forward kept of the places of maxima.
const std::uint16_t* places_of(const char* function, const std::optional<py::array>& place,
                               const py::array& y) {
  const bool ok = place && has_type<std::uint16_t>(*place) && is_laid_out(*place) && same_shape(*place, y);
  check_value(ok, function, "place", "be what forward gave", [&] { return shape_text(shape_of(y)); });
  return static_cast<const std::uint16_t*>(place->data());
}

double elements_of(const ConvShape& s, std::int64_t channels) {
  return static_cast<double>(s.N * s.h.output * s.w.output) * static_cast<double>(channels);
}

// y and, where its maxima are wanted for backward, the place of each.
py::tuple bind_conv2d_forward(const py::array& x, const py::array& kernel,
                              const std::optional<py::array>& bias, const AxisNumbers& h,
                              const AxisNumbers& w, const PoolNumbers& pool, const char* activation,
                              bool places) {
  constexpr const char* function = "conv2d_forward";
  return with_float_type(function, "x", x, [&](auto zero) -> py::tuple {
    using T = decltype(zero);
    ConvForward<T> call = {};
    call.activation = output_activation(function, "activation", activation);
    call.x = elements<T>(function, "x", x);
    call.kernel = elements<T>(function, "kernel", kernel);
    call.shape = conv_shape(function, x, kernel, h, w, pool);
    if (bias) {
      call.bias = elements<T>(function, "bias", *bias);
      check_shape(function, "bias", *bias, {call.shape.U});
    }
    py::array_t<T> y = empty_images<T>(call.shape, call.shape.U);
    call.y = y.mutable_data();
    py::object place = py::none();
    if (places && call.shape.pool_h * call.shape.pool_w > 1) {
      py::array_t<std::uint16_t> fresh = empty_images<std::uint16_t>(call.shape, call.shape.U);
      call.place = fresh.mutable_data();
      place = std::move(fresh);
    }
    {
      const GilDropped dropped(elements_of(call.shape, call.shape.U));
      conv_forward(call);
    }
    return py::make_tuple(y, place);
  });
}

py::tuple bind_conv2d_backward(const py::array& x, const py::array& kernel, const py::array& y,
                               const std::optional<py::array>& place, const py::array& dy,
                               const AxisNumbers& h, const AxisNumbers& w, const PoolNumbers& pool,
                               const char* activation, bool wants_x, const py::object& dkernel,
                               const py::object& dbias) {
  constexpr const char* function = "conv2d_backward";
  return with_float_type(function, "x", x, [&](auto zero) -> py::tuple {
    using T = decltype(zero);
    ConvBackward<T> call = {};
    call.activation = output_activation(function, "activation", activation);
    call.x = elements<T>(function, "x", x);
    call.kernel = elements<T>(function, "kernel", kernel);
    call.y = elements<T>(function, "y", y);
    call.dy = elements<T>(function, "dy", dy);
    call.shape = conv_shape(function, x, kernel, h, w, pool);
    const ConvShape& s = call.shape;
    check_shape(function, "y", y, {s.N, s.h.output / s.pool_h, s.w.output / s.pool_w, s.U});
    check_same_shape(function, "dy", dy, "y", y);
    if (s.pool_h * s.pool_w > 1) call.place = places_of(function, place, y);
    const py::object kernel_gradient = gradient_array<T>(
        function, "into['kernel']", dkernel, {s.h.taps, s.w.taps, s.C, s.U}, call.dkernel, call.add_kernel);
    const py::object bias_gradient =
        gradient_array<T>(function, "into['bias']", dbias, {s.U}, call.dbias, call.add_bias);
    py::object dx = py::none();
    if (wants_x) {
      py::array_t<T> fresh = empty_like<T>(x);
      call.dx = fresh.mutable_data();
      dx = std::move(fresh);
    }
    {
      const GilDropped dropped(elements_of(s, s.U));
      conv_backward(call);
    }
    return py::make_tuple(dx, kernel_gradient, bias_gradient);
  });
}

ConvShape pool_shape(const char* function, const py::array& x, const AxisNumbers& h, const AxisNumbers& w) {
  check_images(function, x);
  return {x.shape(0), x.shape(3), x.shape(3), axis_of(function, "h", x.shape(1), h),
          axis_of(function, "w", x.shape(2), w)};
}

constexpr const char* pool_functions[] = {"max_pool2d_forward", "average_pool2d_forward"};
constexpr const char* pool_backward_functions[] = {"max_pool2d_backward", "average_pool2d_backward"};

// y and, of a maximum where asked for, the place of each.
py::tuple bind_pool2d_forward(bool average, const py::array& x, const AxisNumbers& h, const AxisNumbers& w,
                              bool places) {
  const char* function = pool_functions[average];
  return with_float_type(function, "x", x, [&](auto zero) -> py::tuple {
    using T = decltype(zero);
    PoolCall<T> call = {};
    call.pool = average ? Pool::average : Pool::max;
    call.x = elements<T>(function, "x", x);
    call.shape = pool_shape(function, x, h, w);
    py::array_t<T> y = empty_images<T>(call.shape, call.shape.C);
    call.y = y.mutable_data();
    py::object place = py::none();
    if (places && !average) {
      check_value(h[1] * w[1] <= 65536, function, "pool_size", "hold at most 65536 pixels", h[1] * w[1]);
      py::array_t<std::uint16_t> fresh = empty_images<std::uint16_t>(call.shape, call.shape.C);
      call.place = fresh.mutable_data();
      place = std::move(fresh);
    }
    {
      const GilDropped dropped(static_cast<double>(x.size()));
      pool_forward(call);
    }
    return py::make_tuple(y, place);
  });
}

py::array bind_pool2d_backward(bool average, const std::vector<std::int64_t>& x_shape,
                               const std::optional<py::array>& place, const py::array& dy,
                               const AxisNumbers& h, const AxisNumbers& w) {
  const char* function = pool_backward_functions[average];
  return with_float_type(function, "dy", dy, [&](auto zero) -> py::array {
    using T = decltype(zero);
    PoolBackward<T> call = {};
    call.pool = average ? Pool::average : Pool::max;
    call.dy = elements<T>(function, "dy", dy);
    py::array_t<T> dx = empty_of<T>(x_shape);
    call.dx = dx.mutable_data();
    call.shape = pool_shape(function, dx, h, w);
    const ConvShape& s = call.shape;
    check_shape(function, "dy", dy, {s.N, s.h.output, s.w.output, s.C});
    if (!average) call.place = places_of(function, place, dy);
    const GilDropped dropped(static_cast<double>(dx.size()));
    pool_backward(call);
    return dx;
  });
}

}  // namespace

void bind_conv(py::module_& m) {
  m.def("conv2d_forward", &bind_conv2d_forward, py::arg("x"), py::arg("kernel"), py::arg("bias"),
        py::arg("h"), py::arg("w"), py::arg("pool"), py::arg("activation"), py::arg("places"));
  m.def("conv2d_backward", &bind_conv2d_backward, py::arg("x"), py::arg("kernel"), py::arg("y"),
        py::arg("place"), py::arg("dy"), py::arg("h"), py::arg("w"), py::arg("pool"), py::arg("activation"),
        py::arg("wants_x"), py::arg("dkernel"), py::arg("dbias"));
  m.def("pool2d_forward", &bind_pool2d_forward, py::arg("average"), py::arg("x"), py::arg("h"), py::arg("w"),
        py::arg("places"));
  m.def("pool2d_backward", &bind_pool2d_backward, py::arg("average"), py::arg("x_shape"), py::arg("place"),
        py::arg("dy"), py::arg("h"), py::arg("w"));
}

}  // namespace fastseq
