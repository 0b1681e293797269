// What both directions of the time loop share: bands, who owns which rows and panels, chunks of steps,
// packing.
#pragma once

#include "cpu/gemm.h"
#include "cpu/rnn_kernels.h"
#include "cpu/transpose.h"

namespace fastseq {
namespace FASTSEQ_TARGET {

struct Range {
  std::ptrdiff_t begin, end;
};

// Part `index` of `count` of [0, n), cut at multiples of `unit`.
FASTSEQ_INLINE Range part_of(std::ptrdiff_t n, const Team& team, std::ptrdiff_t unit = 1) {
  const std::ptrdiff_t units = (n + unit - 1) / unit;
  const std::ptrdiff_t begin = units * team.index / team.count * unit;
  const std::ptrdiff_t end = units * (team.index + 1) / team.count * unit;
  return {begin < n ? begin : n, end < n ? end : n};
}

FASTSEQ_INLINE std::ptrdiff_t smaller(std::ptrdiff_t a, std::ptrdiff_t b) { return a < b ? a : b; }
FASTSEQ_INLINE std::ptrdiff_t larger(std::ptrdiff_t a, std::ptrdiff_t b) { return a > b ? a : b; }

// Bytes of packed weights that come in time by themselves, from step to step. With few rows, requests for
// what the third level of cache holds cost more than they save: 6 to 13 %.
constexpr std::ptrdiff_t near_bytes = 384 * 1024, near_bytes_in_pairs = 4096 * 1024;

// A band of a call, as a call of its own.
template <class T, Cell cell>
RnnCall<T> call_of_band(const RnnCall<T>& call, std::ptrdiff_t band) {
  constexpr CellLayout layout = cell_layout(cell);
  const RnnBand& of = call.band[band];
  const std::ptrdiff_t row = of.first_row, kept = band * call.band_frames,
                       state = (call.training ? kept : row) * call.state_row,
                       gates = layout.slots * layout.width * Vec<T>::lanes * call.panels;
  const auto move = [](auto*& pointer, std::ptrdiff_t elements) {
    if (pointer) pointer += elements;
  };
  RnnCall<T> c = call;
  c.band = &of;
  c.bands = 1;
  c.batch = of.rows;
  move(c.inputs, (call.repeat ? row : kept) * call.features);
  move(c.places, kept);
  move(c.gates, band * call.panels * call.gate_panel);
  move(c.repeated, row * gates);
  move(c.h_prev, call.training ? state : 2 * state);
  move(c.h_in, call.training ? state : 2 * state);
  move(c.cells, state);
  move(c.reset, state);
  move(c.c_first, row * call.state_row);
  move(c.h_mask, row * call.state_row);
  move(c.x_mask, row * call.features);
  return c;
}

// f(band, its rows that are this member's): all bands where members share units, whole bands where there are
// enough, else some neighbouring rows. Without training there are enough: a band's chunks use the same
// buffers one after the other, and its rows must not be at different ones.
template <class T, class F>
FASTSEQ_INLINE void each_band(const RnnCall<T>& call, const Team& team, F f) {
  Range bands = {0, call.bands}, mine = {0, call.batch};
  if (!call.columns && team.count <= call.bands) {
    bands = part_of(call.bands, team);
  } else if (!call.columns) {
    const std::ptrdiff_t* const row_steps = call.band[0].frames.row_steps;  // those of the other bands follow
    mine.begin = row_of_part(row_steps, call.batch, call.frames, team.index, team.count);
    mine.end = row_of_part(row_steps, call.batch, call.frames, team.index + 1, team.count);
  }
  for (std::ptrdiff_t i = bands.begin; i < bands.end; ++i) {
    const RnnBand& band = call.band[i];
    const Range rows = {larger(0, mine.begin - band.first_row),
                        smaller(band.rows, mine.end - band.first_row)};
    if (rows.begin < rows.end) f(i, rows);
  }
}

// The sizes every loop needs, and this member's share of a band: all panels of some rows, or some panels of
// all rows.
template <class T, Cell cell>
struct Share {
  static constexpr CellLayout layout = cell_layout(cell);
  static constexpr int L = Vec<T>::lanes;
  static constexpr int width = layout.width * L;      // units of a panel
  static constexpr int frame = layout.slots * width;  // elements of one panel's frame
  static constexpr int input = layout.input_count * width;
  static constexpr int open = layout.open_count * width;
  static constexpr int close = layout.close_count * width;
  static constexpr int input_at = layout.input_first * width;
  static constexpr int open_at = layout.open_first * width;
  static constexpr int close_at = layout.close_first * width;
  static constexpr int input_vectors = input / L, open_vectors = open / L, close_vectors = close / L;
  static_assert(input_vectors % group_of(input_vectors) == 0 && open_vectors % group_of(open_vectors) == 0 &&
                    close_vectors % group_of(close_vectors) == 0,
                "packed weights are whole groups of registers");
  // Panels change hands only at whole pairs of registers, as the way back packs units.
  static constexpr int panel_unit = layout.width % pair_vectors == 0 ? 1 : pair_vectors;

  const RnnCall<T>& call;
  const RnnFrames& frames;
  const Team& team;
  Range rows, panels;
  bool shared_steps;  // members meet at every step

  Share(const RnnCall<T>& of_band, const Team& t, Range of_rows)
      : call(of_band),
        frames(of_band.band->frames),
        team(t),
        rows(of_rows),
        panels{0, of_band.panels},
        shared_steps(of_band.columns && t.count > 1) {
    if (shared_steps) panels = part_of(call.panels, team, panel_unit);
  }

  // Rows of the band that this member alone reads and writes before and after the loop.
  Range own_rows() const { return shared_steps ? part_of(call.batch, team) : rows; }

  // Packed weights that this member reads again and again, but that do not come to it in time.
  bool far(std::ptrdiff_t depth, int size, std::ptrdiff_t at_once) const {
    const std::ptrdiff_t bytes =
        (panels.end - panels.begin) * depth * size * static_cast<std::ptrdiff_t>(sizeof(T));
    return bytes > (at_once > rows_in_pairs ? near_bytes : near_bytes_in_pairs);
  }

  void meet() const { team.meet(team.meeting); }

  std::ptrdiff_t active(std::ptrdiff_t step) const { return frames.first[step + 1] - frames.first[step]; }
  Range step_rows(std::ptrdiff_t step) const {
    const std::ptrdiff_t end = smaller(rows.end, active(step));
    return {smaller(rows.begin, end), end};
  }

  // Chunks of steps: as many as hold chunk_steps_frames frames of the band.
  std::ptrdiff_t chunk_end(std::ptrdiff_t step) const {
    const std::ptrdiff_t limit = frames.first[step] + call.chunk_steps_frames;
    std::ptrdiff_t end = step + 1;
    while (end < frames.steps && frames.first[end] < limit) ++end;
    return end;
  }

  // This member's frames of steps [begin, end), as runs of neighbours: f(first frame, one past the last).
  template <class F>
  FASTSEQ_INLINE void each_run(std::ptrdiff_t begin, std::ptrdiff_t end, F f) const {
    if (shared_steps) {  // any frames will do: units are shared, and nobody depends on these
      const std::ptrdiff_t from = frames.first[begin];
      const Range mine = part_of(frames.first[end] - from, team);
      if (mine.begin < mine.end) f(from + mine.begin, from + mine.end);
    } else {
      each_row_run(begin, end, f);
    }
  }
  template <class F>
  FASTSEQ_INLINE void each_row_run(std::ptrdiff_t begin, std::ptrdiff_t end, F f) const {
    if (rows.begin == 0 && rows.end == call.batch) {  // neighbours from step to step
      f(frames.first[begin], frames.first[end]);
      return;
    }
    for (std::ptrdiff_t s = begin; s < end; ++s) {
      const Range r = step_rows(s);
      if (r.begin < r.end) f(frames.first[s] + r.begin, frames.first[s] + r.end);
    }
  }

  bool has_h(std::ptrdiff_t step) const { return step > 0 || call.h0; }  // else the state before is zero

  // A panel's gates from a place of their buffer on: a frame, but without training one of the chunk's.
  T* gates(std::ptrdiff_t panel, std::ptrdiff_t place) const {
    return call.gates + panel * call.gate_panel + place * frame;
  }

  // Buffers of a step. Without training, states alternate between two places and gates are one chunk's.
  T* states(T* base, std::ptrdiff_t step) const {
    const std::ptrdiff_t at = call.training ? frames.first[step] : (step & 1) * call.batch;
    return base + at * call.state_row;
  }
  T* cells(std::ptrdiff_t step) const {
    return call.cells + (call.training ? frames.first[step] * call.state_row : 0);
  }
  const T* cells_before(std::ptrdiff_t step) const {
    if (step == 0) return call.c_first;
    return call.cells + (call.training ? frames.first[step - 1] * call.state_row : 0);
  }
  T* reset(std::ptrdiff_t step) const {
    return call.reset + (call.training ? frames.first[step] * call.state_row : 0);
  }
};

// Whether no frame of [from, to) has more than one feature.
inline bool one_place_each(const std::int32_t* places, std::ptrdiff_t from, std::ptrdiff_t to) {
  for (; from < to; ++from)
    if (places[from] == many_places) return false;
  return true;
}

// Where register `vector` of a panel's packed weights lies, at k of `depth`.
template <class T, int vectors>
FASTSEQ_INLINE std::ptrdiff_t packed_at(std::ptrdiff_t vector, std::ptrdiff_t depth, std::ptrdiff_t k) {
  constexpr std::ptrdiff_t L = Vec<T>::lanes, group = group_of(vectors);
  return ((vector / group * depth + k) * group + vector % group) * L;
}

// Sets B of a product to one or more panels of packed weights of `vectors` registers each.
template <int vectors, class T>
FASTSEQ_INLINE void set_packed(Product<T>& q, const T* packed, std::ptrdiff_t depth) {
  q.b = packed;
  q.group = group_of(vectors);
  q.b_row = q.group * Vec<T>::lanes;
  q.b_group = depth * q.b_row;
}

// Keras's (depth, gates * H) kernel -> [panel][group of registers][depth][group][L], registers counted
// through [slots][width], zero where a panel passes the units.
template <class T, Cell cell, int slot_first, int slot_count>
FASTSEQ_OUTLINE void pack_panels(const T* kernel, std::ptrdiff_t depth, std::ptrdiff_t units, Range rows,
                                 Range panels, T* packed) {
  using S = Share<T, cell>;
  const std::ptrdiff_t row = S::layout.gates * units;
  for (std::ptrdiff_t k = rows.begin; k < rows.end; ++k)  // rows outermost: the kernel is read as it lies
    for (int slot = 0; slot < slot_count; ++slot) {
      const T* from = kernel + k * row + S::layout.gate_of_slot[slot_first + slot] * units;
      for (std::ptrdiff_t p = panels.begin; p < panels.end; ++p)
        for (int j = 0; j < S::width; j += S::L) {
          const std::ptrdiff_t left = units - p * S::width - j;
          T* out = packed + p * depth * slot_count * S::width;
          Vec<T>::load_part(from + p * S::width + j, left < 0 ? 0 : left)
              .store(out +
                     packed_at<T, slot_count * S::layout.width>((slot * S::width + j) / S::L, depth, k));
        }
    }
}

// Keras's bias, or null for none -> [panel][slot][width][L].
template <class T, Cell cell>
FASTSEQ_OUTLINE void pack_bias(const T* bias, std::ptrdiff_t units, Range panels, T* packed) {
  using S = Share<T, cell>;
  if (!bias) {
    for (std::ptrdiff_t i = panels.begin * S::frame; i < panels.end * S::frame; ++i) packed[i] = T(0);
    return;
  }
  for (int slot = 0; slot < S::layout.slots; ++slot) {
    // reset_after=True has a second bias: its candidate part stays inside the reset product, the rest is
    // one sum.
    const bool two = cell == Cell::gru_after;
    const std::ptrdiff_t gate = S::layout.gate_of_slot[slot], row = S::layout.gates * units;
    const T first = !two || slot > 0 ? T(1) : T(0), second = two && slot < 3 ? T(1) : T(0);
    for (std::ptrdiff_t p = panels.begin; p < panels.end; ++p)
      for (int j = 0; j < S::width; ++j) {
        const std::ptrdiff_t u = p * S::width + j;
        T value(0);
        if (u < units) {
          const T* both = bias + gate * units + u;
          if (first != T(0)) value += both[0];
          if (second != T(0)) value += both[row];
        }
        packed[p * S::frame + slot * S::width + j] = value;
      }
  }
}

// What of a layer's weights a member packs: rows of the kernels, panels of both, panels of the bias.
struct PackShare {
  Range features, units, panels, bias;
};

template <class T, Cell cell>
FASTSEQ_INLINE void pack_weights(const RnnWeights<T>& to, const T* kernel, const T* recurrent_kernel,
                                 const T* bias, std::ptrdiff_t features, std::ptrdiff_t units,
                                 const PackShare& share) {
  constexpr CellLayout at = cell_layout(cell);
  pack_panels<T, cell, at.input_first, at.input_count>(kernel, features, units, share.features, share.panels,
                                                       to.kernel);
  pack_panels<T, cell, at.open_first, at.open_count>(recurrent_kernel, units, units, share.units,
                                                     share.panels, to.open);
  if constexpr (at.close_count > 0)
    pack_panels<T, cell, at.close_first, at.close_count>(recurrent_kernel, units, units, share.units,
                                                         share.panels, to.close);
  pack_bias<T, cell>(bias, units, share.bias, to.bias);
}

// The same kernel for the way back: [pair of registers of rows][panel, slot, width, L][2][L], zero beyond
// rows and units.
template <class T, Cell cell>
FASTSEQ_OUTLINE void pack_back(const T* kernel, std::ptrdiff_t depth, std::ptrdiff_t units,
                               std::ptrdiff_t all_panels, int slot_first, int slot_count, Range groups,
                               T* packed) {
  using S = Share<T, cell>;
  constexpr std::ptrdiff_t wide = pair_vectors * S::L;
  const std::ptrdiff_t row = S::layout.gates * units;
  const std::ptrdiff_t inner = all_panels * slot_count * S::width;
  for (std::ptrdiff_t g = groups.begin; g < groups.end; ++g) {
    T* out = packed + g * wide * inner;
    // One slot of a panel at a time, all rows of the group: what is written stays in the first level of
    // cache.
    for (std::ptrdiff_t p = 0; p < all_panels; ++p)
      for (int slot = slot_first; slot < slot_first + slot_count; ++slot, out += S::width * wide) {
        const T* from = kernel + S::layout.gate_of_slot[slot] * units + p * S::width;
        const std::ptrdiff_t valid = smaller(units - p * S::width, S::width);
        for (std::ptrdiff_t first = 0; first < wide; first += S::L) {
          const std::ptrdiff_t k = g * wide + first, rows = smaller(depth - k, S::L);
          const T* rows_of_k = from + k * row;
          // No prefetcher of the hardware follows so many rows. One line ahead is the next panel, or the one
          // after it.
          for (std::ptrdiff_t r = 0; r < rows; ++r)
            __builtin_prefetch(rows_of_k + r * row + 64 / sizeof(T), 0, 2);
          for (int j = 0; j < S::width; j += S::L)
            transpose_block(rows_of_k + j, row, rows, valid - j, out + j * wide + first, wide, S::L);
        }
      }
  }
}

}  // namespace FASTSEQ_TARGET
}  // namespace fastseq
