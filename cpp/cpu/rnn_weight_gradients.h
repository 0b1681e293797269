// The gradients of a recurrent layer's weights: large products over all frames, after the time loop backward.
//
// Members take panels. Their sums go over chunks of frames whose gates stay in cache, and begin and end in
// Keras's matrix where it is evenly laid; elsewhere they are brought there once they are whole.
#pragma once

#include "cpu/rnn_common.h"

namespace fastseq {
namespace FASTSEQ_TARGET {

// Frames per pass of the weight gradients: enough for what a tile adds up to be worth its way to memory and
// back, and few enough for their gates to stay in the second level of cache.
constexpr std::ptrdiff_t weight_chunk = 256;

template <class T, Cell cell>
class WeightGradients {
  using S = Share<T, cell>;
  using V = Vec<T>;
  static constexpr int L = S::L;
  static constexpr bool two_products = S::layout.close_count > 0;

  const RnnBackward<T>& b_;
  const RnnCall<T>& call_;
  const S& share_;
  // Whether the sums of a gradient begin and end in Keras's matrix.
  bool kernel_at_once_, recurrent_at_once_;

 public:
  WeightGradients(const RnnBackward<T>& b, const S& share) : b_(b), call_(b.call), share_(share) {
    const bool alone = b.groups == 1 && b.call.units % S::width == 0;
    kernel_at_once_ = alone && evenly(S::layout.input_first, S::layout.input_count) && !b.call.places;
    recurrent_at_once_ = alone && evenly(S::layout.open_first, S::layout.open_count) &&
                         evenly(S::layout.close_first, S::layout.close_count);
  }

  // Members take panels, of groups of rows. Where there are as many groups as members, the rows are the
  // member's own, and no gate is read by another core than the one that wrote it: sums cross, once.
  void run() {
    const Range mine = part_of(b_.groups * call_.panels, share_.team);
    for (int group = 0; group < b_.groups; ++group) {
      const std::ptrdiff_t before = group * call_.panels;
      const Range panels = {larger(mine.begin - before, 0), smaller(mine.end - before, call_.panels)};
      if (panels.begin < panels.end) weights_of(before, share_.rows_of(group, b_.groups), panels);
    }
    if (b_.groups > 1) share_.meet();
    give_weights();
  }

 private:
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
      const std::ptrdiff_t most = share_.has_h(step) ? step + weight_chunk / count : next;
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
        recurrent_weights(before + p, share_.gates(p, 0), s, {!any_state, last},
                          p + 1 < panels.end ? share_.gates(p + 1, s.first) : nullptr);
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
        if (!b_.drepeated) add_inputs(p, share_.gates(p, 0), s, last);
        if (states.count > 0) add_states(p, states, last);
      });
      any_input = true;
      any_state = any_state || states.count > 0;
    });
    each_panel([&](std::ptrdiff_t p) {  // of no frames: zeros
      const Stretch none = {0, 0, 1, 0};
      if (!any_input) add_inputs(p, share_.gates(p, 0), none, true);
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
