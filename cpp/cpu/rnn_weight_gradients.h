// The gradients of a recurrent layer's weights: large products over all frames, after the time loop backward.
//
// Members take panels of bands, each summed apart and then added up, whoever sums them. Sums go over chunks
// of frames whose gates stay in cache, and begin and end in Keras's matrix where it is evenly laid and there
// is one band; elsewhere they are brought there once they are whole.
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
  const Team& team_;
  // Whether the sums of a gradient begin and end in Keras's matrix.
  bool kernel_at_once_, recurrent_at_once_;

 public:
  WeightGradients(const RnnBackward<T>& b, const Team& team) : b_(b), call_(b.call), team_(team) {
    const bool alone = b.call.bands == 1 && b.call.units % S::width == 0;
    kernel_at_once_ = alone && evenly(S::layout.input_first, S::layout.input_count) && !b.call.places;
    recurrent_at_once_ = alone && evenly(S::layout.open_first, S::layout.open_count) &&
                         evenly(S::layout.close_first, S::layout.close_count);
  }

  // Where there are as many bands as members, each takes its own, and no gate is read by another core than
  // the one that wrote it: sums cross, once.
  void run() {
    const Range mine = part_of(call_.bands * call_.panels, team_);
    for (std::ptrdiff_t band = 0; band < call_.bands; ++band) {
      const std::ptrdiff_t before = band * call_.panels;
      const Range panels = {larger(mine.begin - before, 0), smaller(mine.end - before, call_.panels)};
      if (panels.begin < panels.end) weights_of(band, panels);
    }
    if (call_.bands > 1) team_.meet(team_.meeting);
    give_weights();
  }

 private:
  // f(frames) for the first `count` frames, a chunk at a time; once, for none, if there are none.
  template <class F>
  FASTSEQ_INLINE static void each_chunk(std::ptrdiff_t count, F f) {
    std::ptrdiff_t begin = 0;
    do {
      const Range chunk = {begin, smaller(begin + weight_chunk, count)};
      f(chunk);
      begin = chunk.end;
    } while (begin < count);
  }

  // Whether the registers of these slots lie in a row of Keras's matrix at even distances, in this order.
  static constexpr bool evenly(int slot_first, int slot_count) {
    for (int i = 1; i < slot_count; ++i)
      if (S::layout.gate_of_slot[slot_first + i] != S::layout.gate_of_slot[slot_first] + i) return false;
    return slot_count <= 1 || S::layout.width == 1;
  }

  // Which of the chunks of a sum one is; both where it is the only one.
  struct Turn {
    bool first, last;
  };

  // Where the sums of a weight gradient are: `panels` in between, and Keras's matrix, null where those of the
  // panels are brought there later, and whether they are added to what it holds.
  struct Sums {
    T *panels, *matrix;
    bool add;
  };

  // sums (+)= a' d over some frames, for some slots of panel p: a part of a weight gradient. a and d are
  // those of frame 0; next_d is what is read next.
  template <int slot_first, int slot_count>
  FASTSEQ_OUTLINE void outer(const T* a, std::ptrdiff_t a_row, std::ptrdiff_t rows, const T* d, Range frames,
                             Turn turn, const Sums& sums, std::ptrdiff_t p, const T* next_d) const {
    constexpr int size = slot_count * S::width;
    Product<T> q = {};
    q.rows = rows;
    q.a = a + frames.begin * a_row;
    q.a_row = a_row;
    q.blocks = 1;
    q.depth = frames.end - frames.begin;
    q.a_transposed = true;
    q.b = d + frames.begin * S::frame + slot_first * S::width;
    q.b_row = S::frame;
    q.next_b = next_d;
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

  // All weights of some panels of a band.
  void weights_of(std::ptrdiff_t band, Range panels) {
    const RnnCall<T> of = call_of_band<T, cell>(call_, band);
    const RnnFrames& frames = of.band->frames;
    const T* const drepeated =
        b_.drepeated ? b_.drepeated + of.band->first_row * call_.panels * S::frame : nullptr;
    const std::ptrdiff_t input_frames = drepeated ? of.batch : frames.count;
    // The first step's frames have a state before them only if the call does.
    const std::ptrdiff_t first_state = call_.h0 || frames.steps == 0 ? 0 : frames.first[1];
    const auto add_inputs = [&](std::ptrdiff_t p, Range chunk) {
      const T* d = drepeated ? drepeated + p * of.batch * S::frame : of.gates + p * of.gate_panel;
      if (b_.dkernel || b_.dbias)
        input_weights(of, band, p, d, chunk, {chunk.begin == 0, chunk.end == input_frames});
    };
    const auto add_states = [&](std::ptrdiff_t p, Range chunk) {
      const Range states = {larger(chunk.begin, first_state), chunk.end};
      if (!b_.drecurrent_kernel || (states.begin >= states.end && chunk.end < frames.count)) return;
      const T* d = of.gates + p * of.gate_panel;
      recurrent_weights(of, band, p, d, states, {states.begin <= first_state, chunk.end == frames.count},
                        p + 1 < panels.end ? d + of.gate_panel + chunk.begin * S::frame : nullptr);
    };
    const auto each_panel = [&](auto f) {
      for (std::ptrdiff_t p = panels.begin; p < panels.end; ++p) f(p);
    };
    if (drepeated)
      each_chunk(input_frames, [&](Range chunk) { each_panel([&](auto p) { add_inputs(p, chunk); }); });
    each_chunk(frames.count, [&](Range chunk) {
      each_panel([&](auto p) {  // all of a panel while its gates are in cache
        if (!drepeated) add_inputs(p, chunk);
        add_states(p, chunk);
      });
    });
  }

  // Of a panel, whose gates d begins with.
  void input_weights(const RnnCall<T>& of, std::ptrdiff_t band, std::ptrdiff_t p, const T* d, Range frames,
                     Turn turn) {
    const std::ptrdiff_t D = of.features, panel = band * of.panels + p;
    const Sums sums = {b_.dkernel_panels + panel * D * S::input, kernel_at_once_ ? b_.dkernel : nullptr,
                       b_.add_kernel};
    if (b_.dkernel && of.places && one_place_each(of.places, frames.begin, frames.end))
      add_placed(of, d + S::input_at, frames, turn.first, sums.panels);
    else if (b_.dkernel)
      outer<S::layout.input_first, S::layout.input_count>(of.inputs, D, D, d, frames, turn, sums, p, nullptr);
    if (b_.dbias) sum_frames(d, frames, turn.first, b_.dbias_panels + panel * S::frame);
  }

  // The kernel's gradient from frames of at most one feature, with the bits of the product.
  FASTSEQ_OUTLINE static void add_placed(const RnnCall<T>& of, const T* d, Range frames, bool first,
                                         T* panel) {
    if (first)
      for (std::ptrdiff_t i = 0; i < of.features * S::input; ++i) panel[i] = T(0);
    for (std::ptrdiff_t i = frames.begin; i < frames.end; ++i) {
      const std::int32_t k = of.places[i];
      if (k == no_place) continue;
      const V x(of.inputs[i * of.features + k]);
      const T* sums = d + i * S::frame;
      T* row = panel + k * S::input;
      for (int j = 0; j < S::input; j += L) (V::load(row + j) + x * V::load(sums + j)).store(row + j);
    }
  }

  void recurrent_weights(const RnnCall<T>& of, std::ptrdiff_t band, std::ptrdiff_t p, const T* d,
                         Range frames, Turn turn, const T* next_d) {
    const std::ptrdiff_t H = of.units, row = of.state_row, panel = band * of.panels + p;
    T* const matrix = recurrent_at_once_ ? b_.drecurrent_kernel : nullptr;
    const Sums open = {b_.dopen_panels + panel * H * S::open, matrix, b_.add_recurrent};
    outer<S::layout.open_first, S::layout.open_count>(of.h_in, row, H, d, frames, turn, open, p,
                                                      two_products ? nullptr : next_d);
    if constexpr (two_products) {
      const Sums close = {b_.dclose_panels + panel * H * S::close, matrix, b_.add_recurrent};
      outer<S::layout.close_first, S::layout.close_count>(of.reset, row, H, d, frames, turn, close, p,
                                                          next_d);
    }
  }

  FASTSEQ_OUTLINE static void sum_frames(const T* d, Range frames, bool first, T* out) {
    constexpr int vectors = S::frame / L;
    V sums[vectors];  // side by side: each waits for the addition before it
    for (int v = 0; v < vectors; ++v) sums[v] = first ? V(T(0)) : V::load(out + v * L);
    for (std::ptrdiff_t i = frames.begin; i < frames.end; ++i)
      for (int v = 0; v < vectors; ++v) sums[v] += V::load(d + i * S::frame + v * L);
    for (int v = 0; v < vectors; ++v) sums[v].store(out + v * L);
  }

  // Some rows of a gradient's panels, those of all bands added up, to Keras's (depth, gates * H), or added
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
            for (std::ptrdiff_t band = 1; band < call_.bands; ++band)
              value += V::load(from + (band * call_.panels + p) * panel + j);
            if (add) value = V::load_part(out + u, left) + value;
            value.store_part(out + u, left);
          }
      }
  }

  // Members give the panels they have, or, where bands are added up, the rows of all panels that they pack.
  void give_weights() {
    const bool alone = call_.bands == 1;
    const Range part = part_of(call_.panels, team_), all = {0, call_.panels};
    const auto give = [&](const T* panels_of, std::ptrdiff_t depth, int first, int count, bool add, T* to) {
      const Range rows = alone ? Range{0, depth} : part_of(depth, team_);
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
          for (std::ptrdiff_t band = 0; band < call_.bands; ++band)
            value += b_.dbias_panels[(band * call_.panels + p) * S::frame + slot * S::width + j];
          T* out = b_.dbias + S::layout.gate_of_slot[slot] * call_.units + p * S::width + j;
          const auto give = [&](T& to) { to = b_.add_bias ? to + value : value; };
          if (cell != Cell::gru_after || slot > 0) give(out[0]);
          if (cell == Cell::gru_after && slot < 3) give(out[row]);
        }
  }
};

}  // namespace FASTSEQ_TARGET
}  // namespace fastseq
