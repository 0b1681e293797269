// Arrays at the border: what a binding checks before C++ trusts a pointer, and what it hands back.
// _arrays.py has converted already, so a wrong dtype or layout here is a programming error with a plain
// message.
#pragma once

#include <pybind11/numpy.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include "base/checks.h"
#include "base/workspace.h"

namespace fastseq {

namespace py = pybind11;

inline std::string array_text(const py::array& a) {
  return std::string(py::str(a.dtype())) + " array of shape " +
         shape_text(std::vector<std::int64_t>(a.shape(), a.shape() + a.ndim()));
}

inline bool is_laid_out(const py::array& a) {
  constexpr int needed = py::array::c_style | py::detail::npy_api::NPY_ARRAY_ALIGNED_;
  return (a.flags() & needed) == needed;
}

// For code that is called too often to go through pybind11: any object's numpy type, null for no array.
// numpy has one object for each of its own types; an equal one made otherwise just takes the longer way.
inline const void* numpy_type(PyObject* value) {
  if (Py_TYPE(value) != py::detail::npy_api::get().PyArray_Type_) return nullptr;
  return py::detail::array_proxy(value)->descr;
}
template <class T>
const void* numpy_type_of() {
  static const void* const type = py::dtype::of<T>().release().ptr();
  return type;
}
inline bool is_laid_out(PyObject* value) {
  constexpr int needed = py::array::c_style | py::detail::npy_api::NPY_ARRAY_ALIGNED_;
  return numpy_type(value) != nullptr && (py::detail::array_proxy(value)->flags & needed) == needed;
}

template <class T>
bool has_type(const py::array& a) {
  return py::isinstance<py::array_t<T>>(a);
}

template <class T>
const char* type_text() {
  if constexpr (std::is_same_v<T, float>) {
    return "float32";
  } else if constexpr (std::is_same_v<T, double>) {
    return "float64";
  } else if constexpr (std::is_same_v<T, std::int64_t>) {
    return "int64";
  } else {
    static_assert(std::is_same_v<T, bool>);
    return "bool";
  }
}

// The elements of a contiguous array of T.
template <class T>
const T* elements(const char* function, const char* argument, const py::array& a) {
  check_type(
      has_type<T>(a) && is_laid_out(a), function, argument,
      [] { return std::string("be a C-contiguous array of ") + type_text<T>(); },
      [&] { return array_text(a) + (is_laid_out(a) ? "" : ", not contiguous"); });
  return static_cast<const T*>(a.data());
}

// The same for an array that is written to.
template <class T>
T* writable_elements(const char* function, const char* argument, const py::array& a) {
  const T* data = elements<T>(function, argument, a);
  check_value(a.writeable(), function, argument, "be writable", "a read-only array");
  return const_cast<T*>(data);
}

inline std::vector<std::int64_t> shape_of(const py::array& a) {
  return std::vector<std::int64_t>(a.shape(), a.shape() + a.ndim());
}

inline void check_shape(const char* function, const char* argument, const py::array& a,
                        std::initializer_list<std::int64_t> shape) {
  bool ok = static_cast<std::size_t>(a.ndim()) == shape.size();
  if (ok) {
    py::ssize_t axis = 0;
    for (const std::int64_t n : shape) ok = ok && a.shape(axis++) == n;
  }
  check_value(
      ok, function, argument, [&] { return "have shape " + shape_text(shape.begin(), shape.size()); },
      [&] { return shape_text(shape_of(a)); });
}

inline bool same_shape(const py::array& a, const py::array& b) {
  if (a.ndim() != b.ndim()) return false;
  for (py::ssize_t axis = 0; axis < a.ndim(); ++axis)
    if (a.shape(axis) != b.shape(axis)) return false;
  return true;
}

inline void check_same_shape(const char* function, const char* argument, const py::array& a,
                             const char* as_argument, const py::array& as) {
  check_value(
      same_shape(a, as), function, argument,
      [&] { return std::string("have the shape of ") + as_argument + ", " + shape_text(shape_of(as)); },
      [&] { return shape_text(shape_of(a)); });
}

// Rows and columns of an array whose last axis is `columns`, all others together `rows`.
struct RowShape {
  std::int64_t rows, columns;
};

inline RowShape rows_of(const char* function, const char* argument, const py::array& a) {
  check_value(a.ndim() >= 1, function, argument, "have at least 1 dimension", "shape ()");
  RowShape shape = {1, a.shape(a.ndim() - 1)};
  for (py::ssize_t axis = 0; axis + 1 < a.ndim(); ++axis) shape.rows *= a.shape(axis);
  return shape;
}

// Results of this size own a block of the pool. The C library gives memory of several such back to the system
// when they are gone, and fresh pages are zeroed one by one: 3,000 of them took 6 % of a step of the OCR
// model, and 2 to 4 % of a large recurrent layer.
constexpr std::size_t bytes_worth_a_block = std::size_t{1} << 20;

// Results of this size start at a line of the cache. numpy's start anywhere: each register a kernel stores
// may then fall on two lines. Measured: up to 12 % of a GRU's inference with 64 units, little of an LSTM's.
constexpr std::size_t bytes_worth_aligning = std::size_t{16} << 10;

// A new array whose elements are not set. An initializer list of sizes will do.
template <class T, class Size = py::ssize_t>
py::array_t<T> empty_of(const std::vector<Size>& sizes) {
  const std::vector<py::ssize_t> shape(sizes.begin(), sizes.end());
  std::size_t count = 1;
  for (const Size size : sizes) count *= static_cast<std::size_t>(size);
  if (count < bytes_worth_aligning / sizeof(T)) return py::array_t<T>(shape);
  if (count < bytes_worth_a_block / sizeof(T)) {
    constexpr std::size_t line = Arena::kAlignment;
    py::array_t<T> owner(static_cast<py::ssize_t>(count + line / sizeof(T)));
    const std::size_t past = reinterpret_cast<std::uintptr_t>(owner.mutable_data()) % line;
    return py::array_t<T>(shape, owner.mutable_data() + (line - past) % line / sizeof(T), owner);
  }
  std::unique_ptr<Arena> arena = std::make_unique<Arena>(Arena::borrow(Arena::room<T>(count)));
  T* const elements = arena->take<T>(count);
  const py::capsule owner(arena.get(), [](void* owned) { delete static_cast<Arena*>(owned); });
  arena.release();
  return py::array_t<T>(shape, elements, owner);
}

template <class T>
py::array_t<T> empty_like(const py::array& a) {
  return empty_of<T>(shape_of(a));
}

// A parameter's gradient: None is not wanted, True asks for a new array, an array is added to.
template <class T>
py::object gradient_array(const char* function, const char* argument, const py::object& asked,
                          std::initializer_list<std::int64_t> shape, T*& data, bool& add) {
  if (asked.is_none()) return asked;
  if (!py::isinstance<py::array>(asked)) {
    py::array_t<T> fresh = empty_of<T>(std::vector<std::int64_t>(shape));
    data = fresh.mutable_data();
    return std::move(fresh);
  }
  const auto array = py::reinterpret_borrow<py::array>(asked);
  data = writable_elements<T>(function, argument, array);
  check_shape(function, argument, array, shape);
  add = true;
  return asked;
}

// Shape of `a` without its last axis, or with another one.
template <class T>
py::array_t<T> empty_rows_of(const py::array& a, std::optional<std::int64_t> columns = std::nullopt) {
  std::vector<py::ssize_t> shape(a.shape(), a.shape() + a.ndim() - 1);
  if (columns) shape.push_back(*columns);
  return empty_of<T>(shape);
}

// Calls f(T()) with the T that `a` has: float or double.
template <class F>
decltype(auto) with_float_type(const char* function, const char* argument, const py::array& a, F&& f) {
  if (has_type<float>(a)) return f(float());
  check_type(has_type<double>(a), function, argument, "be an array of float32 or float64",
             [&] { return array_text(a); });
  return f(double());
}

// Drops the GIL for work worth it: taking it back can cost more than a small kernel does.
class GilDropped {
 public:
  explicit GilDropped(double elements) {
    if (elements >= 16384) release_.emplace();
  }

 private:
  std::optional<py::gil_scoped_release> release_;
};

}  // namespace fastseq
