// What is asked of arrays many times in every step. Plain C functions: pybind11's way in takes longer than
// the answer, and between two kernels every line of code comes from far down the memory.
#include "python/arrays.h"
#include "python/bind.h"

namespace fastseq {
namespace {

bool is_array(PyObject* value) { return Py_TYPE(value) == py::detail::npy_api::get().PyArray_Type_; }

// numpy has one object for each of its own types; an equal one made otherwise just takes the longer way.
const void* float32() {
  static const void* const type = py::dtype::of<float>().release().ptr();
  return type;
}
const void* float64() {
  static const void* const type = py::dtype::of<double>().release().ptr();
  return type;
}
const void* type_of(PyObject* array) { return py::detail::array_proxy(array)->descr; }

bool laid_out(PyObject* value) {
  constexpr int needed = py::array::c_style | py::detail::npy_api::NPY_ARRAY_ALIGNED_;
  return is_array(value) && (py::detail::array_proxy(value)->flags & needed) == needed;
}

PyObject* ask_laid_out(PyObject*, PyObject* value) { return PyBool_FromLong(laid_out(value)); }

PyObject* ask_floating(PyObject*, PyObject* const* args, Py_ssize_t count) {
  if (count != 2) {
    PyErr_SetString(PyExc_TypeError, "is_floating: arguments must be a value and a dtype or None");
    return nullptr;
  }
  PyObject* const value = args[0];
  if (!laid_out(value)) Py_RETURN_FALSE;
  const void* const type = type_of(value);
  return PyBool_FromLong(args[1] == Py_None ? type == float32() || type == float64() : type == args[1]);
}

template <class T>
double sum_of(const py::array& a) {
  const T* values = static_cast<const T*>(a.data());
  double total = 0;
  for (py::ssize_t i = 0; i < a.size(); ++i) total += static_cast<double>(values[i]);
  return total;
}

PyObject* ask_total(PyObject*, PyObject* value) {
  if (laid_out(value)) {
    const auto array = py::reinterpret_borrow<py::array>(value);
    if (type_of(value) == float32()) return PyFloat_FromDouble(sum_of<float>(array));
    if (type_of(value) == float64()) return PyFloat_FromDouble(sum_of<double>(array));
  }
  PyErr_SetString(PyExc_TypeError, "total: values must be a C-contiguous array of float32 or float64");
  return nullptr;
}

PyMethodDef array_functions[] = {
    {"is_floating", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(ask_floating)), METH_FASTCALL,
     "Whether a value is a C-contiguous array of a dtype, of float32 or float64 for None."},
    {"is_laid_out", ask_laid_out, METH_O, "Whether a value is an array, C-contiguous and aligned."},
    {"total", ask_total, METH_O, "The sum of a C-contiguous array of float32 or float64, in float64."},
    {nullptr, nullptr, 0, nullptr}};

}  // namespace

void bind_arrays(py::module_& m) {
  if (PyModule_AddFunctions(m.ptr(), array_functions) != 0) throw py::error_already_set();
}

}  // namespace fastseq
