// The simple recurrent cell, forward beside backward. Elman (1990).
#pragma once

#include "activations.h"

namespace fastseq {
namespace FASTSEQ_TARGET {

// h = cell(a)
template <class V, class Activations>
FASTSEQ_HD V simple_forward(V a, const Activations& act) {
  return act.cell(a);
}

template <class V, class Activations>
FASTSEQ_HD V simple_backward(V h, V dh, const Activations& act) {
  return dh * act.cell_slope(h);
}

}  // namespace FASTSEQ_TARGET
}  // namespace fastseq
