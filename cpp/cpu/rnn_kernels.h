// What cpp/ops/rnn.cpp hands to the recurrent kernels: one struct for a call, and the table of functions.
//
// Letters: N batch, T steps, D features, H units, L lanes of a register.
// A frame is one valid (row, step) pair. Rows are the sequences sorted by their number of valid frames,
// longest first, and each step's frames are its first rows: masks, lengths and go_backwards are all told by
// the frame lists, and no kernel knows of them.
// A band is some neighbouring rows whose frames lie together, and with them all that is kept of each frame:
// what one core writes is then far from what another writes. Side by side, a step's rows of two cores had
// each core's prefetchers fetch lines of the other, which both then waited for.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/team.h"
#include "math/activations.h"

namespace fastseq {

enum class Cell : int { lstm, gru_after, gru_before, simple };

// How a cell's gates lie: a panel holds `slots` x `width` registers per frame, for width * L units. Slots
// [input_first, + input_count) take part in x W; those of `open` in the recurrent product, `close` in the
// second one (reset_after=False only). gate_of_slot is the place in Keras's kernels.
struct CellLayout {
  int slots, width;
  int input_first, input_count;
  int open_first, open_count;
  int close_first, close_count;
  int gates;  // in Keras's kernels
  int gate_of_slot[4];
};

constexpr CellLayout cell_layout(Cell cell) {
  switch (cell) {
    case Cell::lstm:
      return {4, 1, 0, 4, 0, 4, 0, 0, 4, {0, 1, 2, 3}};  // i f g o
    case Cell::gru_after:
      return {4, 1, 1, 3, 0, 3, 0, 0, 3, {2, 0, 1, 2}};  // uh z r hh
    case Cell::gru_before:
      return {3, 2, 0, 3, 0, 2, 2, 1, 3, {0, 1, 2, 0}};  // z r hh
    default:
      return {1, 4, 0, 1, 0, 1, 0, 0, 1, {0, 0, 0, 0}};
  }
}

// A frame of one-hot or rarer features needs one row of the kernel, not a product with all of it.
constexpr std::int32_t no_place = -1, many_places = -2;

// The frames of a band, counted from its first; rows are counted from its first as well.
struct RnnFrames {
  std::ptrdiff_t steps;                // of the longest row
  std::ptrdiff_t count;                // of all frames
  const std::ptrdiff_t* first;         // (steps + 1) each step's first frame
  const std::ptrdiff_t* row_steps;     // (N) frames of each row, descending
  const std::ptrdiff_t* row_sequence;  // (N) the sequence that each row is
  const std::ptrdiff_t* input;         // (count) n * T + t of x
  const std::ptrdiff_t* output;        // (count) n * T + t of the output sequence
  const std::ptrdiff_t* output_end;    // (count) outputs up to here (exclusive) repeat this one
};

struct RnnBand {
  RnnFrames frames;
  std::ptrdiff_t first_row, rows;
};

// The row at which part `index` of `count` begins: parts have equal numbers of frames, not of rows. Static:
// each object has its own, for its own instruction set.
static inline std::ptrdiff_t row_of_part(const std::ptrdiff_t* row_steps, std::ptrdiff_t rows,
                                         std::ptrdiff_t frames, std::ptrdiff_t index, std::ptrdiff_t count) {
  if (index >= count) return rows;
  std::ptrdiff_t row = 0;
  for (std::ptrdiff_t seen = 0; row < rows && seen < frames * index / count; ++row) seen += row_steps[row];
  return row;
}

// Sizes and options of one call, and all that forward keeps for backward. Strides are in elements.
template <class T>
struct RnnCall {
  Cell cell;
  Activation activation, recurrent_activation;
  const RnnBand* band;
  int bands;              // at least 1
  std::ptrdiff_t frames;  // of all bands, also in the call of one
  std::ptrdiff_t batch, features, units;
  std::ptrdiff_t panels;              // of width * L units
  std::ptrdiff_t chunk_steps_frames;  // of a band, that one chunk of steps aims at
  std::ptrdiff_t band_frames;         // between bands: those of the largest, without training of its chunks
  std::ptrdiff_t state_row;           // elements between rows of states: at least panels * width * L
  std::ptrdiff_t gate_panel;          // elements between panels of gates
  bool repeat;                        // x is (N, D), used at every step
  bool training;  // keep all frames for backward; otherwise buffers hold one chunk or two steps
  bool columns;   // members share units, not rows
  double dropout, recurrent_dropout;
  std::uint64_t seed;

  const T *x, *kernel, *recurrent_kernel, *bias;  // Keras's layouts; bias may be null
  const T *h0, *c0;                               // (N, H) or null

  // Of each band, one after the other; (frames) and (N) are the band's.
  T* inputs;  // (frames, D) x in the order of frames, dropped where asked; (N, D) when repeated
  std::int32_t*
      places;   // (frames) the one feature of a frame that is not 0, or no_place, or many_places; or null
  T* gates;     // [panel][frame][slot][width][L]
  T* repeated;  // [panel][row][slot][width][L]: x W + b of a repeated x, or null
  T* h_in;      // (frames, state_row) what enters the recurrent product at each frame
  T* h_prev;    // the same before recurrent dropout; equals h_in without it
  T* cells;     // (frames, state_row) c after each frame (LSTM)
  T* c_first;   // (N, state_row) c0 by rows, or null
  T* reset;     // (frames, state_row) r * h (reset_after=False)
  T* x_mask;    // (N, D) input dropout factors by rows, or null
  T* h_mask;    // (N, state_row) recurrent dropout factors, or null
};

// A layer's weights as the kernels read them.
template <class T>
struct RnnWeights {
  T* kernel;  // [panel][group of registers][D][group][L]
  T* open;    // the same of the open slots, of H
  T* close;   // the same of the close slots
  T* bias;    // [panel][slot][width][L]
};

template <class T>
struct RnnForward {
  RnnCall<T> call;
  RnnWeights<T> weights;
  bool packed;           // the weights are already as they should be
  T* h_last;             // (N, state_row)
  T* row_sums;           // [member][panel][slot][width][L]: for steps of one row
  T* sequence;           // (N, T, H) or null; zeroed by the caller where no frame writes
  T *h_final, *c_final;  // (N, H)
};

template <class T>
struct RnnBackward {
  RnnCall<T> call;
  const T* dsequence;            // (N, T, H) or null
  const T *dh_final, *dc_final;  // (N, H) or null
  bool want_dh0;
  T* packed_kernel_back;  // [pair of registers of features][panel, input slots, width, L][2][L]
  T* packed_open_back;    // [pair of registers of units][panel, open slots, width, L][2][L]
  T* packed_close_back;
  T* dh;       // (N, state_row)
  T* dh_in;    // (N, state_row): gradient of h_in or of r * h, where a cell needs it apart
  T* dc;       // (N, state_row)
  T* dx_rows;  // [member][chunk frames][feature_row]
  std::ptrdiff_t feature_row, dx_member;  // elements of one row, of one member's part
  T* drepeated;  // [panel][row][slot][width][L]: gate gradients summed over steps, or null
  T *dkernel_panels, *dopen_panels, *dclose_panels;  // [band][panel][D or H][slots][width][L]
  T* dbias_panels;                                   // [band][panel][slot][width][L]
  // Outputs; null where not wanted. dx is zeroed by the caller where no frame writes.
  T *dx, *dkernel, *drecurrent_kernel, *dbias, *dh0, *dc0;
  bool add_kernel, add_recurrent, add_bias;  // add to what is there; the others are assigned
};

// A layer whose weights stay packed from call to call.
template <class T>
struct RnnPacked {
  Cell cell;
  Activation activation, recurrent_activation;
  std::ptrdiff_t features, units, panels;
  RnnWeights<T> weights;
};

// One step. Members share units: they meet only in a cell of two products.
template <class T>
struct RnnStep {
  RnnPacked<T> packed;
  std::ptrdiff_t batch;
  const T* x;             // (N, D)
  const T *h, *c;         // (N, H) or null for zeros
  T *output, *h_out;      // (N, H), both h
  T* c_out;               // (N, H), LSTM only
  std::ptrdiff_t units;   // elements between rows of what follows: panels * width * L
  T* sums;                // [panel][N][slot][width][L]
  T *h_before, *h_after;  // (N, units)
  T *c_before, *c_after;  // LSTM only
  T* reset;               // r * h (reset_after=False)
};

template <class T>
struct RnnTable {
  void (*forward)(const RnnForward<T>&, const Team&);
  void (*backward)(const RnnBackward<T>&, const Team&);
  void (*pack)(const RnnPacked<T>&, const T* kernel, const T* recurrent_kernel, const T* bias);
  void (*step)(const RnnStep<T>&, const Team&);
};

struct RnnKernels {
  RnnTable<float> f32;
  RnnTable<double> f64;
  int pair_vectors;  // registers that packed weights keep together
};

}  // namespace fastseq
