// The LSTM cell, forward beside backward. Hochreiter & Schmidhuber (1997), Gers et al. (2000).
#pragma once

#include "activations.h"

namespace fastseq {
namespace FASTSEQ_TARGET {

template <class V>
struct LstmGates {
  V i, f, g, o;  // Keras's order: input, forget, candidate, output
};

template <class V>
struct LstmStep {
  LstmGates<V> y;
  V c, h;
};

// i, f, o = gate(a.i), gate(a.f), gate(a.o);  g = cell(a.g)
// c = f c_prev + i g;  h = o cell(c)
template <class V, class Activations>
FASTSEQ_HD LstmStep<V> lstm_forward(const LstmGates<V>& a, V c_prev, const Activations& act) {
  const LstmGates<V> y = {act.gate(a.i), act.gate(a.f), act.cell(a.g), act.gate(a.o)};
  const V c = y.f * c_prev + y.i * y.g;
  return {y, c, y.o * act.cell(c)};
}

template <class V>
struct LstmGradients {
  LstmGates<V> a;
  V c_prev;
};

// Gradients of the pre-activations and of c_prev, from those of h and c.
template <class V, class Activations>
FASTSEQ_HD LstmGradients<V> lstm_backward(const LstmGates<V>& y, V c, V c_prev, V dh, V dc_next,
                                          const Activations& act) {
  const V s = act.cell(c);
  const V dc = dc_next + dh * y.o * act.cell_slope(s);
  return {{dc * y.g * act.gate_slope(y.i), dc * c_prev * act.gate_slope(y.f), dc * y.i * act.cell_slope(y.g),
           dh * s * act.gate_slope(y.o)},
          dc * y.f};
}

}  // namespace FASTSEQ_TARGET
}  // namespace fastseq
