// The time loop forward, once for all cells.
//
// Per chunk of steps x W + b goes into the gates; per step h U is added to them and the cell's equation turns
// the sums into gates, c and h while they are in cache. Members own rows (no meeting inside the loop) or
// units (they meet at every step).
#pragma once

#include "cpu/rnn_cells.h"
#include "math/random.h"

namespace fastseq {
namespace FASTSEQ_TARGET {

// From so many rows of a member on, and up to so many features for each of them, x W and h U are one product.
// Measured: 4 to 11 % faster, and 14 % slower at 16 features a row.
constexpr std::ptrdiff_t joined_rows = 16, joined_features_of_row = 4;

// Rows of a step at most between the product and the cell, which then finds their sums in the first level of
// cache.
constexpr std::ptrdiff_t rows_at_once = 48;

constexpr std::uint32_t input_stream = 0, recurrent_stream = 1;  // of the dropout's random numbers

// One frame of row r: its D features, dropped as the row drops them at every step.
template <class T>
FASTSEQ_OUTLINE void copy_features(const RnnCall<T>& call, const T* from, std::ptrdiff_t r, T* to) {
  if (!call.x_mask) {
    __builtin_memcpy(to, from, static_cast<std::size_t>(call.features) * sizeof(T));
    return;
  }
  const T* mask = call.x_mask + r * call.features;
  for (std::ptrdiff_t i = 0; i < call.features; ++i) to[i] = from[i] * mask[i];
}

// Frames between the one that is copied and the one fetched meanwhile: neighbours of a step lie a sequence
// apart, and no prefetcher of the hardware knows where.
constexpr std::ptrdiff_t frames_ahead = 8;

// Fetches the first lines of a frame's features, to read (0) or to write (1).
template <int write, class T>
FASTSEQ_INLINE void fetch_features(const RnnCall<T>& call, const T* frame) {
  constexpr std::ptrdiff_t line = 64 / sizeof(T), most = 4 * line;
  for (std::ptrdiff_t i = 0; i < smaller(call.features, most); i += line)
    __builtin_prefetch(frame + i, write, 3);
}

// Where a frame's one feature is that is not 0.
template <class T>
FASTSEQ_OUTLINE std::int32_t place_of(const T* x, std::ptrdiff_t features) {
  using V = Vec<T>;
  constexpr unsigned all = (1u << V::lanes) - 1;
  std::int32_t place = no_place;
  for (std::ptrdiff_t i = 0; i < features; i += V::lanes) {
    const unsigned found = all & ~lane_bits<T>(V::load_part(x + i, features - i) == V(T(0)));
    if (found == 0) continue;
    if (place != no_place || (found & (found - 1)) != 0) return many_places;
    place = static_cast<std::int32_t>(i) + __builtin_ctz(found);
  }
  return place;
}

// `count` dropout factors of sequence n, each element with a number of its own.
template <class T>
FASTSEQ_OUTLINE void fill_mask(std::uint64_t seed, std::uint32_t stream, double rate, std::ptrdiff_t n,
                               std::ptrdiff_t count, T* mask) {
  for (std::ptrdiff_t i = 0; i < count; ++i)
    mask[i] = dropout_factor<T>(seed, stream, static_cast<std::uint64_t>(n * count + i), rate);
}

// One row of states in the kernel's padded form.
template <class T>
FASTSEQ_OUTLINE void copy_state(const T* from, std::ptrdiff_t units, std::ptrdiff_t state_row, T* to) {
  std::ptrdiff_t j = 0;
  for (; j < units; ++j) to[j] = from[j];
  for (; j < state_row; ++j) to[j] = T(0);
}

template <class T, Cell cell>
class ForwardLoop {
  using S = Share<T, cell>;
  using V = Vec<T>;
  using Rows = CellRows<T, cell>;
  static constexpr bool two_products = S::layout.close_count > 0;

  const RnnForward<T>& f_;
  const RnnCall<T> call_;  // of this band
  const S share_;
  T* const h_last_;
  const bool joined_;              // x W comes with h U, in one product
  bool sparse_ = false;            // this chunk's frames have one feature each: x W is one row of W
  std::ptrdiff_t gates_from_ = 0;  // the frame at which the buffers of gates and inputs start

 public:
  ForwardLoop(const RnnForward<T>& f, const Team& team, std::ptrdiff_t band, Range rows)
      : f_(f),
        call_(call_of_band<T, cell>(f.call, band)),
        share_(call_, team, rows),
        h_last_(f.h_last + f.call.band[band].first_row * f.call.state_row),
        joined_(joins()) {}

  // Initial states by rows, dropout factors; members meet between this and run().
  void prepare() {
    const Range rows = share_.own_rows();
    for (std::ptrdiff_t r = rows.begin; r < rows.end; ++r) prepare_row(r, share_.frames.row_sequence[r]);
  }

  void run() {
    if (call_.repeat) {
      const Range rows = share_.rows;
      for (std::ptrdiff_t p = share_.panels.begin; p < share_.panels.end && rows.begin < rows.end; ++p)
        project_panel(p, call_.inputs + rows.begin * call_.features,
                      call_.repeated + (p * call_.batch + rows.begin) * S::frame, rows.end - rows.begin);
    }
    for (std::ptrdiff_t begin = 0; begin < share_.frames.steps;) {
      const std::ptrdiff_t end = share_.chunk_end(begin);
      if (!call_.training) gates_from_ = share_.frames.first[begin];
      if (!call_.repeat) project_chunk(begin, end);
      for (std::ptrdiff_t step = begin; step < end; ++step) run_step(step);
      begin = end;
    }
    finish();
  }

 private:
  T* gates(std::ptrdiff_t panel, std::ptrdiff_t frame) const {
    return share_.gates(panel, frame - gates_from_);
  }
  T* inputs(std::ptrdiff_t frame) const { return call_.inputs + (frame - gates_from_) * call_.features; }
  std::int32_t& place(std::ptrdiff_t frame) const { return call_.places[frame - gates_from_]; }

  // Sums of x W on their own cost the way to memory and back; but made for several steps at once they read
  // the packed weights less often, which counts where the rows of a step are few for the features.
  bool joins() const {
    constexpr bool same_slots =
        S::layout.input_first == S::layout.open_first && S::layout.input_count == S::layout.open_count;
    const std::ptrdiff_t rows = share_.rows.end - share_.rows.begin;
    return same_slots && !call_.repeat && rows >= joined_rows &&
           call_.features <= rows * joined_features_of_row;
  }

  void prepare_row(std::ptrdiff_t r, std::ptrdiff_t n) {
    const std::ptrdiff_t at = r * call_.state_row;
    if (call_.x_mask)
      fill_mask(call_.seed, input_stream, call_.dropout, n, call_.features,
                call_.x_mask + r * call_.features);
    if (call_.h_mask) {
      fill_mask(call_.seed, recurrent_stream, call_.recurrent_dropout, n, call_.units, call_.h_mask + at);
      for (std::ptrdiff_t u = call_.units; u < call_.state_row; ++u) call_.h_mask[at + u] = T(0);
    }
    if (call_.h0) {
      copy_state(call_.h0 + n * call_.units, call_.units, call_.state_row, call_.h_prev + at);
      if (call_.h_mask)
        for (std::ptrdiff_t u = 0; u < call_.state_row; ++u)
          call_.h_in[at + u] = call_.h_prev[at + u] * call_.h_mask[at + u];
      if (share_.frames.row_steps[r] == 0)
        copy_state(call_.h0 + n * call_.units, call_.units, call_.state_row, h_last_ + at);
    } else if (share_.frames.row_steps[r] == 0) {
      for (std::ptrdiff_t u = 0; u < call_.state_row; ++u) h_last_[at + u] = T(0);
    }
    if (call_.c_first)
      copy_state(call_.c0 + n * call_.units, call_.units, call_.state_row, call_.c_first + at);
    if (call_.repeat)
      copy_features(call_, call_.x + n * call_.features, r, call_.inputs + r * call_.features);
  }

  // sums = x W + b of some rows, one panel; slots that only the recurrent product fills start from their
  // bias.
  FASTSEQ_OUTLINE void project_panel(std::ptrdiff_t p, const T* inputs, T* sums, std::ptrdiff_t rows) {
    const T* bias = f_.weights.bias + p * S::frame;
    Product<T> q = {};
    q.rows = rows;
    q.a = inputs;
    q.a_row = call_.features;
    q.blocks = 1;
    q.depth = call_.features;
    set_packed<S::input_vectors>(q, f_.weights.kernel + p * call_.features * S::input, call_.features);
    if (share_.far(call_.features, S::input, rows)) q.next_b = q.b + call_.features * S::input;
    q.init = bias + S::input_at;
    q.init_vector = S::L;
    q.c = sums + S::input_at;
    q.c_row = S::frame;
    q.c_vector = S::L;
    q.far_c = call_.training;
    product(q, S::input / S::L);
    if (S::input < S::frame)
      for (std::ptrdiff_t r = 0; r < rows; ++r)
        for (int j = 0; j < S::input_at; j += S::L) V::load(bias + j).store(sums + r * S::frame + j);
  }

  void project_chunk(std::ptrdiff_t begin, std::ptrdiff_t end) {
    share_.each_run(begin, end, [&](std::ptrdiff_t from, std::ptrdiff_t to) {
      std::ptrdiff_t step = begin;
      for (std::ptrdiff_t i = from; i < to; ++i) {
        while (share_.frames.first[step + 1] <= i) ++step;
        if (i + frames_ahead < to)
          fetch_features<0>(call_, call_.x + share_.frames.input[i + frames_ahead] * call_.features);
        copy_features(call_, call_.x + share_.frames.input[i] * call_.features, i - share_.frames.first[step],
                      inputs(i));
        if (call_.places) place(i) = place_of(inputs(i), call_.features);
      }
    });
    if (share_.shared_steps) share_.meet();
    sparse_ = call_.places != nullptr;
    if (sparse_)
      share_.each_row_run(begin, end, [&](std::ptrdiff_t from, std::ptrdiff_t to) {
        sparse_ = sparse_ && one_place_each(call_.places, from - gates_from_, to - gates_from_);
      });
    if (sparse_) return;  // each step adds its own
    const std::ptrdiff_t alone = !joined_ ? end : begin == 0 && !call_.h0 ? 1 : begin;
    for (std::ptrdiff_t p = share_.panels.begin; p < share_.panels.end; ++p)
      share_.each_row_run(begin, alone, [&](std::ptrdiff_t from, std::ptrdiff_t to) {
        project_panel(p, inputs(from), gates(p, from), to - from);
      });
  }

  // The same for frames of at most one feature, with the bits of the product: all else it adds is 0 times a
  // weight.
  FASTSEQ_OUTLINE void place_panel(std::ptrdiff_t p, std::ptrdiff_t from, std::ptrdiff_t rows) {
    const T* bias = f_.weights.bias + p * S::frame;
    const T* kernel = f_.weights.kernel + p * call_.features * S::input;
    T* sums = gates(p, from);
    for (std::ptrdiff_t r = 0; r < rows; ++r, sums += S::frame) {
      const std::int32_t k = place(from + r);
      const V x(k == no_place ? T(0) : inputs(from + r)[k]);
      const std::ptrdiff_t row = k == no_place ? 0 : k;
      for (int j = 0; j < S::input_at; j += S::L) V::load(bias + j).store(sums + j);
      for (int j = 0; j < S::input; j += S::L)
        (V::load(bias + S::input_at + j) +
         x * V::load(kernel + packed_at<T, S::input_vectors>(j / S::L, call_.features, row)))
            .store(sums + S::input_at + j);
    }
  }

  // The panel a member works on after p: the next step starts over.
  std::ptrdiff_t next_panel(std::ptrdiff_t p) const {
    return p + 1 < share_.panels.end ? p + 1 : share_.panels.begin;
  }

  // sums + h U for one panel of a step, for `count` slots at `at`. Starts from what x W + b left, or from b
  // with x W on the way.
  template <int at, int size>
  void recur(std::ptrdiff_t p, std::ptrdiff_t step, Range rows, const T* h, const T* packed, const T* init,
             T* sums) {
    Product<T> q = {};
    q.rows = rows.end - rows.begin;
    q.a = h + rows.begin * call_.state_row;
    q.a_row = call_.state_row;
    q.blocks = 1;
    q.depth = call_.units;
    set_packed<size / S::L>(q, packed + p * call_.units * size, call_.units);
    // What comes after the other blocks is this panel again.
    const bool far = rows.end == share_.step_rows(step).end && share_.far(call_.units, size, q.rows);
    if (far) q.next_b = packed + next_panel(p) * call_.units * size;
    q.init = init + rows.begin * S::frame + at;
    q.init_row = S::frame;
    q.init_vector = S::L;
    if (joined_ && !sparse_) {
      q.lead_a = inputs(share_.frames.first[step] + rows.begin);
      q.lead_row = q.lead_depth = call_.features;
      q.lead_b = f_.weights.kernel + p * call_.features * S::input;
      q.lead_group = call_.features * q.b_row;
      if (far) q.next_b = f_.weights.kernel + next_panel(p) * call_.features * S::input;
      q.init = f_.weights.bias + p * S::frame + at;
      q.init_row = 0;
    }
    q.c = sums + rows.begin * S::frame + at;
    q.c_row = S::frame;
    q.c_vector = S::L;
    q.far_c = call_.training;
    product(q, size / S::L);
  }

  // What the sums of a panel start from, at the first row of a step.
  const T* inputs_of(std::ptrdiff_t p, std::ptrdiff_t step) const {
    return call_.repeat ? call_.repeated + p * call_.batch * S::frame : gates(p, share_.frames.first[step]);
  }

  // The same for one row and all of this member's panels at once: side by side they are one product, and a
  // call for each would cost a third of what it computes.
  template <int at, int size>
  FASTSEQ_OUTLINE void recur_row(std::ptrdiff_t step, std::ptrdiff_t row, const T* h, const T* packed) {
    const Range panels = share_.panels;
    T* const sums = f_.row_sums + share_.team.index * call_.panels * S::frame;
    const std::size_t bytes = static_cast<std::size_t>(size) * sizeof(T);
    for (std::ptrdiff_t p = panels.begin; p < panels.end; ++p)
      __builtin_memcpy(sums + (p - panels.begin) * size, inputs_of(p, step) + row * S::frame + at, bytes);
    Product<T> q = {};
    q.rows = 1;
    q.a = h + row * call_.state_row;
    q.blocks = 1;
    q.depth = call_.units;
    set_packed<size / S::L>(q, packed + panels.begin * call_.units * size, call_.units);
    q.init = q.c = sums;
    q.init_vector = q.c_vector = S::L;
    if (share_.far(call_.units, size, 1)) q.next_b = q.b;  // for the next step
    product(q, static_cast<int>((panels.end - panels.begin) * size / S::L));
    for (std::ptrdiff_t p = panels.begin; p < panels.end; ++p)
      __builtin_memcpy(gates(p, share_.frames.first[step] + row) + at, sums + (p - panels.begin) * size,
                       bytes);
  }

  PanelStep<T> panel_step(std::ptrdiff_t p, std::ptrdiff_t step, Range rows, bool has_h) const {
    const std::ptrdiff_t u = p * S::width, from = share_.frames.first[step];
    PanelStep<T> s = {};
    s.rows = rows;
    s.state_row = call_.state_row;
    s.gates = gates(p, from);
    s.inputs = inputs_of(p, step);
    s.sums = has_h ? s.gates : s.inputs;
    s.h_prev = has_h ? share_.states(call_.h_prev, step) + u : nullptr;
    s.reset_in = has_h ? share_.states(call_.h_in, step) + u : nullptr;
    if (cell == Cell::lstm) {
      const T* before = share_.cells_before(step);
      s.c_prev = before ? before + u : nullptr;
      s.c = share_.cells(step) + u;
    }
    if (two_products) s.reset = share_.reset(step) + u;
    if (step + 1 < share_.frames.steps) {
      s.next_rows = share_.active(step + 1);
      s.h_next = share_.states(call_.h_prev, step + 1) + u;
      s.h_next_in = share_.states(call_.h_in, step + 1) + u;
    }
    s.h_last = h_last_ + u;
    s.h_mask = call_.h_mask ? call_.h_mask + u : nullptr;
    s.sequence = f_.sequence ? f_.sequence + u : nullptr;
    s.output = share_.frames.output + from;
    s.output_end = share_.frames.output_end + from;
    s.sequence_row = call_.units;
    s.units_left = call_.units - u;
    return s;
  }

  void place_rows(std::ptrdiff_t p, std::ptrdiff_t step, Range rows) {
    if (sparse_) place_panel(p, share_.frames.first[step] + rows.begin, rows.end - rows.begin);
  }

  // f(panel, rows) for this member's panels, each in even blocks of at most rows_at_once.
  template <class F>
  FASTSEQ_INLINE void each_block(Range rows, F f) const {
    const std::ptrdiff_t count = rows.end - rows.begin;
    for (std::ptrdiff_t p = share_.panels.begin; p < share_.panels.end && count > 0; ++p) {
      std::ptrdiff_t blocks = (count + rows_at_once - 1) / rows_at_once;
      for (Range block = {rows.begin, rows.begin}; block.end < rows.end; --blocks) {
        block.begin = block.end;
        block.end += (rows.end - block.begin + blocks - 1) / blocks;
        f(p, block);
      }
    }
  }

  void run_step(std::ptrdiff_t step) {
    const Range rows = share_.step_rows(step);
    const bool has_h = share_.has_h(step), single = has_h && !joined_ && rows.end - rows.begin == 1;
    if (single) {
      for (std::ptrdiff_t p = share_.panels.begin; p < share_.panels.end; ++p) place_rows(p, step, rows);
      recur_row<S::open_at, S::open>(step, rows.begin, share_.states(call_.h_in, step), f_.weights.open);
    }
    each_block(rows, [&](std::ptrdiff_t p, Range block) FASTSEQ_INLINED {
      const PanelStep<T> s = panel_step(p, step, block, has_h);
      if (!single) place_rows(p, step, block);
      if (has_h && !single)
        recur<S::open_at, S::open>(p, step, block, share_.states(call_.h_in, step), f_.weights.open, s.inputs,
                                   s.gates);
      if constexpr (two_products)
        with_activations<cell>(call_, [&](const auto& act) { Rows::open_forward(s, act); });
      else
        with_activations<cell>(call_, [&](const auto& act) { Rows::forward(s, act); });
    });
    if constexpr (two_products) {
      if (share_.shared_steps) share_.meet();
      if (single) recur_row<S::close_at, S::close>(step, rows.begin, share_.reset(step), f_.weights.close);
      each_block(rows, [&](std::ptrdiff_t p, Range block) FASTSEQ_INLINED {
        const PanelStep<T> s = panel_step(p, step, block, has_h);
        if (has_h && !single)
          recur<S::close_at, S::close>(p, step, block, share_.reset(step), f_.weights.close, s.inputs,
                                       s.gates);
        with_activations<cell>(call_, [&](const auto& act) { Rows::forward(s, act); });
      });
    }
    if (share_.shared_steps) share_.meet();
  }

  // Final states to the user's arrays.
  void finish() {
    const Range rows = share_.own_rows();
    for (std::ptrdiff_t r = rows.begin; r < rows.end; ++r) {
      const std::ptrdiff_t n = share_.frames.row_sequence[r], steps = share_.frames.row_steps[r];
      __builtin_memcpy(f_.h_final + n * call_.units, h_last_ + r * call_.state_row,
                       static_cast<std::size_t>(call_.units) * sizeof(T));
      if (cell != Cell::lstm) continue;
      const T* c = steps > 0       ? share_.cells(steps - 1) + r * call_.state_row
                   : call_.c_first ? call_.c_first + r * call_.state_row
                                   : nullptr;
      for (std::ptrdiff_t u = 0; u < call_.units; ++u) f_.c_final[n * call_.units + u] = c ? c[u] : T(0);
    }
  }
};

// A call forward, as one member of its team. Members meet once, when the weights are packed, and where they
// share units at every step.
template <class T, Cell cell>
class Forward {
  const RnnForward<T>& f_;
  const Team& team_;

 public:
  Forward(const RnnForward<T>& f, const Team& team) : f_(f), team_(team) {}

  void run() {
    if (!f_.packed) pack();
    each_loop([](auto& loop) { loop.prepare(); });
    team_.meet(team_.meeting);
    each_loop([](auto& loop) { loop.run(); });
  }

 private:
  // Where members own rows, all read all packed weights: then each packs rows of the weights, those that an
  // optimizer's step changes on the same core.
  void pack() const {
    const RnnCall<T>& call = f_.call;
    const auto part = [&](std::ptrdiff_t n, bool shared) { return shared ? part_of(n, team_) : Range{0, n}; };
    pack_weights<T, cell>(f_.weights, call.kernel, call.recurrent_kernel, call.bias, call.features,
                          call.units,
                          {part(call.features, !call.columns), part(call.units, !call.columns),
                           part(call.panels, call.columns), part(call.panels, true)});
  }

  template <class F>
  void each_loop(F f) const {
    each_band(f_.call, team_, [&](std::ptrdiff_t band, Range rows) {
      ForwardLoop<T, cell> loop(f_, team_, band, rows);
      f(loop);
    });
  }
};

}  // namespace FASTSEQ_TARGET
}  // namespace fastseq
