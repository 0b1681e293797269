// Scaled<T>: a register of numbers >= 0, each a mantissa times a power of two of its own. Products of
// thousands of probabilities neither underflow nor need a logarithm, and keep the mantissa's precision.
#pragma once

#include "vec.h"

namespace fastseq {
namespace FASTSEQ_TARGET {

template <class T>
struct Scaled {
  using V = Vec<T>;
  using Int = typename V::Int;
  using C = ExpConstants<T>;

  // The exponent of zero, and half of it: that of a zero which is multiplied with others. What is smaller
  // counts as zero.
  static constexpr typename VecTypes<T>::Lane lowest = -(1 << 29), low = -(1 << 28);
  // Logarithms below this count as -inf: beyond, the reduction by ln 2 has no digits left.
  static constexpr T least_logarithm = T(-2.5e6);

  V m;
  Int e;

  static FASTSEQ_INLINE Scaled zero() { return {V(T(0)), Int{} + lowest}; }

  // Exponents lie in memory as the bits of a T.
  static FASTSEQ_INLINE Scaled load(const T* m, const T* e) { return {V::load(m), to_bits(V::load(e))}; }
  FASTSEQ_INLINE void store(T* to_m, T* to_e) const {
    m.store(to_m);
    from_bits(V(), e).store(to_e);
  }
  // No arithmetic may touch those bits: some are NaN that would be quietened, some numbers that would be
  // flushed.
  static FASTSEQ_INLINE Scaled broadcast(const T* m, const T* e) {
    typename VecTypes<T>::Lane exponent;
    __builtin_memcpy(&exponent, e, sizeof(exponent));
    return {V(*m), Int{} + exponent};
  }

  // exp(y). NaN stays NaN.
  static FASTSEQ_INLINE Scaled exponential(V y) {
    const Int none = y < V(least_logarithm);
    V shifted;
    const V p = exp_reduced<Reduction::exact>(max(V(least_logarithm), y), shifted);
    return {select<T>(none, V(T(0)), V(T(1)) + p), none ? Int{} + low : exponent_of(shifted)};
  }

  static FASTSEQ_INLINE Scaled of(V x) {
    const Int none = x <= V(T(0));
    const Scaled s = Scaled{x, Int{}}.normal();
    return {select<T>(none, V(T(0)), s.m), none ? Int{} + low : s.e};
  }

  // The same number with its mantissa in [1, 2).
  FASTSEQ_INLINE Scaled normal() const {
    const Int k = (to_bits(m) >> C::mantissa) - C::bias, sum = e + k;
    return {m * power_of_two<V>(-k), sum > lowest ? sum : Int{} + lowest};
  }

  // 2^d for d <= 0; zero once it is smaller than the smallest normal number.
  static FASTSEQ_INLINE V shrink(Int d) { return power_of_two<V>(d > -C::bias ? d : Int{} - C::bias); }

  // This number times scale * 2^-shift as a plain one; inf where it is too large.
  FASTSEQ_INLINE V plain(V scale, typename VecTypes<T>::Lane shift) const {
    const Int d = e - shift, up = d > 0 ? d : Int{}, most = Int{} + (C::bias + 1);
    return m * scale * shrink(d < 0 ? d : Int{}) * power_of_two<V>(up < most ? up : most);
  }

  friend FASTSEQ_INLINE Scaled operator*(const Scaled& a, const Scaled& b) {
    return Scaled{a.m * b.m, a.e + b.e}.normal();
  }
  friend FASTSEQ_INLINE Scaled sum(const Scaled& a, const Scaled& b) {
    const Int larger = a.e > b.e ? a.e : b.e;
    return {a.m * shrink(a.e - larger) + b.m * shrink(b.e - larger), larger};
  }
  friend FASTSEQ_INLINE Scaled sum(const Scaled& a, const Scaled& b, const Scaled& c) {
    const Int first = a.e > b.e ? a.e : b.e, largest = first > c.e ? first : c.e;
    return {a.m * shrink(a.e - largest) + b.m * shrink(b.e - largest) + c.m * shrink(c.e - largest), largest};
  }
};

}  // namespace FASTSEQ_TARGET
}  // namespace fastseq
