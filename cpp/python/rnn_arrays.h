// The weights of a recurrent layer at the border, in Keras's layouts.
#pragma once

#include "ops/rnn.h"
#include "python/arrays.h"

namespace fastseq {

using Optional = std::optional<py::array>;

template <class T>
const T* optional_elements(const char* f, const char* name, const Optional& a,
                           std::initializer_list<std::int64_t> shape) {
  if (!a) return nullptr;
  check_shape(f, name, *a, shape);
  return elements<T>(f, name, *a);
}

// The units of a layer, by its recurrent kernel.
inline std::int64_t units_of(const char* f, Cell cell, const py::array& recurrent_kernel) {
  const std::int64_t gates = cell_layout(cell).gates;
  check_value(
      recurrent_kernel.ndim() == 2 && recurrent_kernel.shape(1) == gates * recurrent_kernel.shape(0) &&
          recurrent_kernel.shape(0) > 0,
      f, "recurrent_kernel",
      [&] { return "have shape (units, " + (gates == 1 ? "" : std::to_string(gates) + " * ") + "units)"; },
      [&] { return shape_text(shape_of(recurrent_kernel)); });
  return recurrent_kernel.shape(0);
}

// Null without a bias.
template <class T>
const T* bias_elements(const char* f, Cell cell, const Optional& bias, std::int64_t units) {
  const std::int64_t width = cell_layout(cell).gates * units;
  return cell == Cell::gru_after ? optional_elements<T>(f, "bias", bias, {2, width})
                                 : optional_elements<T>(f, "bias", bias, {width});
}

}  // namespace fastseq
