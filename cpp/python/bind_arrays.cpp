// What is asked of arrays many times in every step. Plain C functions: pybind11's way in takes longer than
// the answer, and between two kernels every line of code comes from far down the memory.
#include "python/arrays.h"
#include "python/bind.h"

namespace fastseq {
namespace {

PyObject* ask_laid_out(PyObject*, PyObject* value) { return PyBool_FromLong(is_laid_out(value)); }

PyObject* ask_floating(PyObject*, PyObject* const* args, Py_ssize_t count) {
  if (count != 2) {
    PyErr_SetString(PyExc_TypeError, "is_floating: arguments must be a value and a dtype or None");
    return nullptr;
  }
  PyObject* const value = args[0];
  if (!is_laid_out(value)) Py_RETURN_FALSE;
  const void* const type = numpy_type(value);
  return PyBool_FromLong(args[1] == Py_None
                             ? type == numpy_type_of<float>() || type == numpy_type_of<double>()
                             : type == args[1]);
}

template <class T>
double sum_of(const py::array& a) {
  const T* values = static_cast<const T*>(a.data());
  double total = 0;
  for (py::ssize_t i = 0; i < a.size(); ++i) total += static_cast<double>(values[i]);
  return total;
}

PyObject* ask_total(PyObject*, PyObject* value) {
  if (is_laid_out(value)) {
    const auto array = py::reinterpret_borrow<py::array>(value);
    if (numpy_type(value) == numpy_type_of<float>()) return PyFloat_FromDouble(sum_of<float>(array));
    if (numpy_type(value) == numpy_type_of<double>()) return PyFloat_FromDouble(sum_of<double>(array));
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
