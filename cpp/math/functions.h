// Scalar functions that more than one equation needs. V is a SIMD register; exp and log come from there.
#pragma once

#include "target.h"

namespace fastseq {
namespace FASTSEQ_TARGET {

// log(1 + e) for 0 <= e <= 1, accurate however small e is: what 1 + e loses to rounding is added back.
template <class V>
FASTSEQ_HD V log1p(V e) {
  const V one(typename V::Scalar(1)), u = one + e;
  return log(u) + (e - (u - one)) / u;
}

// erfc(|x|) = t exp(-x^2 + P(t)), t = 2 / (2 + |x|). P is a polynomial in 2 t - 1, the Chebyshev series of
// log(erfc(x) / t) + x^2 cut off where the type's rounding begins.
template <class S>
struct ErfcConstants;

template <>
struct ErfcConstants<float> {
  static constexpr int terms = 12;
  static constexpr float polynomial[terms] = {-8.7283810217e-5f, 8.0007381617e-6f,  5.7376637200e-4f,
                                              -2.2791096600e-4f, -2.2887652386e-3f, 1.7940662497e-3f,
                                              8.8088253694e-3f,  -9.8800193240e-3f, -4.6893640560e-2f,
                                              4.7343887613e-2f,  6.7264315477e-1f,  -6.7179409168e-1f};
};

template <>
struct ErfcConstants<double> {
  static constexpr int terms = 26;
  static constexpr double polynomial[terms] = {
      -1.5867042924138043173e-9, -1.2776086554968676824e-8, 3.9722035472737954118e-8,
      7.745572408758512178e-8,   -3.168341367694146854e-7,  -4.1468537546636414087e-8,
      1.3267813608518888117e-6,  -1.4094459914335310398e-6, -3.0076454344106692577e-6,
      8.6625353974755387068e-6,  1.6992332312277021952e-7,  -3.0237840540071370828e-5,
      3.1733105993770606605e-5,  7.1418104334223007581e-5,  -1.7429984933155644963e-4,
      -9.37389476766729489e-5,   6.7367826970698314625e-4,  -1.4624628742128406364e-4,
      -2.3458124448021560996e-3, 1.7589335074028031479e-3,  8.8249385537387633919e-3,
      -9.8726893640992216211e-3, -4.6895610231083022596e-2, 4.7343306841863522302e-2,
      6.7264322397765596714e-1,  -6.7179408405669214498e-1};
};

template <class V>
FASTSEQ_HD V erfc(V x) {
  using S = typename V::Scalar;
  using C = ErfcConstants<S>;
  const V two(S(2)), size = abs(x);
  const V t = two / (two + size), u = t + t - V(S(1));
  V p(C::polynomial[0]);
#pragma GCC unroll 32
  for (int i = 1; i < C::terms; ++i) p = p * u + V(C::polynomial[i]);
  const V y = t * exp(p - size * size);
  return select(x < V(S(0)), two - y, y);
}

}  // namespace FASTSEQ_TARGET
}  // namespace fastseq
