// What the dense layer and convolution share around the one matrix product: the columns of a product in
// panels of a few registers, their packing, and bias, activation and slope while a block of rows is in cache.
#pragma once

#include "base/team.h"
#include "cpu/gemm.h"
#include "cpu/rowwise_activation.h"
#include "cpu/transpose.h"

namespace fastseq {
namespace FASTSEQ_TARGET {

constexpr std::ptrdiff_t block_rows = 64;  // rows whose results stay in cache for the activation

FASTSEQ_INLINE std::ptrdiff_t smaller(std::ptrdiff_t a, std::ptrdiff_t b) { return a < b ? a : b; }

struct Part {
  std::ptrdiff_t begin, end;
};

// The member's part of `items`, whole multiples of `grain` but for the last.
FASTSEQ_INLINE Part part_of(std::ptrdiff_t items, std::ptrdiff_t grain, const Team& team) {
  const std::ptrdiff_t grains = (items + grain - 1) / grain;
  return {smaller(items, grains * team.index / team.count * grain),
          smaller(items, grains * (team.index + 1) / team.count * grain)};
}

// The columns of a product, cut into panels.
template <class T>
struct Panels {
  static constexpr std::ptrdiff_t lanes = Vec<T>::lanes, width = pair_vectors * lanes;
  std::ptrdiff_t columns;

  FASTSEQ_INLINE std::ptrdiff_t count() const { return (columns + width - 1) / width; }
  FASTSEQ_INLINE std::ptrdiff_t padded() const { return (columns + lanes - 1) / lanes * lanes; }
  FASTSEQ_INLINE std::ptrdiff_t first(std::ptrdiff_t p) const { return p * width; }
  FASTSEQ_INLINE std::ptrdiff_t columns_of(std::ptrdiff_t p) const {
    return smaller(width, columns - first(p));
  }
  FASTSEQ_INLINE std::ptrdiff_t padded_of(std::ptrdiff_t p) const {
    return smaller(width, padded() - first(p));
  }
  FASTSEQ_INLINE bool whole(std::ptrdiff_t p) const { return columns_of(p) == padded_of(p); }
};

// Copies `rows` rows of a panel side by side, zeros behind the last column.
template <class T>
void pack_panel(const Panels<T>& panels, std::ptrdiff_t p, std::ptrdiff_t rows, const T* from, T* to) {
  const std::ptrdiff_t columns = panels.columns_of(p), padded = panels.padded_of(p);
  for (std::ptrdiff_t r = 0; r < rows; ++r)
    for (std::ptrdiff_t c = 0; c < padded; c += Vec<T>::lanes) {
      const T* source = from + r * panels.columns + panels.first(p) + c;
      Vec<T>::load_part(source, columns - c).store(to + r * padded + c);
    }
}

// The same of the transposed matrix: from is (columns, rows).
template <class T>
void pack_panel_transposed(const Panels<T>& panels, std::ptrdiff_t p, std::ptrdiff_t rows, const T* from,
                           T* to) {
  const std::ptrdiff_t columns = panels.columns_of(p), padded = panels.padded_of(p);
  for (std::ptrdiff_t r = 0; r < rows; r += Vec<T>::lanes)
    for (std::ptrdiff_t c = 0; c < padded; c += Vec<T>::lanes)
      transpose_block(from + (panels.first(p) + c) * rows + r, rows, columns - c, rows - r,
                      to + r * padded + c, padded, rows - r);
}

// da = dy slope(y) of some columns of `rows` rows that lie `row` apart; `to` has rows of `padded` elements.
template <class T>
void gradient_of_sums(Activation activation, const T* dy, const T* y, std::ptrdiff_t row, std::ptrdiff_t rows,
                      std::ptrdiff_t columns, std::ptrdiff_t padded, T* to) {
  using V = Vec<T>;
  with_activation(activation, [&](auto name) {
    for (std::ptrdiff_t r = 0; r < rows; ++r) {
      for (std::ptrdiff_t c = 0; c < padded; c += V::lanes) {
        V d = V::load_part(dy + r * row + c, columns - c);
        if constexpr (name.value != Activation::linear)
          d = d * activation_slope(name.value, V::load_part(y + r * row + c, columns - c));
        d.store(to + r * padded + c);
      }
    }
  });
}

template <class T>
void activate_block(Activation activation, const T* from, std::ptrdiff_t from_row, T* to,
                    std::ptrdiff_t to_row, std::ptrdiff_t rows, std::ptrdiff_t columns) {
  using V = Vec<T>;
  with_activation(activation, [&](auto name) {
    for (std::ptrdiff_t r = 0; r < rows; ++r)
      for (std::ptrdiff_t c = 0; c < columns; c += V::lanes)
        activate(name.value, V::load_part(from + r * from_row + c, columns - c))
            .store_part(to + r * to_row + c, columns - c);
  });
}

// One panel's results for a few rows, `columns` wide in memory and `padded` in registers: straight into
// place, or through `buffer` where the panel is narrower than its registers.
template <class T>
struct Destination {
  T* to;
  std::ptrdiff_t to_row, columns, padded;
  bool add;  // to what is there
  Activation activation;
};

// to = activation(init + A B); p has A, B and, unless it adds, where sums start.
template <class T>
void product_into(Product<T> p, const Destination<T>& d, T* buffer) {
  const bool direct = d.columns == d.padded;
  p.blocks = 1;
  p.b_row = p.b_row != 0 ? p.b_row : d.padded;
  p.c = direct ? d.to : buffer;
  p.c_row = direct ? d.to_row : d.padded;
  p.c_vector = p.init_vector = Vec<T>::lanes;
  if (d.add) {
    if (!direct) activate_block(Activation::linear, d.to, d.to_row, buffer, d.padded, p.rows, d.columns);
    p.init = p.c;
    p.init_row = p.c_row;
  }
  product(p, static_cast<int>(d.padded / Vec<T>::lanes));
  if (!direct || d.activation != Activation::linear)
    activate_block(d.activation, p.c, p.c_row, d.to, d.to_row, p.rows, d.columns);
}

template <class T>
struct Block {
  alignas(64) T buffer[block_rows * Panels<T>::width];
};

// Sums of `rows` rows that lie `row` apart, to d.
template <class T>
void add_rows(const T* from, std::ptrdiff_t row, std::ptrdiff_t rows, const Destination<T>& d) {
  using V = Vec<T>;
  for (std::ptrdiff_t c = 0; c < d.columns; c += V::lanes) {
    V sums[4] = {V(T(0)), V(T(0)), V(T(0)), V(T(0))};  // an addition waits for the one before it
    std::ptrdiff_t r = 0;
    for (; r + 4 <= rows; r += 4)
      for (int i = 0; i < 4; ++i) sums[i] += V::load(from + (r + i) * row + c);
    for (; r < rows; ++r) sums[0] += V::load(from + r * row + c);
    V total = (sums[0] + sums[1]) + (sums[2] + sums[3]);
    if (d.add) total = V::load_part(d.to + c, d.columns - c) + total;
    total.store_part(d.to + c, d.columns - c);
  }
}

}  // namespace FASTSEQ_TARGET
}  // namespace fastseq
