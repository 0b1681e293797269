// The GRU cell in both of Keras's forms, forward beside backward. Cho et al. (2014).
#pragma once

#include "activations.h"

namespace fastseq {
namespace FASTSEQ_TARGET {

// reset_after=True: hh = cell(xh + r uh) where uh = h_prev U_h + b_1;  h = z h_prev + (1 - z) hh
template <class V>
struct GruAfterGates {
  V uh, z, r, hh;
};

template <class V>
struct GruStep {
  GruAfterGates<V> y;
  V h;
};

template <class V, class Activations>
FASTSEQ_HD GruStep<V> gru_after_forward(const GruAfterGates<V>& a, V h_prev, const Activations& act) {
  const V z = act.gate(a.z), r = act.gate(a.r), hh = act.cell(a.hh + r * a.uh);
  return {{a.uh, z, r, hh}, hh + z * (h_prev - hh)};
}

template <class V>
struct GruAfterGradients {
  GruAfterGates<V> a;
  V h_direct;  // what reaches h_prev past the recurrent product
};

template <class V, class Activations>
FASTSEQ_HD GruAfterGradients<V> gru_after_backward(const GruAfterGates<V>& y, V h_prev, V dh,
                                                   const Activations& act) {
  const V one(typename V::Scalar(1));
  const V dhh = dh * (one - y.z) * act.cell_slope(y.hh);
  return {{dhh * y.r, dh * (h_prev - y.hh) * act.gate_slope(y.z), dhh * y.uh * act.gate_slope(y.r), dhh},
          dh * y.z};
}

// reset_after=False, in two halves around the product (r h_prev) U_h:  hh = cell(xh + (r h_prev) U_h)
template <class V>
struct GruBeforeOpen {
  V z, r, reset_h;
};

template <class V, class Activations>
FASTSEQ_HD GruBeforeOpen<V> gru_before_open(V a_z, V a_r, V h_prev, const Activations& act) {
  const V r = act.gate(a_r);
  return {act.gate(a_z), r, r * h_prev};
}

template <class V>
struct GruBeforeClose {
  V hh, h;
};

template <class V, class Activations>
FASTSEQ_HD GruBeforeClose<V> gru_before_close(V a_hh, V z, V h_prev, const Activations& act) {
  const V hh = act.cell(a_hh);
  return {hh, hh + z * (h_prev - hh)};
}

template <class V>
struct GruBeforeCloseGradients {
  V a_hh, a_z, h_direct;
};

template <class V, class Activations>
FASTSEQ_HD GruBeforeCloseGradients<V> gru_before_close_backward(V hh, V z, V h_prev, V dh,
                                                                const Activations& act) {
  const V one(typename V::Scalar(1));
  return {dh * (one - z) * act.cell_slope(hh), dh * (h_prev - hh) * act.gate_slope(z), dh * z};
}

template <class V>
struct GruBeforeOpenGradients {
  V a_r, h_direct;
};

template <class V, class Activations>
FASTSEQ_HD GruBeforeOpenGradients<V> gru_before_open_backward(V r, V h_prev, V dreset_h,
                                                              const Activations& act) {
  return {dreset_h * h_prev * act.gate_slope(r), dreset_h * r};
}

}  // namespace FASTSEQ_TARGET
}  // namespace fastseq
