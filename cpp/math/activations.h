// Activations by name, forward beside the derivative. V is float, double or a SIMD register; select, min,
// max, exp, tanh, sigmoid, abs and log are found where V comes from.
#pragma once

#include "target.h"

namespace fastseq {

// Those whose derivative follows from their output alone come first: they may run inside a recurrent cell.
enum class Activation : int {
  linear,
  tanh,
  sigmoid,
  relu,
  hard_sigmoid,
  relu6,
  softsign,
  softplus,
  elu,
  selu,
  exponential,
  leaky_relu,
  count_from_output
};

namespace FASTSEQ_TARGET {

constexpr double selu_scale = 1.0507009873554805, selu_alpha = 1.6732632423543772;  // Klambauer et al. (2017)
constexpr double leaky_slope = 0.2;                                                 // Keras's default

template <class V>
FASTSEQ_HD V activate(Activation name, V x) {
  using S = typename V::Scalar;
  const V zero(S(0)), one(S(1));
  switch (name) {
    case Activation::linear:
      return x;
    case Activation::tanh:
      return tanh(x);
    case Activation::sigmoid:
      return sigmoid(x);
    case Activation::relu:
      return max(zero, x);
    case Activation::hard_sigmoid:
      return min(one, max(zero, x * V(S(1) / S(6)) + V(S(0.5))));
    case Activation::relu6:
      return min(V(S(6)), max(zero, x));
    case Activation::softsign:
      return x / (one + abs(x));
    case Activation::softplus:
      return max(zero, x) + log(one + exp(-abs(x)));
    case Activation::elu:
      return select(x > zero, x, exp(x) - one);
    case Activation::selu:
      return V(S(selu_scale)) * select(x > zero, x, V(S(selu_alpha)) * (exp(x) - one));
    case Activation::exponential:
      return exp(x);
    case Activation::leaky_relu:
      return select(x > zero, x, x * V(S(leaky_slope)));
    default:
      return x;
  }
}

// d activate(x) / dx, given y = activate(x).
template <class V>
FASTSEQ_HD V activation_slope(Activation name, V y) {
  using S = typename V::Scalar;
  const V zero(S(0)), one(S(1));
  switch (name) {
    case Activation::linear:
      return one;
    case Activation::tanh:
      return one - y * y;
    case Activation::sigmoid:
      return y * (one - y);
    case Activation::relu:
      return select(y > zero, one, zero);
    case Activation::hard_sigmoid:
      return select(y > zero, select(y < one, V(S(1) / S(6)), zero), zero);
    case Activation::relu6:
      return select(y > zero, select(y < V(S(6)), one, zero), zero);
    case Activation::softsign:
      return (one - abs(y)) * (one - abs(y));
    case Activation::softplus:
      return one - exp(-y);
    case Activation::elu:
      return select(y > zero, one, y + one);
    case Activation::selu:
      return select(y > zero, V(S(selu_scale)), y + V(S(selu_scale * selu_alpha)));
    case Activation::exponential:
      return y;
    case Activation::leaky_relu:
      return select(y > zero, one, V(S(leaky_slope)));
    default:
      return one;
  }
}

// Out of line: a cell calls these in many places, and the choice by name costs more code than the call.
template <class V>
FASTSEQ_OUT_OF_LINE V activate_named(Activation name, V x) {
  return activate(name, x);
}
template <class V>
FASTSEQ_OUT_OF_LINE V slope_named(Activation name, V y) {
  return activation_slope(name, y);
}

// The pair a recurrent cell uses: Keras's defaults inlined, or any two by name.
struct StandardActivations {
  template <class V>
  FASTSEQ_HD V gate(V x) const {
    return sigmoid(x);
  }
  template <class V>
  FASTSEQ_HD V gate_slope(V y) const {
    return y * (V(typename V::Scalar(1)) - y);
  }
  template <class V>
  FASTSEQ_HD V cell(V x) const {
    return tanh(x);
  }
  template <class V>
  FASTSEQ_HD V cell_slope(V y) const {
    return V(typename V::Scalar(1)) - y * y;
  }
};

struct NamedActivations {
  Activation gate_name, cell_name;
  template <class V>
  FASTSEQ_HD V gate(V x) const {
    return activate_named(gate_name, x);
  }
  template <class V>
  FASTSEQ_HD V gate_slope(V y) const {
    return slope_named(gate_name, y);
  }
  template <class V>
  FASTSEQ_HD V cell(V x) const {
    return activate_named(cell_name, x);
  }
  template <class V>
  FASTSEQ_HD V cell_slope(V y) const {
    return slope_named(cell_name, y);
  }
};

}  // namespace FASTSEQ_TARGET
}  // namespace fastseq
