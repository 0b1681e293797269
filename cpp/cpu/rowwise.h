// The drivers of all row-wise kernels: one loop over elements, one over rows. Tails are part of a register
// and go through the same code as everything else, so an element's result does not depend on where it lies.
#pragma once

#include <cstddef>
#include <type_traits>
#include <utility>

#include "cpu/vec.h"

namespace fastseq {
namespace FASTSEQ_TARGET {

// out[i] = f(in[i]...) for i in [begin, end).
template <class T, class F, class... In>
FASTSEQ_INLINE void map_elements(std::ptrdiff_t begin, std::ptrdiff_t end, F f, T* out, const In*... in) {
  constexpr std::ptrdiff_t L = Vec<T>::lanes;
  for (std::ptrdiff_t i = begin; i < end; i += L)
    f(Vec<T>::load_part(in + i, end - i)...).store_part(out + i, end - i);
}

// f(column, part) for the registers of one row of C columns; `part` is the number of lanes that are there.
template <class T, class F>
FASTSEQ_INLINE void for_columns(std::ptrdiff_t C, F f) {
  constexpr std::ptrdiff_t L = Vec<T>::lanes;
  for (std::ptrdiff_t c = 0; c < C; c += L) f(c, C - c);
}

// Lanes of a tail that are not there become `value`.
template <class T>
FASTSEQ_INLINE Vec<T> load_part_or(const T* p, std::ptrdiff_t part, T value) {
  if (part >= Vec<T>::lanes) return Vec<T>::load(p);
  return select<T>(Vec<T>::first(part), Vec<T>::load_part(p, part), Vec<T>(value));
}

// Calls f with the value `name` as a compile-time constant, so that a loop inside f is compiled once for
// each.
template <class Name, int... I, class F>
FASTSEQ_INLINE void with_constant(Name name, std::integer_sequence<int, I...>, F&& f) {
  (void)((static_cast<int>(name) == I && (f(std::integral_constant<Name, static_cast<Name>(I)>()), true)) ||
         ...);
}

}  // namespace FASTSEQ_TARGET
}  // namespace fastseq
