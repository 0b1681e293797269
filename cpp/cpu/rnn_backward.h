// The time loop backward, once for all cells.
//
// Per step, last first: the cell's equation turns the kept gates into the gradients of their sums, in place,
// and those times U' are dh of the step before. dx follows per chunk of steps; the gradients of the weights
// follow after the loop.
#pragma once

#include "cpu/rnn_forward.h"
#include "cpu/rnn_weight_gradients.h"

namespace fastseq {
namespace FASTSEQ_TARGET {

template <class T, Cell cell>
class BackwardLoop {
  using S = Share<T, cell>;
  using V = Vec<T>;
  using Rows = CellRows<T, cell>;
  static constexpr int L = S::L;
  static constexpr bool two_products = S::layout.close_count > 0;
  static constexpr int pair = pair_vectors * L;
  static constexpr int wide_vectors = 2 * pair_vectors;  // of features: the columns of one product

  const RnnBackward<T> b_;  // whose buffers by rows are this band's
  const RnnCall<T>& call_;
  const S share_;

 public:
  BackwardLoop(const RnnBackward<T>& b, const Team& team, std::ptrdiff_t band, Range rows)
      : b_(of_band(b, band)), call_(b_.call), share_(call_, team, rows) {}

  // Gradients of the final states by rows; members meet between this and run().
  void prepare() {
    const Range rows = share_.own_rows();
    for (std::ptrdiff_t r = rows.begin; r < rows.end; ++r) {
      const std::ptrdiff_t n = share_.frames.row_sequence[r];
      start_gradient(b_.dh_final, n, b_.dh + r * call_.state_row);
      if (b_.dc) start_gradient(b_.dc_final, n, b_.dc + r * call_.state_row);
    }
    if (b_.drepeated)
      for (std::ptrdiff_t p = 0; p < call_.panels; ++p)
        for (std::ptrdiff_t i = rows.begin * S::frame; i < rows.end * S::frame; i += L)
          V(T(0)).store(b_.drepeated + p * call_.batch * S::frame + i);
  }

  void run() {
    for (std::ptrdiff_t end = share_.frames.steps; end > 0;) {
      const std::ptrdiff_t begin = chunk_begin(end);
      for (std::ptrdiff_t step = end; step-- > begin;) run_step(step);
      if (b_.dx && !call_.repeat) input_gradient_chunk(begin, end);
      end = begin;
    }
  }

  // What needs all units of a row; members meet between run() and this.
  void finish() {
    if (b_.dx && call_.repeat) input_gradient_repeated();
    initial_state_gradients();
  }

 private:
  static RnnBackward<T> of_band(RnnBackward<T> b, std::ptrdiff_t band) {
    const std::ptrdiff_t row = b.call.band[band].first_row, states = row * b.call.state_row;
    b.dh += states;
    if (b.dh_in) b.dh_in += states;
    if (b.dc) b.dc += states;
    if (b.drepeated) b.drepeated += row * b.call.panels * S::frame;
    if (b.dx_rows && b.call.repeat) b.dx_rows += row * b.feature_row;
    b.call = call_of_band<T, cell>(b.call, band);
    return b;
  }

  std::ptrdiff_t feature_vectors() const { return b_.feature_row / L; }

  std::ptrdiff_t chunk_begin(std::ptrdiff_t end) const {
    const std::ptrdiff_t limit = share_.frames.first[end] - call_.chunk_steps_frames;
    std::ptrdiff_t begin = end - 1;
    while (begin > 0 && share_.frames.first[begin] > limit) --begin;
    return begin;
  }

  FASTSEQ_OUTLINE void start_gradient(const T* from, std::ptrdiff_t n, T* to) const {
    if (from)
      copy_state(from + n * call_.units, call_.units, call_.state_row, to);
    else
      for (std::ptrdiff_t u = 0; u < call_.state_row; ++u) to[u] = T(0);
  }

  PanelBack<T> panel_back(std::ptrdiff_t p, std::ptrdiff_t step, Range rows) const {
    const std::ptrdiff_t u = p * S::width, from = share_.frames.first[step];
    PanelBack<T> s = {};
    s.rows = rows;
    s.state_row = call_.state_row;
    s.gates = share_.gates(p, from);
    if (share_.has_h(step)) {
      s.h_prev = share_.states(call_.h_prev, step) + u;
      s.reset_in = share_.states(call_.h_in, step) + u;
      if (two_products) s.dreset = b_.dh_in + u;
    }
    if (cell == Cell::lstm) {
      const T* before = share_.cells_before(step);
      s.c = share_.cells(step) + u;
      s.c_prev = before ? before + u : nullptr;
      s.dc = b_.dc + u;
    }
    s.dh = b_.dh + u;
    s.dh_in = call_.h_mask ? b_.dh_in + u : s.dh;
    s.dsequence = b_.dsequence ? b_.dsequence + u : nullptr;
    s.output = share_.frames.output + from;
    s.output_end = share_.frames.output_end + from;
    s.sequence_row = call_.units;
    s.units_left = call_.units - u;
    return s;
  }

  // out (+)= gate gradients of a step, slots [at, at + size), times the packed weights; this member's units.
  FASTSEQ_OUTLINE void recur_back(std::ptrdiff_t step, Range rows, const T* packed, int at, int size,
                                  const T* init, T* out) {
    const std::ptrdiff_t inner = call_.panels * size;
    const std::ptrdiff_t first = share_.panels.begin * S::layout.width,
                         last = share_.panels.end * S::layout.width;
    Product<T> q = {};
    q.rows = rows.end - rows.begin;
    q.a = share_.gates(0, share_.frames.first[step] + rows.begin) + at;
    q.a_row = S::frame;
    q.a_block = call_.gate_panel;
    q.blocks = call_.panels;
    q.depth = size;
    q.b = packed + first * L * inner;
    q.b_row = pair;
    q.b_group = inner * pair;
    if (share_.far(call_.units, size, q.rows)) q.next_b = q.b;  // for the next step
    q.init = init ? init + rows.begin * call_.state_row + first * L : nullptr;
    q.init_row = call_.state_row;
    q.init_vector = L;
    q.c = out + rows.begin * call_.state_row + first * L;
    q.c_row = call_.state_row;
    q.c_vector = L;
    product(q, static_cast<int>(last - first));
  }

  void run_step(std::ptrdiff_t step) {
    const Range rows = share_.step_rows(step);
    const bool any = rows.begin < rows.end;
    const bool further = step > 0 || b_.want_dh0;  // somebody needs the gradient of this step's h_prev
    if (any)
      for (std::ptrdiff_t p = share_.panels.begin; p < share_.panels.end; ++p)
        with_activations<cell>(call_,
                               [&](const auto& act) { Rows::backward(panel_back(p, step, rows), act); });
    if constexpr (two_products) {
      if (share_.shared_steps) share_.meet();
      if (any && share_.has_h(step))
        recur_back(step, rows, b_.packed_close_back, S::close_at, S::close, nullptr, b_.dh_in);
      if (any)
        for (std::ptrdiff_t p = share_.panels.begin; p < share_.panels.end; ++p)
          with_activations<cell>(
              call_, [&](const auto& act) { Rows::open_backward(panel_back(p, step, rows), act); });
    }
    if (share_.shared_steps) share_.meet();
    if (any && further) {
      // dh holds what passed the product by. With recurrent dropout the product's part is dropped before it
      // joins.
      if (call_.h_mask) {
        recur_back(step, rows, b_.packed_open_back, S::open_at, S::open, two_products ? b_.dh_in : nullptr,
                   b_.dh_in);
        join_dropped(rows);
      } else {
        const bool direct = cell == Cell::gru_after || cell == Cell::gru_before;
        recur_back(step, rows, b_.packed_open_back, S::open_at, S::open, direct ? b_.dh : nullptr, b_.dh);
      }
    }
    if (b_.drepeated && any) add_repeated(step, rows);
  }

  void join_dropped(Range rows) {
    for (std::ptrdiff_t r = rows.begin; r < rows.end; ++r)
      for (std::ptrdiff_t u = share_.panels.begin * S::width; u < share_.panels.end * S::width; u += L) {
        const std::ptrdiff_t at = r * call_.state_row + u;
        (V::load(b_.dh + at) + V::load(call_.h_mask + at) * V::load(b_.dh_in + at)).store(b_.dh + at);
      }
  }

  void add_repeated(std::ptrdiff_t step, Range rows) {
    for (std::ptrdiff_t p = share_.panels.begin; p < share_.panels.end; ++p) {
      const T* from = share_.gates(p, share_.frames.first[step]);
      T* to = b_.drepeated + p * call_.batch * S::frame;
      for (std::ptrdiff_t i = rows.begin * S::frame; i < rows.end * S::frame; i += L)
        (V::load(to + i) + V::load(from + i)).store(to + i);
    }
  }

  // rows [from, to) of d(input sums) times W', all features, into out with rows of feature_row.
  FASTSEQ_OUTLINE void project_back(std::ptrdiff_t group, const T* sums, std::ptrdiff_t panel_stride,
                                    std::ptrdiff_t rows, T* out) {
    const std::ptrdiff_t v = group * wide_vectors, wide = smaller(wide_vectors, feature_vectors() - v);
    Product<T> q = {};
    q.rows = rows;
    q.a = sums + S::input_at;
    q.a_row = S::frame;
    q.a_block = panel_stride;
    q.blocks = call_.panels;
    q.depth = S::input;
    q.b = b_.packed_kernel_back + v * L * call_.panels * S::input;
    q.b_row = pair;
    q.b_group = call_.panels * S::input * pair;
    if (share_.far(call_.features, S::input, rows)) q.next_b = q.b + wide_vectors / pair_vectors * q.b_group;
    q.c = out + v * L;
    q.c_row = b_.feature_row;
    q.c_vector = L;
    product(q, static_cast<int>(wide));
  }

  std::ptrdiff_t feature_groups() const { return (feature_vectors() + wide_vectors - 1) / wide_vectors; }

  void input_gradient_chunk(std::ptrdiff_t begin, std::ptrdiff_t end) {
    T* mine = b_.dx_rows + share_.team.index * b_.dx_member;
    for (std::ptrdiff_t g = 0; g < feature_groups(); ++g) {
      T* out = mine;
      share_.each_run(begin, end, [&](std::ptrdiff_t from, std::ptrdiff_t to) {
        project_back(g, share_.gates(0, from), call_.gate_panel, to - from, out);
        out += (to - from) * b_.feature_row;
      });
    }
    std::ptrdiff_t step = begin;
    share_.each_run(begin, end, [&](std::ptrdiff_t from, std::ptrdiff_t to) {
      for (std::ptrdiff_t i = from; i < to; ++i, mine += b_.feature_row) {
        while (share_.frames.first[step + 1] <= i) ++step;
        if (i + frames_ahead < to)
          fetch_features<1>(call_, b_.dx + share_.frames.input[i + frames_ahead] * call_.features);
        copy_features(call_, mine, i - share_.frames.first[step],
                      b_.dx + share_.frames.input[i] * call_.features);
      }
    });
  }

  void input_gradient_repeated() {
    const Range rows = share_.own_rows();
    T* mine = b_.dx_rows + rows.begin * b_.feature_row;
    for (std::ptrdiff_t g = 0; g < feature_groups(); ++g)
      project_back(g, b_.drepeated + rows.begin * S::frame, call_.batch * S::frame, rows.end - rows.begin,
                   mine);
    for (std::ptrdiff_t r = rows.begin; r < rows.end; ++r, mine += b_.feature_row)
      copy_features(call_, mine, r, b_.dx + share_.frames.row_sequence[r] * call_.features);
  }

  void initial_state_gradients() {
    const Range rows = share_.own_rows();
    for (std::ptrdiff_t r = rows.begin; r < rows.end; ++r) {
      const std::ptrdiff_t n = share_.frames.row_sequence[r];
      for (std::ptrdiff_t u = 0; u < call_.units; ++u) {
        if (b_.dh0) b_.dh0[n * call_.units + u] = b_.dh[r * call_.state_row + u];
        if (b_.dc0) b_.dc0[n * call_.units + u] = b_.dc[r * call_.state_row + u];
      }
    }
  }
};

// A call backward, as one member of its team.
template <class T, Cell cell>
class Backward {
  using S = Share<T, cell>;

  const RnnBackward<T>& b_;
  const RnnCall<T>& call_;
  const Team& team_;

 public:
  Backward(const RnnBackward<T>& b, const Team& team) : b_(b), call_(b.call), team_(team) {}

  void run() {
    pack();
    each_loop([](auto& loop) { loop.prepare(); });
    team_.meet(team_.meeting);
    each_loop([](auto& loop) { loop.run(); });
    team_.meet(team_.meeting);
    each_loop([](auto& loop) { loop.finish(); });
    WeightGradients<T, cell>(b_, team_).run();
  }

 private:
  void pack() const {
    const auto mine = [&](std::ptrdiff_t vectors) {
      return part_of((vectors + pair_vectors - 1) / pair_vectors, team_);
    };
    const Range units = mine(call_.panels * S::layout.width);
    pack_back<T, cell>(call_.recurrent_kernel, call_.units, call_.units, call_.panels, S::layout.open_first,
                       S::layout.open_count, units, b_.packed_open_back);
    if (S::layout.close_count > 0)
      pack_back<T, cell>(call_.recurrent_kernel, call_.units, call_.units, call_.panels,
                         S::layout.close_first, S::layout.close_count, units, b_.packed_close_back);
    if (b_.dx)
      pack_back<T, cell>(call_.kernel, call_.features, call_.units, call_.panels, S::layout.input_first,
                         S::layout.input_count, mine(b_.feature_row / S::L), b_.packed_kernel_back);
  }

  template <class F>
  void each_loop(F f) const {
    each_band(call_, team_, [&](std::ptrdiff_t band, Range rows) {
      BackwardLoop<T, cell> loop(b_, team_, band, rows);
      f(loop);
    });
  }
};

}  // namespace FASTSEQ_TARGET
}  // namespace fastseq
