// Square blocks of a matrix, transposed in registers: what packing a transposed matrix is made of.
#pragma once

#include <utility>

#include "cpu/vec.h"

namespace fastseq {
namespace FASTSEQ_TARGET {

// a and b lane by lane in turns: the first halves of both, or the second.
template <class T, bool second, int... lane>
FASTSEQ_INLINE typename Vec<T>::Native zip(typename Vec<T>::Native a, typename Vec<T>::Native b,
                                           std::integer_sequence<int, lane...>) {
  constexpr int L = Vec<T>::lanes, half = second ? L / 2 : 0;
#if defined(__clang__)
  return __builtin_shufflevector(a, b, (lane % 2 * L + lane / 2 + half)...);
#else
  return __builtin_shuffle(a, b, typename Vec<T>::Int{(lane % 2 * L + lane / 2 + half)...});
#endif
}

// `left` more rounds of zipping register i with register i + L / 2. After log2(L) of them rows are columns.
template <class T, int left>
FASTSEQ_INLINE void zip_rounds(const typename Vec<T>::Native* from, typename Vec<T>::Native* to) {
  constexpr int L = Vec<T>::lanes;
  constexpr auto lanes = std::make_integer_sequence<int, L>();
  typename Vec<T>::Native zipped[L];
#pragma GCC unroll 16
  for (int i = 0; i < L / 2; ++i) {
    zipped[2 * i] = zip<T, false>(from[i], from[i + L / 2], lanes);
    zipped[2 * i + 1] = zip<T, true>(from[i], from[i + L / 2], lanes);
  }
  if constexpr (left > 2) {
    zip_rounds<T, left / 2>(zipped, to);
  } else {
#pragma GCC unroll 16
    for (int i = 0; i < L; ++i) to[i] = zipped[i];
  }
}

// to[c * to_row + r] = from[r * from_row + c] for L rows and columns; rows and columns of `from` beyond those
// there are read as zero, and only the first `written` rows of `to` are written.
template <class T>
FASTSEQ_OUTLINE void transpose_block(const T* from, std::ptrdiff_t from_row, std::ptrdiff_t rows,
                                     std::ptrdiff_t columns, T* to, std::ptrdiff_t to_row,
                                     std::ptrdiff_t written) {
  using V = Vec<T>;
  constexpr int L = V::lanes;
  typename V::Native block[L];
  if (rows >= L && columns >= L) {
#pragma GCC unroll 16
    for (int r = 0; r < L; ++r) block[r] = V::load(from + r * from_row).v;
  } else {
    for (int r = 0; r < L; ++r)
      block[r] = r < rows && columns > 0 ? V::load_part(from + r * from_row, columns).v : V(T(0)).v;
  }
  zip_rounds<T, L>(block, block);
  if (written >= L) {
#pragma GCC unroll 16
    for (int c = 0; c < L; ++c) V(block[c]).store(to + c * to_row);
  } else {
    for (int c = 0; c < written; ++c) V(block[c]).store(to + c * to_row);
  }
}

}  // namespace FASTSEQ_TARGET
}  // namespace fastseq
