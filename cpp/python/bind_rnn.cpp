// LSTM, GRU and SimpleRNN over whole sequences: checks shapes, makes the outputs, one call into ops/rnn.
#include "ops/rnn.h"

#include <pybind11/stl.h>

#include <algorithm>
#include <memory>
#include <variant>

#include "python/arrays.h"
#include "python/bind.h"
#include "python/rnn_arrays.h"

namespace fastseq {
namespace {

// A function's name for messages: "lstm_forward".
std::string function_name(Cell cell, const char* direction) {
  const char* stem = cell == Cell::lstm ? "lstm" : cell == Cell::simple ? "simple_rnn" : "gru";
  return std::string(stem) + direction;
}

// What Python holds between forward and backward. Keeps the weights alive, which backward reads again.
struct PySaved {
  Cell cell;
  std::variant<std::unique_ptr<RnnSaved<float>>, std::unique_ptr<RnnSaved<double>>> saved;
  py::array kernel, recurrent_kernel;
  std::int64_t batch, steps, features, units;
  std::vector<py::ssize_t> bias_shape;  // empty without a bias
  bool repeat, has_state;
};

template <class T>
py::array_t<T> make(std::initializer_list<py::ssize_t> shape) {
  return py::array_t<T>(std::vector<py::ssize_t>(shape));
}

py::tuple forward(int cell_number, const py::array& x, const py::array& kernel,
                  const py::array& recurrent_kernel, const Optional& bias, const Optional& h0,
                  const Optional& c0, const Optional& mask, const Optional& lengths, int activation,
                  int recurrent_activation, bool go_backwards, bool zero_output_for_mask, bool training,
                  bool want_sequence, std::int64_t repeat, double dropout, double recurrent_dropout,
                  std::uint64_t seed) {
  const Cell cell = static_cast<Cell>(cell_number);
  const std::string name = function_name(cell, "_forward");
  const char* f = name.c_str();
  const std::int64_t gates = cell_layout(cell).gates;
  const bool lstm = cell == Cell::lstm;
  check_value(
      x.ndim() == (repeat < 0 ? 3 : 2), f, "x",
      repeat < 0 ? "have shape (batch, steps, features)" : "have shape (batch, features) when it is repeated",
      shape_of(x));
  const std::int64_t batch = x.shape(0), steps = repeat < 0 ? x.shape(1) : repeat,
                     features = x.shape(x.ndim() - 1), units = units_of(f, cell, recurrent_kernel);
  check_shape(f, "kernel", kernel, {features, gates * units});
  return with_float_type(f, "kernel", kernel, [&](auto zero) -> py::tuple {
    using T = decltype(zero);
    RnnArrays<T> a = {};
    a.batch = batch;
    a.steps = steps;
    a.features = features;
    a.units = units;
    a.x = elements<T>(f, "x", x);
    a.kernel = elements<T>(f, "kernel", kernel);
    a.recurrent_kernel = elements<T>(f, "recurrent_kernel", recurrent_kernel);
    a.bias = bias_elements<T>(f, cell, bias, units);
    a.h0 = optional_elements<T>(f, "initial_state", h0, {batch, units});
    a.c0 = optional_elements<T>(f, "initial_state", c0, {batch, units});
    a.mask = optional_elements<bool>(f, "mask", mask, {batch, steps});
    a.lengths = optional_elements<std::int64_t>(f, "lengths", lengths, {batch});
    if (a.lengths)
      for (std::int64_t n = 0; n < batch; ++n)
        check_value(a.lengths[n] >= 0 && a.lengths[n] <= steps, f, "lengths",
                    "lie in [0, steps = " + std::to_string(steps) + "]",
                    std::to_string(a.lengths[n]) + " at index " + std::to_string(n));
    py::object sequence = py::none(), c = py::none();
    if (want_sequence) {
      auto made = make<T>({batch, steps, units});
      a.sequence = made.mutable_data();
      sequence = std::move(made);
    }
    auto h = make<T>({batch, units});
    a.h_final = h.mutable_data();
    if (lstm) {
      auto made = make<T>({batch, units});
      a.c_final = made.mutable_data();
      c = std::move(made);
    }
    const RnnOptions options = {cell,
                                static_cast<Activation>(activation),
                                static_cast<Activation>(recurrent_activation),
                                go_backwards,
                                zero_output_for_mask,
                                training,
                                repeat >= 0,
                                dropout,
                                recurrent_dropout,
                                seed};
    std::unique_ptr<RnnSaved<T>> saved;
    {
      const GilDropped dropped(static_cast<double>(batch * steps) * static_cast<double>(units));
      saved = rnn_forward<T>(a, options);
    }
    py::object kept = py::none();
    if (saved) {
      std::vector<py::ssize_t> bias_shape;
      if (bias) bias_shape.assign(bias->shape(), bias->shape() + bias->ndim());
      kept = py::cast(
          std::make_unique<PySaved>(PySaved{cell, std::move(saved), kernel, recurrent_kernel, batch, steps,
                                            features, units, std::move(bias_shape), repeat >= 0, h0 || c0}));
    }
    return py::make_tuple(std::move(sequence), std::move(h), std::move(c), std::move(kept));
  });
}

// A gradient to assign: a fresh array. One to add to: the caller's, or zeros.
template <class T>
T* assigned(bool wanted, std::initializer_list<py::ssize_t> shape, py::object& out) {
  if (!wanted) return nullptr;
  auto made = make<T>(shape);
  T* data = made.mutable_data();
  out = std::move(made);
  return data;
}

template <class T>
T* added(const char* f, const char* name, bool wanted, const std::vector<py::ssize_t>& shape,
         const Optional& into, py::object& out) {
  if (!wanted) return nullptr;
  if (into) {
    check_value(
        shape_of(*into) == std::vector<std::int64_t>(shape.begin(), shape.end()), f, name,
        [&] { return "have shape " + shape_text(std::vector<std::int64_t>(shape.begin(), shape.end())); },
        [&] { return shape_text(shape_of(*into)); });
    out = *into;
    return writable_elements<T>(f, name, *into);
  }
  auto made = py::array_t<T>(shape);
  T* data = made.mutable_data();
  std::fill_n(data, made.size(), T(0));
  out = std::move(made);
  return data;
}

py::tuple backward(PySaved& s, const Optional& dsequence, const Optional& dh, const Optional& dc, bool want_x,
                   bool want_kernel, bool want_recurrent, bool want_bias, bool want_state,
                   const Optional& into_kernel, const Optional& into_recurrent, const Optional& into_bias,
                   bool keep) {
  const std::string name = function_name(s.cell, "_backward");
  const char* f = name.c_str();
  const std::int64_t gates = cell_layout(s.cell).gates;
  return std::visit(
      [&](auto& saved) -> py::tuple {
        using T = typename std::decay_t<decltype(*saved)>::Scalar;
        RnnGradients<T> g = {};
        py::object dx = py::none(), dkernel = py::none(), drecurrent = py::none(), dbias = py::none(),
                   dh0 = py::none(), dc0 = py::none();
        g.dsequence = optional_elements<T>(f, "dsequence", dsequence, {s.batch, s.steps, s.units});
        g.dh_final = optional_elements<T>(f, "dstate", dh, {s.batch, s.units});
        g.dc_final = optional_elements<T>(f, "dstate", dc, {s.batch, s.units});
        g.dkernel =
            added<T>(f, "into['kernel']", want_kernel, {s.features, gates * s.units}, into_kernel, dkernel);
        g.drecurrent_kernel = added<T>(f, "into['recurrent_kernel']", want_recurrent,
                                       {s.units, gates * s.units}, into_recurrent, drecurrent);
        if (!s.bias_shape.empty())
          g.dbias = added<T>(f, "into['bias']", want_bias, s.bias_shape, into_bias, dbias);
        g.dx = s.repeat ? assigned<T>(want_x, {s.batch, s.features}, dx)
                        : assigned<T>(want_x, {s.batch, s.steps, s.features}, dx);
        g.dh0 = assigned<T>(want_state && s.has_state, {s.batch, s.units}, dh0);
        g.dc0 = assigned<T>(want_state && s.has_state && s.cell == Cell::lstm, {s.batch, s.units}, dc0);
        {
          const GilDropped dropped(static_cast<double>(s.batch * s.steps) * static_cast<double>(s.units));
          rnn_backward<T>(f, *saved, g, keep);
        }
        return py::make_tuple(dx, dkernel, drecurrent, dbias, dh0, dc0);
      },
      s.saved);
}

}  // namespace

void bind_rnn(py::module_& m) {
  py::class_<PySaved>(m, "RnnSaved", "What a recurrent forward keeps for its backward.")
      .def_property_readonly("dtype", [](const PySaved& s) { return s.kernel.dtype(); });
  m.def("rnn_forward", &forward);
  m.def("rnn_backward", &backward);
}

}  // namespace fastseq
