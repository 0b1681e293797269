// Each cell's loop over the rows of one panel at one step, forward beside backward: loads, the equation from
// math/, stores. Everything else about time, threads and products is in rnn_forward.h and rnn_backward.h.
#pragma once

#include "cpu/pair.h"
#include "cpu/rnn_common.h"
#include "math/gru_cell.h"
#include "math/lstm_cell.h"
#include "math/simple_cell.h"

namespace fastseq {
namespace FASTSEQ_TARGET {

// One panel of one step. Pointers stand at row 0 of the step and unit 0 of the panel; null where there is
// nothing.
template <class T>
struct PanelStep {
  Range rows;
  std::ptrdiff_t state_row;
  const T* sums;    // gate sums after the recurrent product
  const T* inputs;  // gate sums of slots that take no part in it
  T* gates;
  const T *h_prev, *c_prev;
  T *c, *reset;
  const T* reset_in;  // what reset multiplies: h_prev after recurrent dropout
  // Where h goes: rows before next_rows to the next step, the others have ended.
  std::ptrdiff_t next_rows;
  T *h_next, *h_next_in, *h_last;
  const T* h_mask;  // null without recurrent dropout: h_next_in is then h_next
  T* sequence;      // null when nobody wants it
  const std::ptrdiff_t *output, *output_end;
  std::ptrdiff_t sequence_row, units_left;
};

// Registers at p + row * r + j for the rows that V holds, from row r on; zeros where there is no p.
template <class V, class T>
FASTSEQ_INLINE V load_at(const T* p, std::ptrdiff_t row, std::ptrdiff_t r, int j) {
  return RowsOf<V>::load(p + r * row + j, row);
}
template <class V, class T>
FASTSEQ_INLINE V load_or_zero(const T* p, std::ptrdiff_t row, std::ptrdiff_t r, int j) {
  return p ? load_at<V>(p, row, r, j) : V(T(0));
}
template <class V, class T>
FASTSEQ_INLINE void store_at(const V& value, T* p, std::ptrdiff_t row, std::ptrdiff_t r, int j) {
  RowsOf<V>::store(value, p + r * row + j, row);
}

// Rows between the one in hand and the one whose lines are fetched meanwhile: rows of states lie too far
// apart for the hardware's prefetchers, and one store that waits for its line holds up all that come after
// it.
constexpr std::ptrdiff_t rows_ahead = 8;

template <int write, class V, class T>
FASTSEQ_INLINE void fetch_ahead(const T* p, std::ptrdiff_t row, std::ptrdiff_t r, int j) {
  for (int i = 0; i < RowsOf<V>::count; ++i) __builtin_prefetch(p + (r + i + rows_ahead) * row + j, write, 3);
}

// Writes h of row r (and the next), units [j, j + L) of the panel, wherever it is wanted.
template <class T, class V>
FASTSEQ_INLINE void emit(const PanelStep<T>& s, std::ptrdiff_t first, int j, const V& rows) {
  if (s.h_next) fetch_ahead<1, V>(s.h_next, s.state_row, first, j);
  each_row_of(rows, [&](int i, const Vec<T>& h) FASTSEQ_INLINED {
    const std::ptrdiff_t r = first + i, at = r * s.state_row + j;
    if (r < s.next_rows) {
      h.store(s.h_next + at);
      if (s.h_mask) (h * Vec<T>::load(s.h_mask + at)).store(s.h_next_in + at);
    } else {
      h.store(s.h_last + at);
    }
    const std::ptrdiff_t left = s.units_left - j;
    if (s.sequence && left > 0)
      for (std::ptrdiff_t n = s.output[r]; n < s.output_end[r]; ++n) {
        // This row's line of the next step: a step's lines lie a sequence apart, too far for the hardware
        // to see, and waiting for each to be owned took up to a fifth of a small layer.
        __builtin_prefetch(s.sequence + (n + 1) * s.sequence_row + j, 1, 3);
        h.store_part(s.sequence + n * s.sequence_row + j, left);
      }
  });
}

// One panel of one step on the way back.
template <class T>
struct PanelBack {
  Range rows;
  std::ptrdiff_t state_row;
  T* gates;  // activations in, gradients of their sums out
  const T *h_prev, *c, *c_prev;
  const T* reset_in;
  const T* dreset;  // gradient of r * h
  T *dh, *dc;       // in: gradients from later steps; out: what passes the recurrent product by
  T* dh_in;         // where the gradient of reset_in goes: dh itself without recurrent dropout
  const T* dsequence;
  const std::ptrdiff_t *output, *output_end;
  std::ptrdiff_t sequence_row, units_left;
};

// The gradient that reaches h of row r (and the next): from later steps, and from every output that shows it.
template <class V, class T>
FASTSEQ_INLINE V gather_dh(const PanelBack<T>& s, std::ptrdiff_t first, int j) {
  V rows = load_at<V>(s.dh, s.state_row, first, j);
  const std::ptrdiff_t left = s.units_left - j;
  if (s.dsequence && left > 0)
    each_row_of(rows, [&](int i, Vec<T>& dh) FASTSEQ_INLINED {
      for (std::ptrdiff_t n = s.output[first + i]; n < s.output_end[first + i]; ++n) {
        __builtin_prefetch(s.dsequence + (n - 1) * s.sequence_row + j, 0, 3);  // of the step before
        dh += Vec<T>::load_part(s.dsequence + n * s.sequence_row + j, left);
      }
    });
  return rows;
}

// Stores gradients of the rows, zeros in the lanes beyond the units: what forward left there may be inf with
// some activations, and 0 * inf must not reach the products.
template <class T, class V>
FASTSEQ_INLINE void put(const PanelBack<T>& s, int j, const V& rows, T* to, std::ptrdiff_t row) {
  const std::ptrdiff_t left = s.units_left - j;
  if (left >= Vec<T>::lanes) return RowsOf<V>::store(rows, to, row);
  each_row_of(rows, [&](int i, const Vec<T>& value) FASTSEQ_INLINED {
    Vec<T>(T(0)).store(to + i * row);
    if (left > 0) value.store_part(to + i * row, left);
  });
}

// f(activations): Keras's defaults inlined, or those the call names.
template <Cell cell, class Call, class F>
FASTSEQ_INLINE void with_activations(const Call& call, F f) {
  const bool standard_gates = cell == Cell::simple || call.recurrent_activation == Activation::sigmoid;
  if (call.activation == Activation::tanh && standard_gates)
    f(StandardActivations{});
  else
    f(NamedActivations{call.recurrent_activation, call.activation});
}

// Visits the registers of a panel's rows, two rows at a time: f(V(), row, first unit).
template <class Shared, class T, class F>
FASTSEQ_INLINE void each_register(Range rows, F f) {
  using V = Vec<T>;
  std::ptrdiff_t r = rows.begin;
  for (; r + 2 <= rows.end; r += 2)
    for (int j = 0; j < Shared::width; j += Shared::L) f(Pair<V>(), r, j);
  if (r < rows.end)
    for (int j = 0; j < Shared::width; j += Shared::L) f(V(), r, j);
}

template <class T, Cell cell>
struct CellRows;

template <class T>
struct CellRows<T, Cell::lstm> {
  using Shared = Share<T, Cell::lstm>;
  static constexpr int w = Shared::width, frame = Shared::frame;

  template <class Act>
  static void forward(const PanelStep<T>& s, const Act& act) {
    each_register<Shared, T>(s.rows, [&](auto kind, std::ptrdiff_t r, int j) FASTSEQ_INLINED {
      using V = decltype(kind);
      const auto sum = [&](int slot) FASTSEQ_INLINED { return load_at<V>(s.sums, frame, r, slot * w + j); };
      fetch_ahead<1, V>(s.c, s.state_row, r, j);
      const LstmGates<V> sums = {sum(0), sum(1), sum(2), sum(3)};
      const LstmStep<V> step = lstm_forward(sums, load_or_zero<V>(s.c_prev, s.state_row, r, j), act);
      store_at(step.y.i, s.gates, frame, r, j);
      store_at(step.y.f, s.gates, frame, r, w + j);
      store_at(step.y.g, s.gates, frame, r, 2 * w + j);
      store_at(step.y.o, s.gates, frame, r, 3 * w + j);
      store_at(step.c, s.c, s.state_row, r, j);
      emit(s, r, j, step.h);
    });
  }

  template <class Act>
  static void backward(const PanelBack<T>& s, const Act& act) {
    each_register<Shared, T>(s.rows, [&](auto kind, std::ptrdiff_t r, int j) FASTSEQ_INLINED {
      using V = decltype(kind);
      const auto gate = [&](int slot) FASTSEQ_INLINED { return load_at<V>(s.gates, frame, r, slot * w + j); };
      const LstmGates<V> y = {gate(0), gate(1), gate(2), gate(3)};
      const LstmGradients<V> d =
          lstm_backward(y, load_at<V>(s.c, s.state_row, r, j), load_or_zero<V>(s.c_prev, s.state_row, r, j),
                        gather_dh<V>(s, r, j), load_at<V>(s.dc, s.state_row, r, j), act);
      T* g = s.gates + r * frame + j;
      put(s, j, d.a.i, g, frame);
      put(s, j, d.a.f, g + w, frame);
      put(s, j, d.a.g, g + 2 * w, frame);
      put(s, j, d.a.o, g + 3 * w, frame);
      put(s, j, d.c_prev, s.dc + r * s.state_row + j, s.state_row);
      store_at(V(T(0)), s.dh, s.state_row, r, j);
    });
  }
};

template <class T>
struct CellRows<T, Cell::gru_after> {
  using Shared = Share<T, Cell::gru_after>;
  static constexpr int w = Shared::width, frame = Shared::frame;

  template <class Act>
  static void forward(const PanelStep<T>& s, const Act& act) {
    each_register<Shared, T>(s.rows, [&](auto kind, std::ptrdiff_t r, int j) FASTSEQ_INLINED {
      using V = decltype(kind);
      const auto sum = [&](int slot) FASTSEQ_INLINED { return load_at<V>(s.sums, frame, r, slot * w + j); };
      const GruAfterGates<V> sums = {sum(0), sum(1), sum(2), load_at<V>(s.inputs, frame, r, 3 * w + j)};
      const GruStep<V> step = gru_after_forward(sums, load_or_zero<V>(s.h_prev, s.state_row, r, j), act);
      store_at(step.y.uh, s.gates, frame, r, j);
      store_at(step.y.z, s.gates, frame, r, w + j);
      store_at(step.y.r, s.gates, frame, r, 2 * w + j);
      store_at(step.y.hh, s.gates, frame, r, 3 * w + j);
      emit(s, r, j, step.h);
    });
  }

  template <class Act>
  static void backward(const PanelBack<T>& s, const Act& act) {
    each_register<Shared, T>(s.rows, [&](auto kind, std::ptrdiff_t r, int j) FASTSEQ_INLINED {
      using V = decltype(kind);
      const auto gate = [&](int slot) FASTSEQ_INLINED { return load_at<V>(s.gates, frame, r, slot * w + j); };
      const GruAfterGates<V> y = {gate(0), gate(1), gate(2), gate(3)};
      const GruAfterGradients<V> d =
          gru_after_backward(y, load_or_zero<V>(s.h_prev, s.state_row, r, j), gather_dh<V>(s, r, j), act);
      T* g = s.gates + r * frame + j;
      put(s, j, d.a.uh, g, frame);
      put(s, j, d.a.z, g + w, frame);
      put(s, j, d.a.r, g + 2 * w, frame);
      put(s, j, d.a.hh, g + 3 * w, frame);
      put(s, j, d.h_direct, s.dh + r * s.state_row + j, s.state_row);
    });
  }
};

template <class T>
struct CellRows<T, Cell::gru_before> {
  using Shared = Share<T, Cell::gru_before>;
  static constexpr int w = Shared::width, frame = Shared::frame;

  // The half before the product (r h_prev) U_h ...
  template <class Act>
  static void open_forward(const PanelStep<T>& s, const Act& act) {
    each_register<Shared, T>(s.rows, [&](auto kind, std::ptrdiff_t r, int j) FASTSEQ_INLINED {
      using V = decltype(kind);
      fetch_ahead<1, V>(s.reset, s.state_row, r, j);
      const GruBeforeOpen<V> y =
          gru_before_open(load_at<V>(s.sums, frame, r, j), load_at<V>(s.sums, frame, r, w + j),
                          load_or_zero<V>(s.reset_in, s.state_row, r, j), act);
      store_at(y.z, s.gates, frame, r, j);
      store_at(y.r, s.gates, frame, r, w + j);
      store_at(y.reset_h, s.reset, s.state_row, r, j);
    });
  }

  // ... and the half after it.
  template <class Act>
  static void forward(const PanelStep<T>& s, const Act& act) {
    each_register<Shared, T>(s.rows, [&](auto kind, std::ptrdiff_t r, int j) FASTSEQ_INLINED {
      using V = decltype(kind);
      const GruBeforeClose<V> y =
          gru_before_close(load_at<V>(s.sums, frame, r, 2 * w + j), load_at<V>(s.gates, frame, r, j),
                           load_or_zero<V>(s.h_prev, s.state_row, r, j), act);
      store_at(y.hh, s.gates, frame, r, 2 * w + j);
      emit(s, r, j, y.h);
    });
  }

  template <class Act>
  static void backward(const PanelBack<T>& s, const Act& act) {
    each_register<Shared, T>(s.rows, [&](auto kind, std::ptrdiff_t r, int j) FASTSEQ_INLINED {
      using V = decltype(kind);
      const GruBeforeCloseGradients<V> d = gru_before_close_backward(
          load_at<V>(s.gates, frame, r, 2 * w + j), load_at<V>(s.gates, frame, r, j),
          load_or_zero<V>(s.h_prev, s.state_row, r, j), gather_dh<V>(s, r, j), act);
      T* g = s.gates + r * frame + j;
      put(s, j, d.a_hh, g + 2 * w, frame);
      put(s, j, d.a_z, g, frame);
      put(s, j, d.h_direct, s.dh + r * s.state_row + j, s.state_row);
    });
  }

  template <class Act>
  static void open_backward(const PanelBack<T>& s, const Act& act) {
    const bool apart = s.dh_in != s.dh;
    each_register<Shared, T>(s.rows, [&](auto kind, std::ptrdiff_t r, int j) FASTSEQ_INLINED {
      using V = decltype(kind);
      const GruBeforeOpenGradients<V> d = gru_before_open_backward(
          load_at<V>(s.gates, frame, r, w + j), load_or_zero<V>(s.reset_in, s.state_row, r, j),
          load_or_zero<V>(s.dreset, s.state_row, r, j), act);
      put(s, j, d.a_r, s.gates + r * frame + w + j, frame);
      const V passed = apart ? d.h_direct : load_at<V>(s.dh, s.state_row, r, j) + d.h_direct;
      put(s, j, passed, s.dh_in + r * s.state_row + j, s.state_row);
    });
  }
};

template <class T>
struct CellRows<T, Cell::simple> {
  using Shared = Share<T, Cell::simple>;
  static constexpr int frame = Shared::frame;

  template <class Act>
  static void forward(const PanelStep<T>& s, const Act& act) {
    each_register<Shared, T>(s.rows, [&](auto kind, std::ptrdiff_t r, int j) FASTSEQ_INLINED {
      const auto h = simple_forward(load_at<decltype(kind)>(s.sums, frame, r, j), act);
      store_at(h, s.gates, frame, r, j);
      emit(s, r, j, h);
    });
  }

  template <class Act>
  static void backward(const PanelBack<T>& s, const Act& act) {
    each_register<Shared, T>(s.rows, [&](auto kind, std::ptrdiff_t r, int j) FASTSEQ_INLINED {
      using V = decltype(kind);
      const V h = load_at<V>(s.gates, frame, r, j);
      put(s, j, simple_backward(h, gather_dh<V>(s, r, j), act), s.gates + r * frame + j, frame);
      store_at(V(T(0)), s.dh, s.state_row, r, j);
    });
  }
};

}  // namespace FASTSEQ_TARGET
}  // namespace fastseq
