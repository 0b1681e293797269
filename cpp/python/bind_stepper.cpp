// Recurrent layers one step at a time. A step takes microseconds, so the way in is a plain C function that
// looks at each argument once.
#include "python/stepper.h"

#include <pybind11/stl.h>

#include <new>
#include <utility>

#include "python/bind.h"
#include "python/rnn_arrays.h"

namespace fastseq {
namespace {

// Longer steps let other threads of Python run meanwhile; the GIL of a shorter one costs more than it frees.
constexpr double multiply_adds_worth_the_gil = 4e6;

py::capsule make_stepper(const std::string& function, int cell_number, const py::array& kernel,
                         const py::array& recurrent_kernel, const Optional& bias, int activation,
                         int recurrent_activation) {
  const char* f = function.c_str();
  const Cell cell = static_cast<Cell>(cell_number);
  const std::int64_t gates = cell_layout(cell).gates;
  const std::int64_t units = units_of(f, cell, recurrent_kernel);
  check_value(
      kernel.ndim() == 2 && kernel.shape(1) == gates * units, f, "kernel",
      [&] { return "have shape (features, " + std::to_string(gates * units) + ")"; },
      [&] { return shape_text(shape_of(kernel)); });
  return with_float_type(f, "kernel", kernel, [&](auto zero) {
    using T = decltype(zero);
    auto made = std::make_unique<PyStepper>();
    made->function = function;
    made->stepper = std::make_unique<RnnStepper<T>>(PackedRnn<T>(
        cell, static_cast<Activation>(activation), static_cast<Activation>(recurrent_activation),
        kernel.shape(0), units, elements<T>(f, "kernel", kernel),
        elements<T>(f, "recurrent_kernel", recurrent_kernel), bias_elements<T>(f, cell, bias, units)));
    return py::capsule(made.release(), stepper_capsule, [](PyObject* capsule) {
      delete static_cast<PyStepper*>(PyCapsule_GetPointer(capsule, stepper_capsule));
    });
  });
}

// Whether the kernels can read a value as it is.
template <class T>
bool is_ready(PyObject* value) {
  if (!is_laid_out(value)) return false;
  return numpy_type(value) == numpy_type_of<T>() || has_type<T>(py::reinterpret_borrow<py::array>(value));
}

template <class T>
py::object new_rows(py::ssize_t rows, py::ssize_t columns, T*& data) {
  const auto& numpy = py::detail::npy_api::get();
  Py_intptr_t shape[2] = {rows, columns};
  auto* type = static_cast<PyObject*>(const_cast<void*>(numpy_type_of<T>()));
  Py_INCREF(type);  // the new array takes it
  PyObject* made =
      numpy.PyArray_NewFromDescr_(numpy.PyArray_Type_, type, 2, shape, nullptr, nullptr, 0, nullptr);
  if (made == nullptr) throw py::error_already_set();
  data = reinterpret_cast<T*>(py::detail::array_proxy(made)->data);
  return py::reinterpret_steal<py::object>(made);
}

// (output, state); NotImplemented where an argument has yet to be converted.
template <class T>
py::object take_step(const char* f, const RnnStepper<T>& stepper, PyObject* x, PyObject* given) {
  const bool lstm = stepper.cell() == Cell::lstm;
  const Py_ssize_t parts = lstm ? 2 : 1;
  const auto not_ready = [] { return py::reinterpret_borrow<py::object>(Py_NotImplemented); };
  if (!is_ready<T>(x)) return not_ready();
  py::object state[2];
  if (given != Py_None) {
    if (!PyTuple_CheckExact(given) || PyTuple_GET_SIZE(given) != parts) return not_ready();
    for (Py_ssize_t i = 0; i < parts; ++i) {
      PyObject* const part = PyTuple_GET_ITEM(given, i);
      if (part == Py_None) continue;
      if (!is_ready<T>(part)) return not_ready();
      state[i] = py::reinterpret_borrow<py::object>(part);
    }
  }
  const auto* input = py::detail::array_proxy(x);
  check_value(
      input->nd == 2 && input->dimensions[1] == stepper.features(), f, "x",
      [&] { return "have shape (batch, " + std::to_string(stepper.features()) + ")"; },
      [&] { return shape_text(shape_of(py::reinterpret_borrow<py::array>(x))); });
  const py::ssize_t batch = input->dimensions[0], units = stepper.units();
  const T* before[2] = {nullptr, nullptr};
  for (Py_ssize_t i = 0; i < parts; ++i) {
    if (!state[i]) continue;
    const auto* part = py::detail::array_proxy(state[i].ptr());
    if (part->nd != 2 || part->dimensions[0] != batch || part->dimensions[1] != units)
      check_shape(f, "state", py::reinterpret_borrow<py::array>(state[i]), {batch, units});
    before[i] = reinterpret_cast<const T*>(part->data);
  }
  T *output = nullptr, *h = nullptr, *c = nullptr;
  py::object new_output = new_rows<T>(batch, units, output), new_h = new_rows<T>(batch, units, h), new_c;
  if (lstm) new_c = new_rows<T>(batch, units, c);
  const T* from = reinterpret_cast<const T*>(input->data);
  {
    std::optional<py::gil_scoped_release> dropped;
    if (stepper.multiply_adds() * static_cast<double>(batch) > multiply_adds_worth_the_gil) dropped.emplace();
    stepper.step(batch, from, before[0], before[1], output, h, c);
  }
  PyObject* after = lstm ? PyTuple_Pack(2, new_h.ptr(), new_c.ptr()) : PyTuple_Pack(1, new_h.ptr());
  if (after == nullptr) throw py::error_already_set();
  const auto kept = py::reinterpret_steal<py::object>(after);
  PyObject* both = PyTuple_Pack(2, new_output.ptr(), kept.ptr());
  if (both == nullptr) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(both);
}

PyObject* step_stepper(PyObject*, PyObject* const* args, Py_ssize_t count) {
  void* pointer = count == 3 ? PyCapsule_GetPointer(args[0], stepper_capsule) : nullptr;
  if (pointer == nullptr) {
    PyErr_SetString(PyExc_TypeError, "step_stepper: arguments must be a stepper, x and a state or None");
    return nullptr;
  }
  const auto& made = *static_cast<const PyStepper*>(pointer);
  try {
    return std::visit(
               [&](const auto& stepper) {
                 return take_step(made.function.c_str(), *stepper, args[1], args[2]);
               },
               made.stepper)
        .release()
        .ptr();
  } catch (py::error_already_set& error) {
    error.restore();
  } catch (const type_error& error) {
    PyErr_SetString(PyExc_TypeError, error.what());
  } catch (const std::invalid_argument& error) {
    PyErr_SetString(PyExc_ValueError, error.what());
  } catch (const std::bad_alloc&) {
    PyErr_NoMemory();
  }
  return nullptr;
}

PyMethodDef stepper_functions[] = {
    {"step_stepper", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(step_stepper)), METH_FASTCALL,
     "One step of a stepper from a state: (output, state), or NotImplemented for arguments to convert "
     "first."},
    {nullptr, nullptr, 0, nullptr}};

}  // namespace

void bind_stepper(py::module_& m) {
  m.def("make_stepper", &make_stepper);
  if (PyModule_AddFunctions(m.ptr(), stepper_functions) != 0) throw py::error_already_set();
}

}  // namespace fastseq
