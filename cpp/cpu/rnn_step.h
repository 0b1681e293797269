// One step of a recurrent layer for a few rows, from weights that stay packed: what it costs is the way of
// the weights to the core, once.
//
// Sums, cells and their order are those of rnn_forward.h, so that steps one at a time give the same bits.
#pragma once

#include "cpu/rnn_cells.h"

namespace fastseq {
namespace FASTSEQ_TARGET {

template <class T, Cell cell>
void pack_layer(const RnnPacked<T>& to, const T* kernel, const T* recurrent_kernel, const T* bias) {
  const Range features = {0, to.features}, units = {0, to.units}, panels = {0, to.panels};
  pack_weights<T, cell>(to.weights, kernel, recurrent_kernel, bias, to.features, to.units,
                        {features, units, panels, panels});
}

// sums += a B for one row and neighbouring panels of `Vectors` registers.
template <class T, int Vectors, int Panels>
__attribute__((noinline)) void row_tile(const T* a, std::ptrdiff_t depth, const T* b, T* sums,
                                        std::ptrdiff_t sums_panel) {
  using V = Vec<T>;
  constexpr int L = V::lanes, group = group_of(Vectors) * L;
  const std::ptrdiff_t panel = depth * Vectors * L;
  typename V::Native s[Panels * Vectors];
#pragma GCC unroll 16
  for (int p = 0; p < Panels; ++p)
#pragma GCC unroll 16
    for (int v = 0; v < Vectors; ++v) s[p * Vectors + v] = V::load(sums + p * sums_panel + v * L).v;
  for (std::ptrdiff_t k = 0; k < depth; ++k, b += group) {
#pragma GCC unroll 16
    for (int p = 0; p < Panels; ++p)
      product_step<T, 1, Vectors, false>(a + k, 0, b + p * panel, depth * group, s + p * Vectors);
  }
#pragma GCC unroll 16
  for (int p = 0; p < Panels; ++p)
#pragma GCC unroll 16
    for (int v = 0; v < Vectors; ++v) V(s[p * Vectors + v]).store(sums + p * sums_panel + v * L);
}

// Panels side by side: each sum waits for the one before it, so that fewer would leave the core waiting.
constexpr int panels_at_once(int vectors) { return vectors <= 2 ? 4 : vectors == 3 ? 3 : 2; }

template <class T, Cell cell>
class SingleStep {
  using S = Share<T, cell>;
  using Rows = CellRows<T, cell>;
  static constexpr int L = S::L;
  static constexpr bool two_products = S::layout.close_count > 0;

  const RnnStep<T>& s_;
  const RnnPacked<T>& packed_;
  const Team& team_;
  const Range panels_;  // of this member

 public:
  SingleStep(const RnnStep<T>& s, const Team& team)
      : s_(s), packed_(s.packed), team_(team), panels_(part_of(s.packed.panels, team)) {}

  void run() {
    if (cell == Cell::lstm)
      take_state(s_.c, s_.c_before);
    else if (cell != Cell::simple)
      take_state(s_.h, s_.h_before);
    for (std::ptrdiff_t p = panels_.begin; p < panels_.end; ++p)
      for (std::ptrdiff_t r = 0; r < s_.batch; ++r)
        __builtin_memcpy(sums(p) + r * S::frame, packed_.weights.bias + p * S::frame, S::frame * sizeof(T));
    add<S::input, S::input_at>(s_.x, packed_.features, packed_.features, packed_.weights.kernel);
    if (s_.h) add<S::open, S::open_at>(s_.h, packed_.units, packed_.units, packed_.weights.open);
    if constexpr (two_products) {
      each_cell([&](const PanelStep<T>& panel, const auto& act) { Rows::open_forward(panel, act); });
      team_.meet(team_.meeting);
      if (s_.h) add<S::close, S::close_at>(s_.reset, s_.units, packed_.units, packed_.weights.close);
    }
    each_cell([&](const PanelStep<T>& panel, const auto& act) { Rows::forward(panel, act); });
    give_state(s_.h_after, s_.output);
    give_state(s_.h_after, s_.h_out);
    if (cell == Cell::lstm) give_state(s_.c_after, s_.c_out);
  }

 private:
  T* sums(std::ptrdiff_t panel) const { return s_.sums + panel * s_.batch * S::frame; }
  Range units() const {
    return {smaller(panels_.begin * S::width, packed_.units), smaller(panels_.end * S::width, packed_.units)};
  }

  // This member's units of a state, zeros beyond the last.
  void take_state(const T* from, T* to) const {
    const Range mine = units();
    const std::size_t bytes = static_cast<std::size_t>(mine.end - mine.begin) * sizeof(T);
    for (std::ptrdiff_t r = 0; r < s_.batch; ++r) {
      T* row = to + r * s_.units;
      if (from) __builtin_memcpy(row + mine.begin, from + r * packed_.units + mine.begin, bytes);
      for (std::ptrdiff_t u = from ? mine.end : mine.begin; u < panels_.end * S::width; ++u) row[u] = T(0);
    }
  }

  void give_state(const T* from, T* to) const {
    const Range mine = units();
    const std::size_t bytes = static_cast<std::size_t>(mine.end - mine.begin) * sizeof(T);
    for (std::ptrdiff_t r = 0; r < s_.batch; ++r)
      __builtin_memcpy(to + r * packed_.units + mine.begin, from + r * s_.units + mine.begin, bytes);
  }

  // The slots of `size` elements at `at`: sums += a B, for all rows and this member's panels.
  template <int size, int at>
  void add(const T* a, std::ptrdiff_t a_row, std::ptrdiff_t depth, const T* b) const {
    constexpr int vectors = size / L, together = panels_at_once(vectors);
    const std::ptrdiff_t panel = depth * size;
    std::ptrdiff_t p = panels_.begin;
    if (s_.batch == 1) {
      for (; p + together <= panels_.end; p += together)
        row_tile<T, vectors, together>(a, depth, b + p * panel, sums(p) + at, S::frame);
      for (; p < panels_.end; ++p) row_tile<T, vectors, 1>(a, depth, b + p * panel, sums(p) + at, S::frame);
    }
    for (; p < panels_.end; ++p) {
      Product<T> q = {};
      q.rows = s_.batch;
      q.a = a;
      q.a_row = a_row;
      q.blocks = 1;
      q.depth = depth;
      set_packed<vectors>(q, b + p * panel, depth);
      q.init = q.c = sums(p) + at;
      q.init_row = q.c_row = S::frame;
      q.init_vector = q.c_vector = L;
      product(q, vectors);
    }
  }

  // One row's panels lie as the rows of one panel do, and are visited as such, two at a time.
  template <class F>
  void each_cell(F f) const {
    const bool one = s_.batch == 1;
    for (std::ptrdiff_t p = panels_.begin; p < panels_.end; p = one ? panels_.end : p + 1) {
      const std::ptrdiff_t u = p * S::width;
      PanelStep<T> panel = {};
      panel.rows = {0, one ? panels_.end - p : s_.batch};
      panel.state_row = one ? S::width : s_.units;
      panel.sums = panel.inputs = panel.gates = sums(p);
      panel.h_prev = panel.reset_in = s_.h ? s_.h_before + u : nullptr;
      if (cell == Cell::lstm) {
        panel.c_prev = s_.c_before + u;
        panel.c = s_.c_after + u;
      }
      if (two_products) panel.reset = s_.reset + u;
      panel.h_last = s_.h_after + u;
      with_activations<cell>(packed_, [&](const auto& act) { f(panel, act); });
    }
  }
};

}  // namespace FASTSEQ_TARGET
}  // namespace fastseq
