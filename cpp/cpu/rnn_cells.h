// Each cell's loop over the rows of one panel at one step, forward beside backward: loads, the equation from
// math/, stores. Everything else about time, threads and products is in rnn_forward.h and rnn_backward.h.
#pragma once

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

template <class T>
FASTSEQ_INLINE Vec<T> load_or_zero(const T* p, std::ptrdiff_t at) {
  return p ? Vec<T>::load(p + at) : Vec<T>(T(0));
}

// Writes h of row r, units [j, j + L) of the panel, wherever it is wanted.
template <class T>
FASTSEQ_INLINE void emit(const PanelStep<T>& s, std::ptrdiff_t r, int j, Vec<T> h) {
  const std::ptrdiff_t at = r * s.state_row + j;
  if (r < s.next_rows) {
    h.store(s.h_next + at);
    if (s.h_mask) (h * Vec<T>::load(s.h_mask + at)).store(s.h_next_in + at);
  } else {
    h.store(s.h_last + at);
  }
  const std::ptrdiff_t left = s.units_left - j;
  if (s.sequence && left > 0)
    for (std::ptrdiff_t n = s.output[r]; n < s.output_end[r]; ++n)
      h.store_part(s.sequence + n * s.sequence_row + j, left);
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

// The gradient that reaches h of row r: from later steps, and from every output that shows it.
template <class T>
FASTSEQ_INLINE Vec<T> gather_dh(const PanelBack<T>& s, std::ptrdiff_t r, int j) {
  Vec<T> dh = Vec<T>::load(s.dh + r * s.state_row + j);
  const std::ptrdiff_t left = s.units_left - j;
  if (s.dsequence && left > 0)
    for (std::ptrdiff_t n = s.output[r]; n < s.output_end[r]; ++n)
      dh += Vec<T>::load_part(s.dsequence + n * s.sequence_row + j, left);
  return dh;
}

// Stores gradients of one register, zeros in the lanes beyond the units: what forward left there may be inf
// with some activations, and 0 * inf must not reach the products.
template <class T>
FASTSEQ_INLINE void put(const PanelBack<T>& s, int j, Vec<T> value, T* to) {
  const std::ptrdiff_t left = s.units_left - j;
  if (left >= Vec<T>::lanes) return value.store(to);
  Vec<T>(T(0)).store(to);
  value.store_part(to, left);
}

// f(activations): Keras's defaults inlined, or those the call names.
template <Cell cell, class T, class F>
FASTSEQ_INLINE void with_activations(const RnnCall<T>& call, F f) {
  const bool standard_gates = cell == Cell::simple || call.recurrent_activation == Activation::sigmoid;
  if (call.activation == Activation::tanh && standard_gates)
    f(StandardActivations{});
  else
    f(NamedActivations{call.recurrent_activation, call.activation});
}

// Visits the registers of a panel's rows: f(row, first unit, gates of that row at that unit's lane).
#define FASTSEQ_EACH_REGISTER(r, j)                          \
  for (std::ptrdiff_t r = s.rows.begin; r < s.rows.end; ++r) \
    for (int j = 0; j < Shared::width; j += Shared::L)

template <class T, Cell cell>
struct CellRows;

template <class T>
struct CellRows<T, Cell::lstm> {
  using V = Vec<T>;
  using Shared = Share<T, Cell::lstm>;

  template <class Act>
  static void forward(const PanelStep<T>& s, const Act& act) {
    constexpr int w = Shared::width;
    FASTSEQ_EACH_REGISTER(r, j) {
      const T* a = s.sums + r * Shared::frame + j;
      const std::ptrdiff_t at = r * s.state_row + j;
      const LstmGates<V> sums = {V::load(a), V::load(a + w), V::load(a + 2 * w), V::load(a + 3 * w)};
      const LstmStep<V> step = lstm_forward(sums, load_or_zero(s.c_prev, at), act);
      T* g = s.gates + r * Shared::frame + j;
      step.y.i.store(g);
      step.y.f.store(g + w);
      step.y.g.store(g + 2 * w);
      step.y.o.store(g + 3 * w);
      step.c.store(s.c + at);
      emit(s, r, j, step.h);
    }
  }

  template <class Act>
  static void backward(const PanelBack<T>& s, const Act& act) {
    constexpr int w = Shared::width;
    FASTSEQ_EACH_REGISTER(r, j) {
      T* g = s.gates + r * Shared::frame + j;
      const std::ptrdiff_t at = r * s.state_row + j;
      const LstmGates<V> y = {V::load(g), V::load(g + w), V::load(g + 2 * w), V::load(g + 3 * w)};
      const LstmGradients<V> d = lstm_backward(y, V::load(s.c + at), load_or_zero(s.c_prev, at),
                                               gather_dh(s, r, j), V::load(s.dc + at), act);
      put(s, j, d.a.i, g);
      put(s, j, d.a.f, g + w);
      put(s, j, d.a.g, g + 2 * w);
      put(s, j, d.a.o, g + 3 * w);
      put(s, j, d.c_prev, s.dc + at);
      V(T(0)).store(s.dh + at);
    }
  }
};

template <class T>
struct CellRows<T, Cell::gru_after> {
  using V = Vec<T>;
  using Shared = Share<T, Cell::gru_after>;

  template <class Act>
  static void forward(const PanelStep<T>& s, const Act& act) {
    constexpr int w = Shared::width;
    FASTSEQ_EACH_REGISTER(r, j) {
      const T* a = s.sums + r * Shared::frame + j;
      const T* x = s.inputs + r * Shared::frame + j;
      const GruAfterGates<V> sums = {V::load(a), V::load(a + w), V::load(a + 2 * w), V::load(x + 3 * w)};
      const GruStep<V> step = gru_after_forward(sums, load_or_zero(s.h_prev, r * s.state_row + j), act);
      T* g = s.gates + r * Shared::frame + j;
      step.y.uh.store(g);
      step.y.z.store(g + w);
      step.y.r.store(g + 2 * w);
      step.y.hh.store(g + 3 * w);
      emit(s, r, j, step.h);
    }
  }

  template <class Act>
  static void backward(const PanelBack<T>& s, const Act& act) {
    constexpr int w = Shared::width;
    FASTSEQ_EACH_REGISTER(r, j) {
      T* g = s.gates + r * Shared::frame + j;
      const std::ptrdiff_t at = r * s.state_row + j;
      const GruAfterGates<V> y = {V::load(g), V::load(g + w), V::load(g + 2 * w), V::load(g + 3 * w)};
      const GruAfterGradients<V> d =
          gru_after_backward(y, load_or_zero(s.h_prev, at), gather_dh(s, r, j), act);
      put(s, j, d.a.uh, g);
      put(s, j, d.a.z, g + w);
      put(s, j, d.a.r, g + 2 * w);
      put(s, j, d.a.hh, g + 3 * w);
      put(s, j, d.h_direct, s.dh + at);
    }
  }
};

template <class T>
struct CellRows<T, Cell::gru_before> {
  using V = Vec<T>;
  using Shared = Share<T, Cell::gru_before>;

  // The half before the product (r h_prev) U_h ...
  template <class Act>
  static void open_forward(const PanelStep<T>& s, const Act& act) {
    constexpr int w = Shared::width;
    FASTSEQ_EACH_REGISTER(r, j) {
      const T* a = s.sums + r * Shared::frame + j;
      const std::ptrdiff_t at = r * s.state_row + j;
      const GruBeforeOpen<V> y =
          gru_before_open(V::load(a), V::load(a + w), load_or_zero(s.reset_in, at), act);
      T* g = s.gates + r * Shared::frame + j;
      y.z.store(g);
      y.r.store(g + w);
      y.reset_h.store(s.reset + at);
    }
  }

  // ... and the half after it.
  template <class Act>
  static void forward(const PanelStep<T>& s, const Act& act) {
    constexpr int w = Shared::width;
    FASTSEQ_EACH_REGISTER(r, j) {
      T* g = s.gates + r * Shared::frame + j;
      const V a_hh = V::load(s.sums + r * Shared::frame + j + 2 * w);
      const GruBeforeClose<V> y =
          gru_before_close(a_hh, V::load(g), load_or_zero(s.h_prev, r * s.state_row + j), act);
      y.hh.store(g + 2 * w);
      emit(s, r, j, y.h);
    }
  }

  template <class Act>
  static void backward(const PanelBack<T>& s, const Act& act) {
    constexpr int w = Shared::width;
    FASTSEQ_EACH_REGISTER(r, j) {
      T* g = s.gates + r * Shared::frame + j;
      const std::ptrdiff_t at = r * s.state_row + j;
      const GruBeforeCloseGradients<V> d = gru_before_close_backward(
          V::load(g + 2 * w), V::load(g), load_or_zero(s.h_prev, at), gather_dh(s, r, j), act);
      put(s, j, d.a_hh, g + 2 * w);
      put(s, j, d.a_z, g);
      put(s, j, d.h_direct, s.dh + at);
    }
  }

  template <class Act>
  static void open_backward(const PanelBack<T>& s, const Act& act) {
    constexpr int w = Shared::width;
    FASTSEQ_EACH_REGISTER(r, j) {
      T* g = s.gates + r * Shared::frame + j;
      const std::ptrdiff_t at = r * s.state_row + j;
      const GruBeforeOpenGradients<V> d = gru_before_open_backward(
          V::load(g + w), load_or_zero(s.reset_in, at), load_or_zero(s.dreset, at), act);
      put(s, j, d.a_r, g + w);
      const bool apart = s.dh_in != s.dh;
      put(s, j, apart ? d.h_direct : V::load(s.dh + at) + d.h_direct, s.dh_in + at);
    }
  }
};

template <class T>
struct CellRows<T, Cell::simple> {
  using V = Vec<T>;
  using Shared = Share<T, Cell::simple>;

  template <class Act>
  static void forward(const PanelStep<T>& s, const Act& act) {
    FASTSEQ_EACH_REGISTER(r, j) {
      const V h = simple_forward(V::load(s.sums + r * Shared::frame + j), act);
      h.store(s.gates + r * Shared::frame + j);
      emit(s, r, j, h);
    }
  }

  template <class Act>
  static void backward(const PanelBack<T>& s, const Act& act) {
    FASTSEQ_EACH_REGISTER(r, j) {
      T* g = s.gates + r * Shared::frame + j;
      put(s, j, simple_backward(V::load(g), gather_dh(s, r, j), act), g);
      V(T(0)).store(s.dh + r * s.state_row + j);
    }
  }
};

#undef FASTSEQ_EACH_REGISTER

}  // namespace FASTSEQ_TARGET
}  // namespace fastseq
