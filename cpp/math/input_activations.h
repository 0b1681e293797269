// Activations whose derivative needs the input, or that have parameters; forward beside the derivative.
#pragma once

#include "activations.h"
#include "functions.h"

namespace fastseq {

enum class InputActivation : int {
  gelu,       // Hendrycks & Gimpel (2016)
  gelu_tanh,  // its approximation
  silu,       // Elfwing et al. (2017)
  hard_silu,  // Howard et al. (2019)
  mish,       // Misra (2019)
  log_sigmoid,
  hard_tanh,
  piecewise,    // x above c, a (x - c) below, at most b
  exponential,  // x above 0, a (exp(b x) - 1) below
  count
};

namespace FASTSEQ_TARGET {

// Parameters of the last two.
template <class V>
struct ActivationParameters {
  V a, b, c;
};

constexpr double sqrt_half = 0.70710678118654752440, inverse_sqrt_2pi = 0.39894228040143267794;
constexpr double gelu_tanh_scale = 0.79788456080286535588, gelu_tanh_cubic = 0.044715;  // sqrt(2 / pi)

template <class V>
FASTSEQ_HD V softplus(V x) {
  return max(V(typename V::Scalar(0)), x) + log1p(exp(-abs(x)));
}

template <class V>
FASTSEQ_HD V gelu_tanh_inner(V x) {
  using S = typename V::Scalar;
  return tanh(V(S(gelu_tanh_scale)) * x * (V(S(1)) + V(S(gelu_tanh_cubic)) * x * x));
}

template <class V>
FASTSEQ_HD V hard_sigmoid(V x) {
  return activate(Activation::hard_sigmoid, x);
}

template <class V>
FASTSEQ_HD V activate(InputActivation name, V x, const ActivationParameters<V>& p) {
  using S = typename V::Scalar;
  const V zero(S(0)), one(S(1)), half(S(0.5));
  switch (name) {
    case InputActivation::gelu:
      return half * x * erfc(x * V(S(-sqrt_half)));
    case InputActivation::gelu_tanh:
      return half * x * (one + gelu_tanh_inner(x));
    case InputActivation::silu:
      return x * sigmoid(x);
    case InputActivation::hard_silu:
      return x * hard_sigmoid(x);
    case InputActivation::mish:
      return x * tanh(softplus(x));
    case InputActivation::log_sigmoid:
      return -softplus(-x);
    case InputActivation::hard_tanh:
      return min(one, max(-one, x));
    case InputActivation::piecewise:
      // a = 0 must give 0 for -inf too
      return min(p.b, select(x > p.c, x, select(p.a == zero, select(x == x, zero, x), p.a * (x - p.c))));
    case InputActivation::exponential:
      return select(x > zero, x, p.a * (exp(p.b * x) - one));
    default:
      return x;
  }
}

// d activate(x) / dx
template <class V>
FASTSEQ_HD V activation_slope(InputActivation name, V x, const ActivationParameters<V>& p) {
  using S = typename V::Scalar;
  const V zero(S(0)), one(S(1)), half(S(0.5));
  switch (name) {
    case InputActivation::gelu:
      return half * erfc(x * V(S(-sqrt_half))) + x * V(S(inverse_sqrt_2pi)) * exp(-half * x * x);
    case InputActivation::gelu_tanh: {
      const V t = gelu_tanh_inner(x);
      const V inner = V(S(gelu_tanh_scale)) * (one + V(S(3 * gelu_tanh_cubic)) * x * x);
      return half * (one + t) + half * x * (one - t * t) * inner;
    }
    case InputActivation::silu: {
      const V s = sigmoid(x);
      return s * (one + x * (one - s));
    }
    case InputActivation::hard_silu:
      return hard_sigmoid(x) + select(abs(x) < V(S(3)), x * V(S(1.0 / 6)), zero);
    case InputActivation::mish: {
      const V w = tanh(softplus(x));
      return w + x * (one - w * w) * sigmoid(x);
    }
    case InputActivation::log_sigmoid:
      return sigmoid(-x);
    case InputActivation::hard_tanh:
      return select(abs(x) < one, one, zero);
    case InputActivation::piecewise:
      return select(x > p.c, select(x < p.b, one, zero), p.a);
    case InputActivation::exponential:
      return select(x > zero, one, p.a * p.b * exp(p.b * x));
    default:
      return one;
  }
}

}  // namespace FASTSEQ_TARGET
}  // namespace fastseq
