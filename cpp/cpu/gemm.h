// The only matrix product: C = init + A B.
//
// B is packed: its columns are registers in groups of two or three, for each k those of a group side by side.
// A is read where it lies, one broadcast per row and k. Every element of C is init + a_0 b_0 + a_1 b_1 + ...
// in the order of k, whatever tile it falls into, so results do not depend on how rows or columns are shared
// among threads.
#pragma once

#include "vec.h"

namespace fastseq {
namespace FASTSEQ_TARGET {

// Registers of columns that packed matrices keep together: pairs, a line of the cache for each k with
// registers of 32 bytes; or threes, where a panel's registers are a multiple of three. A tile of two
// registers and six rows reads each line of B half as often as one of four and three, which is what a product
// waits for where B comes from the second or third level of cache.
constexpr int pair_vectors = 2;
constexpr int group_of(int vectors) { return vectors % 3 == 0 ? 3 : pair_vectors; }

// Up to so many rows the way of B to the core counts, more than the instructions.
constexpr std::ptrdiff_t rows_in_pairs = 24;

// One product of `rows` rows by `vectors` registers of columns. Strides and counts are in elements of T.
template <class T>
struct Product {
  std::ptrdiff_t rows;

  // A(r, k): k runs over `blocks` blocks of `depth`. Row-major: a[r * a_row + block * a_block + k].
  // Transposed (a_transposed): a[block * a_block + k * a_row + r].
  const T* a;
  std::ptrdiff_t a_row, a_block;
  std::ptrdiff_t blocks, depth;
  bool a_transposed;

  // B(k, v): b[k * b_row + v / group * b_group + v % group * lanes], k counted through all blocks, which
  // follow each other, as groups lie side by side, unless the caller says otherwise.
  const T* b;
  std::ptrdiff_t b_row;
  int group = pair_vectors;  // or 3
  std::ptrdiff_t b_group = pair_vectors * Vec<T>::lanes;

  // A row-major product that comes first: lead_depth more k, of lead_a[r * lead_row + k] and
  // lead_b[k * b_row + v / group * lead_group + v % group * lanes].
  const T* lead_a;
  std::ptrdiff_t lead_row, lead_depth;
  const T* lead_b;
  std::ptrdiff_t lead_group;

  // Where sums start: init[r * init_row + v * init_vector]; nullptr starts from zero.
  const T* init;
  std::ptrdiff_t init_row, init_vector;

  // Where they go: c[r * c_row + v * c_vector].
  T* c;
  std::ptrdiff_t c_row, c_vector;
  bool far_c;  // its lines are fetched while the sums are made

  // The B of the product that comes next, fetched on the way, as this one's own is from pass to pass; nullptr
  // where B is near enough: requests that are not needed cost 2 to 6 %.
  const T* next_b;
};

// One k: sums += (a column of A) (a row of B).
template <class T, int Rows, int Vectors, bool Transposed>
FASTSEQ_INLINE void product_step(const T* a, std::ptrdiff_t a_row, const T* b, std::ptrdiff_t b_group,
                                 typename Vec<T>::Native* sums) {
  using V = Vec<T>;
  using Native = typename V::Native;
  constexpr int L = V::lanes, group = group_of(Vectors);
  // Every load counts: as few registers of B as can be wait while all of A's are in use, or the other way
  // round.
  if constexpr (Vectors > Rows) {
    Native column_of_a[Rows];
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r) column_of_a[r] = V::broadcast(Transposed ? a[r] : a[r * a_row]);
#pragma GCC unroll 16
    for (int v = 0; v < Vectors; ++v) {
      const Native part_of_b = V::load(b + v / group * b_group + v % group * L).v;
#pragma GCC unroll 16
      for (int r = 0; r < Rows; ++r) sums[r * Vectors + v] += column_of_a[r] * part_of_b;
    }
  } else {
    Native row_of_b[Vectors];
#pragma GCC unroll 16
    for (int v = 0; v < Vectors; ++v) row_of_b[v] = V::load(b + v / group * b_group + v % group * L).v;
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r) {
      const Native broadcast = V::broadcast(Transposed ? a[r] : a[r * a_row]);
#pragma GCC unroll 16
      for (int v = 0; v < Vectors; ++v) sums[r * Vectors + v] += broadcast * row_of_b[v];
    }
  }
}

// C = init + A B for `vectors` registers of columns, in tiles of a few. Many rows and a long k go in passes
// over k, each adding to the last. Compiled once, in gemm.cpp, for float and double: the loops around it only
// call it.
template <class T>
void product(const Product<T>& all, int vectors);

}  // namespace FASTSEQ_TARGET
}  // namespace fastseq
