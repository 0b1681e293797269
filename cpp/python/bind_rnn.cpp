// LSTM, GRU and SimpleRNN over whole sequences: checks shapes, makes the outputs, one call into ops/rnn.
#include "ops/rnn.h"

#include <pybind11/stl.h>

#include <memory>
#include <tuple>
#include <variant>

#include "python/arrays.h"
#include "python/bind.h"
#include "python/rnn_arrays.h"
#include "python/stepper.h"

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

// What Python passes for one call, as a tuple in this order: the weights, or a stepper that has them packed.
struct ForwardArguments {
  int cell;
  py::array x;
  Optional kernel, recurrent_kernel, bias, h0, c0, mask, lengths;
  int activation, recurrent_activation;
  bool go_backwards, zero_output_for_mask, training, want_sequence;
  std::int64_t repeat;
  double dropout, recurrent_dropout;
  std::uint64_t seed;
  std::optional<py::capsule> packed;
};
using ForwardTuple = std::tuple<int, py::array, Optional, Optional, Optional, Optional, Optional, Optional,
                                Optional, int, int, bool, bool, bool, bool, std::int64_t, double, double,
                                std::uint64_t, std::optional<py::capsule>>;

ForwardArguments arguments_of(const ForwardTuple& t) {
  return std::apply([](const auto&... parts) { return ForwardArguments{parts...}; }, t);
}

// One call made ready: arguments checked, outputs made.
template <class T>
struct ForwardCall {
  const ForwardArguments& p;
  RnnArrays<T> arrays = {};
  RnnOptions options = {};
  py::object sequence = py::none(), h, c = py::none();

  explicit ForwardCall(const ForwardArguments& given) : p(given) {
    const Cell cell = static_cast<Cell>(p.cell);
    const std::string name = function_name(cell, "_forward");
    const char* f = name.c_str();
    const bool repeats = p.repeat >= 0;
    check_value(
        p.x.ndim() == (repeats ? 2 : 3), f, "x",
        repeats ? "have shape (batch, features) when it is repeated" : "have shape (batch, steps, features)",
        shape_of(p.x));
    RnnArrays<T>& a = arrays;
    a.batch = p.x.shape(0);
    a.steps = repeats ? p.repeat : p.x.shape(1);
    a.features = p.x.shape(p.x.ndim() - 1);
    if (p.packed)
      take_packed(f, cell);
    else
      take_weights(f, cell);
    a.x = elements<T>(f, "x", p.x);
    a.h0 = optional_elements<T>(f, "initial_state", p.h0, {a.batch, a.units});
    a.c0 = optional_elements<T>(f, "initial_state", p.c0, {a.batch, a.units});
    a.mask = optional_elements<bool>(f, "mask", p.mask, {a.batch, a.steps});
    a.lengths = optional_elements<std::int64_t>(f, "lengths", p.lengths, {a.batch});
    if (a.lengths)
      for (std::int64_t n = 0; n < a.batch; ++n)
        check_value(a.lengths[n] >= 0 && a.lengths[n] <= a.steps, f, "lengths",
                    "lie in [0, steps = " + std::to_string(a.steps) + "]",
                    std::to_string(a.lengths[n]) + " at index " + std::to_string(n));
    if (p.want_sequence) sequence = output({a.batch, a.steps, a.units}, a.sequence);
    h = output({a.batch, a.units}, a.h_final);
    if (cell == Cell::lstm) c = output({a.batch, a.units}, a.c_final);
    options = {cell,
               static_cast<Activation>(p.activation),
               static_cast<Activation>(p.recurrent_activation),
               p.go_backwards,
               p.zero_output_for_mask,
               p.training,
               repeats,
               p.dropout,
               p.recurrent_dropout,
               p.seed};
  }

  double elements_of_states() const {
    return static_cast<double>(arrays.batch * arrays.steps) * static_cast<double>(arrays.units);
  }

  py::tuple results(std::unique_ptr<RnnSaved<T>> saved) {
    py::object kept = py::none();
    if (saved) {
      std::vector<py::ssize_t> bias_shape;
      if (p.bias) bias_shape.assign(p.bias->shape(), p.bias->shape() + p.bias->ndim());
      // As a value: of what pybind11 does with a unique_ptr, clang leaves out a part, and nothing can be
      // loaded.
      kept = py::cast(PySaved{options.cell, std::move(saved), *p.kernel, *p.recurrent_kernel, arrays.batch,
                              arrays.steps, arrays.features, arrays.units, std::move(bias_shape),
                              options.repeat, p.h0 || p.c0});
    }
    return py::make_tuple(std::move(sequence), std::move(h), std::move(c), std::move(kept));
  }

 private:
  void take_weights(const char* f, Cell cell) {
    RnnArrays<T>& a = arrays;
    a.units = units_of(f, cell, *p.recurrent_kernel);
    check_shape(f, "kernel", *p.kernel, {a.features, cell_layout(cell).gates * a.units});
    a.kernel = elements<T>(f, "kernel", *p.kernel);
    a.recurrent_kernel = elements<T>(f, "recurrent_kernel", *p.recurrent_kernel);
    a.bias = bias_elements<T>(f, cell, p.bias, a.units);
  }

  void take_packed(const char* f, Cell cell) {
    const auto* stepper = std::get_if<std::unique_ptr<RnnStepper<T>>>(&stepper_of(*p.packed).stepper);
    check_value(stepper != nullptr && (*stepper)->cell() == cell, f, "packed",
                "be a layer of this cell and dtype", "another");
    check_value(!p.training, f, "training", "be False with packed weights", "True");
    const RnnStepper<T>& s = **stepper;
    check_value(
        s.features() == arrays.features, f, "x",
        [&] { return "have " + std::to_string(s.features()) + " features"; },
        [&] { return "shape " + shape_text(shape_of(p.x)); });
    arrays.units = s.units();
    arrays.packed = &s.layer();
  }

  static py::object output(std::initializer_list<py::ssize_t> shape, T*& data) {
    py::array_t<T> made = empty_of<T>(std::vector<py::ssize_t>(shape));
    data = made.mutable_data();
    return std::move(made);
  }
};

template <class F>
py::tuple with_type_of(const ForwardArguments& p, F&& f) {
  if (p.packed)
    return std::visit(
        [&](const auto& stepper) { return f(typename std::decay_t<decltype(*stepper)>::Scalar(0)); },
        stepper_of(*p.packed).stepper);
  const std::string name = function_name(static_cast<Cell>(p.cell), "_forward");
  for (const Optional* given : {&p.kernel, &p.recurrent_kernel})
    check_type(given->has_value(), name.c_str(), given == &p.kernel ? "kernel" : "recurrent_kernel",
               "be an array of float32 or float64", [] { return std::string("None"); });
  return with_float_type(name.c_str(), "kernel", *p.kernel, f);
}

py::tuple forward(const ForwardTuple& given) {
  const ForwardArguments p = arguments_of(given);
  return with_type_of(p, [&](auto zero) -> py::tuple {
    using T = decltype(zero);
    ForwardCall<T> call(p);
    std::unique_ptr<RnnSaved<T>> saved;
    {
      const GilDropped dropped(call.elements_of_states());
      saved = rnn_forward<T>(call.arrays, call.options);
    }
    return call.results(std::move(saved));
  });
}

// Two calls that do not need each other, at once.
py::tuple forward_both(const ForwardTuple& first, const ForwardTuple& second) {
  const ForwardArguments p = arguments_of(first), q = arguments_of(second);
  return with_type_of(p, [&](auto zero) -> py::tuple {
    using T = decltype(zero);
    ForwardCall<T> a(p), b(q);
    RnnSavedPair<T> saved;
    {
      const GilDropped dropped(a.elements_of_states() + b.elements_of_states());
      saved = rnn_forward_both<T>({a.arrays, b.arrays}, {a.options, b.options});
    }
    return py::make_tuple(a.results(std::move(saved[0])), b.results(std::move(saved[1])));
  });
}

// A gradient in a fresh array.
template <class T>
T* assigned(bool wanted, std::initializer_list<py::ssize_t> shape, py::object& out) {
  if (!wanted) return nullptr;
  py::array_t<T> made = empty_of<T>(std::vector<py::ssize_t>(shape));
  T* data = made.mutable_data();
  out = std::move(made);
  return data;
}

// One added to the caller's array, where there is one.
template <class T>
T* added(const char* f, const char* name, bool wanted, const std::vector<py::ssize_t>& shape,
         const Optional& into, bool& add, py::object& out) {
  if (!wanted) return nullptr;
  add = into.has_value();
  if (into) {
    check_value(
        shape_of(*into) == std::vector<std::int64_t>(shape.begin(), shape.end()), f, name,
        [&] { return "have shape " + shape_text(std::vector<std::int64_t>(shape.begin(), shape.end())); },
        [&] { return shape_text(shape_of(*into)); });
    out = *into;
    return writable_elements<T>(f, name, *into);
  }
  py::array_t<T> made = empty_of<T>(shape);
  T* data = made.mutable_data();
  out = std::move(made);
  return data;
}

// What is wanted of one backward call, as a tuple in this order.
struct BackwardArguments {
  Optional dsequence, dh, dc;
  bool want_x, want_kernel, want_recurrent, want_bias, want_state;
  Optional into_kernel, into_recurrent, into_bias;
};
using BackwardTuple =
    std::tuple<Optional, Optional, Optional, bool, bool, bool, bool, bool, Optional, Optional, Optional>;

BackwardArguments arguments_of(const BackwardTuple& t) {
  return std::apply([](const auto&... parts) { return BackwardArguments{parts...}; }, t);
}

template <class T>
struct BackwardCall {
  RnnGradients<T> gradients = {};
  py::object dx = py::none(), dkernel = py::none(), drecurrent = py::none(), dbias = py::none(),
             dh0 = py::none(), dc0 = py::none();

  BackwardCall(const char* f, const PySaved& s, const BackwardArguments& p) {
    const std::int64_t gates = cell_layout(s.cell).gates;
    RnnGradients<T>& g = gradients;
    g.dsequence = optional_elements<T>(f, "dsequence", p.dsequence, {s.batch, s.steps, s.units});
    g.dh_final = optional_elements<T>(f, "dstate", p.dh, {s.batch, s.units});
    g.dc_final = optional_elements<T>(f, "dstate", p.dc, {s.batch, s.units});
    g.dkernel = added<T>(f, "into['kernel']", p.want_kernel, {s.features, gates * s.units}, p.into_kernel,
                         g.add_kernel, dkernel);
    g.drecurrent_kernel = added<T>(f, "into['recurrent_kernel']", p.want_recurrent,
                                   {s.units, gates * s.units}, p.into_recurrent, g.add_recurrent, drecurrent);
    if (!s.bias_shape.empty())
      g.dbias = added<T>(f, "into['bias']", p.want_bias, s.bias_shape, p.into_bias, g.add_bias, dbias);
    g.dx = s.repeat ? assigned<T>(p.want_x, {s.batch, s.features}, dx)
                    : assigned<T>(p.want_x, {s.batch, s.steps, s.features}, dx);
    const bool state = p.want_state && s.has_state;
    g.dh0 = assigned<T>(state, {s.batch, s.units}, dh0);
    g.dc0 = assigned<T>(state && s.cell == Cell::lstm, {s.batch, s.units}, dc0);
  }

  py::tuple results() const { return py::make_tuple(dx, dkernel, drecurrent, dbias, dh0, dc0); }
};

double elements_of_states(const PySaved& s) {
  return static_cast<double>(s.batch * s.steps) * static_cast<double>(s.units);
}

py::tuple backward(PySaved& s, const BackwardTuple& given, bool keep) {
  const std::string name = function_name(s.cell, "_backward");
  const BackwardArguments p = arguments_of(given);
  return std::visit(
      [&](auto& saved) -> py::tuple {
        using T = typename std::decay_t<decltype(*saved)>::Scalar;
        BackwardCall<T> call(name.c_str(), s, p);
        {
          const GilDropped dropped(elements_of_states(s));
          rnn_backward<T>(name.c_str(), *saved, call.gradients, keep);
        }
        return call.results();
      },
      s.saved);
}

// The same for two calls of forward_both; their gradients must not go into the same arrays.
py::tuple backward_both(PySaved& s, PySaved& t, const BackwardTuple& first, const BackwardTuple& second) {
  const std::string name = function_name(s.cell, "_backward");
  const BackwardArguments p = arguments_of(first), q = arguments_of(second);
  check_value(&s != &t && s.saved.index() == t.saved.index(), name.c_str(), "saved",
              "be of two calls of one dtype", "other ones");
  return std::visit(
      [&](auto& saved) -> py::tuple {
        using T = typename std::decay_t<decltype(*saved)>::Scalar;
        BackwardCall<T> a(name.c_str(), s, p), b(name.c_str(), t, q);
        auto& other = std::get<std::unique_ptr<RnnSaved<T>>>(t.saved);
        {
          const GilDropped dropped(elements_of_states(s) + elements_of_states(t));
          rnn_backward_both<T>(name.c_str(), {saved.get(), other.get()}, {a.gradients, b.gradients});
        }
        return py::make_tuple(a.results(), b.results());
      },
      s.saved);
}

}  // namespace

void bind_rnn(py::module_& m) {
  py::class_<PySaved>(m, "RnnSaved", "What a recurrent forward keeps for its backward.")
      .def_property_readonly("dtype", [](const PySaved& s) { return s.kernel.dtype(); });
  m.def("rnn_forward", &forward);
  m.def("rnn_backward", &backward);
  m.def("rnn_forward_both", &forward_both);
  m.def("rnn_backward_both", &backward_both);
}

}  // namespace fastseq
