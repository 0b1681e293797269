// The time loop backward, once for all cells.
//
// Per step, last first: the cell's equation turns the kept gates into the gradients of their sums, in place,
// and those times U' are dh of the step before. dx follows per chunk of steps; the gradients of the weights
// are large products over all frames after the loop, shared by panels.
#pragma once

#include "cpu/rnn_forward.h"

namespace fastseq {
namespace FASTSEQ_TARGET {

// Frames per pass of the weight gradients: enough for what a tile adds up to be worth its way to memory and
// back, and few enough for their gates to stay in the second level of cache.
constexpr std::ptrdiff_t weight_chunk = 256;

template <class T, Cell cell>
class BackwardLoop {
  using S = Share<T, cell>;
  using V = Vec<T>;
  using Rows = CellRows<T, cell>;
  static constexpr int L = S::L;
  static constexpr bool two_products = S::layout.close_count > 0;
  static constexpr int pair = pair_vectors * L;
  static constexpr int wide_vectors = 2 * pair_vectors;  // of features: the columns of one product

  const RnnBackward<T>& b_;
  const RnnCall<T>& call_;
  const S share_;
  // Whether the sums of a gradient begin and end in Keras's matrix.
  bool kernel_at_once_, recurrent_at_once_;

 public:
  BackwardLoop(const RnnBackward<T>& b, const Team& team) : b_(b), call_(b.call), share_(b.call, team) {
    const bool alone = b.groups == 1 && b.call.units % S::width == 0;
    kernel_at_once_ = alone && evenly(S::layout.input_first, S::layout.input_count) && !b.call.places;
    recurrent_at_once_ = alone && evenly(S::layout.open_first, S::layout.open_count) &&
                         evenly(S::layout.close_first, S::layout.close_count);
  }

  void run() {
    prepare();
    share_.meet();
    for (std::ptrdiff_t end = call_.frames.steps; end > 0;) {
      const std::ptrdiff_t begin = chunk_begin(end);
      for (std::ptrdiff_t step = end; step-- > begin;) run_step(step);
      if (b_.dx && !call_.repeat) input_gradient_chunk(begin, end);
      end = begin;
    }
    share_.meet();
    if (b_.dx && call_.repeat) input_gradient_repeated();
    initial_state_gradients();
    weight_gradients();
  }

 private:
  T* gates(std::ptrdiff_t panel, std::ptrdiff_t frame) const {
    return call_.gates + panel * call_.gate_panel + frame * S::frame;
  }
  bool has_h(std::ptrdiff_t step) const { return step > 0 || call_.h0; }
  std::ptrdiff_t unit_vectors() const { return call_.panels * S::layout.width; }
  std::ptrdiff_t feature_vectors() const { return b_.feature_row / L; }

  std::ptrdiff_t chunk_begin(std::ptrdiff_t end) const {
    const std::ptrdiff_t limit = call_.frames.first[end] - call_.chunk_steps_frames;
    std::ptrdiff_t begin = end - 1;
    while (begin > 0 && call_.frames.first[begin] > limit) --begin;
    return begin;
  }

  static Range groups_of(std::ptrdiff_t vectors, const Team& team) {
    return part_of((vectors + pair_vectors - 1) / pair_vectors, team);
  }

  void prepare() {
    const Range units = groups_of(unit_vectors(), share_.team);
    pack_back<T, cell>(call_.recurrent_kernel, call_.units, call_.units, call_.panels, S::layout.open_first,
                       S::layout.open_count, units, b_.packed_open_back);
    if (two_products)
      pack_back<T, cell>(call_.recurrent_kernel, call_.units, call_.units, call_.panels,
                         S::layout.close_first, S::layout.close_count, units, b_.packed_close_back);
    if (b_.dx)
      pack_back<T, cell>(call_.kernel, call_.features, call_.units, call_.panels, S::layout.input_first,
                         S::layout.input_count, groups_of(feature_vectors(), share_.team),
                         b_.packed_kernel_back);
    const Range rows = part_of(call_.batch, share_.team);
    for (std::ptrdiff_t r = rows.begin; r < rows.end; ++r) {
      const std::ptrdiff_t n = call_.frames.row_sequence[r];
      start_gradient(b_.dh_final, n, b_.dh + r * call_.state_row);
      if (b_.dc) start_gradient(b_.dc_final, n, b_.dc + r * call_.state_row);
    }
    if (b_.drepeated) {
      const Range all = part_of(call_.panels * call_.batch * S::frame, share_.team);
      for (std::ptrdiff_t i = all.begin; i < all.end; ++i) b_.drepeated[i] = T(0);
    }
  }

  FASTSEQ_OUTLINE void start_gradient(const T* from, std::ptrdiff_t n, T* to) const {
    if (from)
      copy_state(from + n * call_.units, call_.units, call_.state_row, to);
    else
      for (std::ptrdiff_t u = 0; u < call_.state_row; ++u) to[u] = T(0);
  }

  PanelBack<T> panel_back(std::ptrdiff_t p, std::ptrdiff_t step, Range rows) const {
    const std::ptrdiff_t u = p * S::width, from = call_.frames.first[step];
    PanelBack<T> s = {};
    s.rows = rows;
    s.state_row = call_.state_row;
    s.gates = gates(p, from);
    if (has_h(step)) {
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
    s.output = call_.frames.output + from;
    s.output_end = call_.frames.output_end + from;
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
    q.a = gates(0, call_.frames.first[step] + rows.begin) + at;
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
      if (any && has_h(step))
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
      const T* from = gates(p, call_.frames.first[step]);
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
        project_back(g, gates(0, from), call_.gate_panel, to - from, out);
        out += (to - from) * b_.feature_row;
      });
    }
    std::ptrdiff_t step = begin;
    share_.each_run(begin, end, [&](std::ptrdiff_t from, std::ptrdiff_t to) {
      for (std::ptrdiff_t i = from; i < to; ++i, mine += b_.feature_row) {
        while (call_.frames.first[step + 1] <= i) ++step;
        if (i + frames_ahead < to)
          fetch_features<1>(call_, b_.dx + call_.frames.input[i + frames_ahead] * call_.features);
        copy_features(call_, mine, i - call_.frames.first[step],
                      b_.dx + call_.frames.input[i] * call_.features);
      }
    });
  }

  void input_gradient_repeated() {
    const Range rows = part_of(call_.batch, share_.team);
    T* mine = b_.dx_rows + rows.begin * b_.feature_row;
    for (std::ptrdiff_t g = 0; g < feature_groups(); ++g)
      project_back(g, b_.drepeated + rows.begin * S::frame, call_.batch * S::frame, rows.end - rows.begin,
                   mine);
    for (std::ptrdiff_t r = rows.begin; r < rows.end; ++r, mine += b_.feature_row)
      copy_features(call_, mine, r, b_.dx + call_.frames.row_sequence[r] * call_.features);
  }

  void initial_state_gradients() {
    const Range rows = part_of(call_.batch, share_.team);
    for (std::ptrdiff_t r = rows.begin; r < rows.end; ++r) {
      const std::ptrdiff_t n = call_.frames.row_sequence[r];
      for (std::ptrdiff_t u = 0; u < call_.units; ++u) {
        if (b_.dh0) b_.dh0[n * call_.units + u] = b_.dh[r * call_.state_row + u];
        if (b_.dc0) b_.dc0[n * call_.units + u] = b_.dc[r * call_.state_row + u];
      }
    }
  }

  // Frames that weight gradients are summed over at once: `blocks` times `count` neighbours, `stride` apart.
  struct Stretch {
    std::ptrdiff_t first, count, blocks, stride;
  };

  // f(first frame, one past the last) for each block of a stretch.
  template <class F>
  FASTSEQ_INLINE static void each_block_of(const Stretch& s, F f) {
    for (std::ptrdiff_t block = 0, at = s.first; block < s.blocks; ++block, at += s.stride)
      f(at, at + s.count);
  }

  // f(stretch) for neighbours [begin, end), a chunk at a time.
  template <class F>
  FASTSEQ_INLINE static void each_chunk(std::ptrdiff_t begin, std::ptrdiff_t end, F f) {
    for (std::ptrdiff_t count; begin < end; begin += count) {
      count = smaller(weight_chunk, end - begin);
      f(Stretch{begin, count, 1, count});
    }
  }

  // f(stretch) for all frames of some rows, in the order of steps: about a chunk each, and none has both
  // frames with a state before them and frames without, unless the rows are all there are.
  template <class F>
  FASTSEQ_INLINE void each_stretch(Range rows, F f) const {
    if (rows.begin == 0 && rows.end == call_.batch) return each_chunk(0, call_.frames.count, f);
    for (std::ptrdiff_t step = 0, next; step < call_.frames.steps; step = next) {
      const std::ptrdiff_t stride = share_.active(step), from = call_.frames.first[step] + rows.begin,
                           count = smaller(rows.end, stride) - rows.begin;
      if (count <= 0) return;  // rows of fewer steps are over
      next = step + 1;
      if (count >= weight_chunk) {
        each_chunk(from, from + count, f);
        continue;
      }
      const std::ptrdiff_t most = has_h(step) ? step + weight_chunk / count : next;
      while (next < smaller(most, call_.frames.steps) && share_.active(next) == stride) ++next;
      f(Stretch{from, count, next - step, stride});
    }
  }

  // The part of a stretch whose frames have a state before them.
  Stretch with_states(Stretch s) const {
    const std::ptrdiff_t first = call_.h0 ? 0 : call_.frames.first[1], left_out = first - s.first;
    if (left_out <= 0) return s;
    s.first = first;
    s.count = larger(s.count - left_out, 0);
    return s;
  }

  // Whether the registers of these slots lie in a row of Keras's matrix at even distances, in this order.
  static constexpr bool evenly(int slot_first, int slot_count) {
    for (int i = 1; i < slot_count; ++i)
      if (S::layout.gate_of_slot[slot_first + i] != S::layout.gate_of_slot[slot_first] + i) return false;
    return slot_count <= 1 || S::layout.width == 1;
  }

  // Which of the stretches of a sum one is; both where it is the only one.
  struct Turn {
    bool first, last;
  };

  // Where the sums of a weight gradient are: `panels` in between, and Keras's matrix, null where those of the
  // panels are brought there later, and whether they are added to what it holds.
  struct Sums {
    T *panels, *matrix;
    bool add;
  };

  // sums (+)= a' d over a stretch, for some slots of panel p: a part of a weight gradient. a and d are those
  // of frame 0; next_d is what is read next.
  template <int slot_first, int slot_count>
  FASTSEQ_OUTLINE void outer(const T* a, std::ptrdiff_t a_row, std::ptrdiff_t rows, const T* d,
                             const Stretch& s, Turn turn, const Sums& sums, std::ptrdiff_t p,
                             const T* next_d) const {
    constexpr int size = slot_count * S::width;
    Product<T> q = {};
    q.rows = rows;
    q.a = a + s.first * a_row;
    q.a_row = a_row;
    q.a_block = s.stride * a_row;
    q.blocks = s.blocks;
    q.depth = s.count;
    q.a_transposed = true;
    q.b = d + s.first * S::frame + slot_first * S::width;
    q.b_row = S::frame;
    q.b_skip = (s.stride - s.count) * S::frame;
    if (s.blocks == 1) q.next_b = next_d;
    T* const matrix =
        sums.matrix ? sums.matrix + S::layout.gate_of_slot[slot_first] * call_.units + p * S::width : nullptr;
    const std::ptrdiff_t matrix_row = S::layout.gates * call_.units,
                         matrix_vector = slot_count == 1 ? L : call_.units;
    const bool from_matrix = turn.first && matrix, to_matrix = turn.last && matrix;
    q.init = !turn.first ? sums.panels : sums.add ? matrix : nullptr;
    q.init_row = from_matrix ? matrix_row : size;
    q.init_vector = from_matrix ? matrix_vector : L;
    q.c = to_matrix ? matrix : sums.panels;
    q.c_row = to_matrix ? matrix_row : size;
    q.c_vector = to_matrix ? matrix_vector : L;
    product(q, size / L);
  }

  // Members take panels, of groups of rows. Where there are as many groups as members, the rows are the
  // member's own, and no gate is read by another core than the one that wrote it: sums cross, once.
  void weight_gradients() {
    const Range mine = part_of(b_.groups * call_.panels, share_.team);
    for (int group = 0; group < b_.groups; ++group) {
      const std::ptrdiff_t before = group * call_.panels;
      const Range panels = {larger(mine.begin - before, 0), smaller(mine.end - before, call_.panels)};
      if (panels.begin < panels.end) weights_of(before, share_.rows_of(group, b_.groups), panels);
    }
    if (b_.groups > 1) share_.meet();
    give_weights();
  }

  // All weights of some panels, from the frames of a group's rows; `before` panels are those of other groups.
  void weights_of(std::ptrdiff_t before, Range rows, Range panels) {
    bool any_input = false, any_state = false;
    const auto each_panel = [&](auto f) {
      for (std::ptrdiff_t p = panels.begin; p < panels.end; ++p) f(p);
    };
    const auto add_inputs = [&](std::ptrdiff_t p, const T* d, const Stretch& s, bool last) {
      if (b_.dkernel || b_.dbias) input_weights(before + p, d, s, {!any_input, last});
    };
    const auto add_states = [&](std::ptrdiff_t p, const Stretch& s, bool last) {
      if (b_.drecurrent_kernel)
        recurrent_weights(before + p, gates(p, 0), s, {!any_state, last},
                          p + 1 < panels.end ? gates(p + 1, s.first) : nullptr);
    };
    if (b_.drepeated)
      each_chunk(rows.begin, rows.end, [&](const Stretch& s) {
        const bool last = s.first + s.count == rows.end;
        each_panel(
            [&](std::ptrdiff_t p) { add_inputs(p, b_.drepeated + p * call_.batch * S::frame, s, last); });
        any_input = true;
      });
    each_stretch(rows, [&](const Stretch& s) {
      const Stretch states = with_states(s);
      const bool last = s.first + s.count == call_.frames.count;  // of one group
      each_panel([&](std::ptrdiff_t p) {  // all of a panel while its gates are in cache
        if (!b_.drepeated) add_inputs(p, gates(p, 0), s, last);
        if (states.count > 0) add_states(p, states, last);
      });
      any_input = true;
      any_state = any_state || states.count > 0;
    });
    each_panel([&](std::ptrdiff_t p) {  // of no frames: zeros
      const Stretch none = {0, 0, 1, 0};
      if (!any_input) add_inputs(p, gates(p, 0), none, true);
      if (!any_state) add_states(p, none, true);
    });
  }

  // Of a panel, whose gates d begins with.
  void input_weights(std::ptrdiff_t q, const T* d, const Stretch& s, Turn turn) {
    const std::ptrdiff_t D = call_.features;
    const Sums sums = {b_.dkernel_panels + q * D * S::input, kernel_at_once_ ? b_.dkernel : nullptr,
                       b_.add_kernel};
    if (b_.dkernel && call_.places && one_place_each(s))
      add_placed(d + S::input_at, s, turn.first, sums.panels);
    else if (b_.dkernel)
      outer<S::layout.input_first, S::layout.input_count>(call_.inputs, D, D, d, s, turn, sums, q, nullptr);
    if (b_.dbias) sum_frames(d, s, turn.first, b_.dbias_panels + q * S::frame);
  }

  bool one_place_each(const Stretch& s) const {
    bool each = true;
    each_block_of(s, [&](std::ptrdiff_t from, std::ptrdiff_t to) {
      each = each && FASTSEQ_TARGET::one_place_each(call_.places, from, to);
    });
    return each;
  }

  // The kernel's gradient from frames of at most one feature, with the bits of the product.
  FASTSEQ_OUTLINE void add_placed(const T* d, const Stretch& s, bool first, T* panel) {
    if (first)
      for (std::ptrdiff_t i = 0; i < call_.features * S::input; ++i) panel[i] = T(0);
    each_block_of(s, [&](std::ptrdiff_t from, std::ptrdiff_t to) {
      for (std::ptrdiff_t i = from; i < to; ++i) {
        const std::int32_t k = call_.places[i];
        if (k == no_place) continue;
        const V x(call_.inputs[i * call_.features + k]);
        const T* sums = d + i * S::frame;
        T* row = panel + k * S::input;
        for (int j = 0; j < S::input; j += L) (V::load(row + j) + x * V::load(sums + j)).store(row + j);
      }
    });
  }

  void recurrent_weights(std::ptrdiff_t q, const T* d, const Stretch& s, Turn turn, const T* next_d) {
    const std::ptrdiff_t H = call_.units, row = call_.state_row;
    T* const matrix = recurrent_at_once_ ? b_.drecurrent_kernel : nullptr;
    const Sums open = {b_.dopen_panels + q * H * S::open, matrix, b_.add_recurrent};
    outer<S::layout.open_first, S::layout.open_count>(call_.h_in, row, H, d, s, turn, open, q,
                                                      two_products ? nullptr : next_d);
    if constexpr (two_products) {
      const Sums close = {b_.dclose_panels + q * H * S::close, matrix, b_.add_recurrent};
      outer<S::layout.close_first, S::layout.close_count>(call_.reset, row, H, d, s, turn, close, q, next_d);
    }
  }

  FASTSEQ_OUTLINE static void sum_frames(const T* d, const Stretch& s, bool first, T* out) {
    for (int j = 0; j < S::frame; j += L) {
      V sums = first ? V(T(0)) : V::load(out + j);
      each_block_of(s, [&](std::ptrdiff_t from, std::ptrdiff_t to) FASTSEQ_INLINED {
        for (std::ptrdiff_t i = from; i < to; ++i) sums += V::load(d + i * S::frame + j);
      });
      sums.store(out + j);
    }
  }

  // Some rows of a gradient's panels, those of all groups added up, to Keras's (depth, gates * H), or added
  // to what is there.
  FASTSEQ_OUTLINE void give_kernel(const T* panels_of, std::ptrdiff_t depth, int slot_first, int slot_count,
                                   Range rows, Range panels, bool add, T* to) {
    const std::ptrdiff_t row = S::layout.gates * call_.units, panel = depth * slot_count * S::width;
    for (std::ptrdiff_t k = rows.begin; k < rows.end; ++k)  // outermost: the gradient is changed as it lies
      for (int slot = 0; slot < slot_count; ++slot) {
        const T* from = panels_of + (k * slot_count + slot) * S::width;
        T* out = to + k * row + S::layout.gate_of_slot[slot_first + slot] * call_.units;
        for (std::ptrdiff_t p = panels.begin; p < panels.end; ++p)
          for (std::ptrdiff_t j = 0; j < S::width; j += L) {
            const std::ptrdiff_t u = p * S::width + j, left = call_.units - u;
            if (left <= 0) break;
            V value = V::load(from + p * panel + j);
            for (int group = 1; group < b_.groups; ++group)
              value += V::load(from + (group * call_.panels + p) * panel + j);
            if (add) value = V::load_part(out + u, left) + value;
            value.store_part(out + u, left);
          }
      }
  }

  // Members give the panels they have, or, where groups are added up, the rows of all panels that they pack.
  void give_weights() {
    const bool alone = b_.groups == 1;
    const Range part = part_of(call_.panels, share_.team), all = {0, call_.panels};
    const auto give = [&](const T* panels_of, std::ptrdiff_t depth, int first, int count, bool add, T* to) {
      const Range rows = alone ? Range{0, depth} : part_of(depth, share_.team);
      give_kernel(panels_of, depth, first, count, rows, alone ? part : all, add, to);
    };
    if (b_.dkernel && !kernel_at_once_)
      give(b_.dkernel_panels, call_.features, S::layout.input_first, S::layout.input_count, b_.add_kernel,
           b_.dkernel);
    if (b_.drecurrent_kernel && !recurrent_at_once_) {
      give(b_.dopen_panels, call_.units, S::layout.open_first, S::layout.open_count, b_.add_recurrent,
           b_.drecurrent_kernel);
      if (two_products)
        give(b_.dclose_panels, call_.units, S::layout.close_first, S::layout.close_count, b_.add_recurrent,
             b_.drecurrent_kernel);
    }
    if (b_.dbias) give_bias(part);
  }

  void give_bias(Range panels) {
    const std::ptrdiff_t row = S::layout.gates * call_.units;
    for (std::ptrdiff_t p = panels.begin; p < panels.end; ++p)
      for (int slot = 0; slot < S::layout.slots; ++slot)
        for (int j = 0; j < S::width && p * S::width + j < call_.units; ++j) {
          T value(0);
          for (int group = 0; group < b_.groups; ++group)
            value += b_.dbias_panels[(group * call_.panels + p) * S::frame + slot * S::width + j];
          T* out = b_.dbias + S::layout.gate_of_slot[slot] * call_.units + p * S::width + j;
          const auto give = [&](T& to) { to = b_.add_bias ? to + value : value; };
          if (cell != Cell::gru_after || slot > 0) give(out[0]);
          if (cell == Cell::gru_after && slot < 3) give(out[row]);
        }
  }
};

}  // namespace FASTSEQ_TARGET
}  // namespace fastseq
