// Vec<T>: one SIMD register of float or double on the compiler's vector extension, with its exp, log, tanh
// and sigmoid. The same source serves every instruction set; only the width (FASTSEQ_VECTOR_BYTES) differs.
#pragma once

#include <cstddef>
#include <cstdint>

#include "math/target.h"

#if defined(__x86_64__) || defined(__i386__)
#include <immintrin.h>
#endif

#ifndef FASTSEQ_VECTOR_BYTES
#define FASTSEQ_VECTOR_BYTES 16
#endif

#define FASTSEQ_INLINE inline __attribute__((always_inline))
#define FASTSEQ_INLINED __attribute__((always_inline))  // the same of a lambda
#define FASTSEQ_OUTLINE __attribute__((noinline))       // one copy: what loops call once a row or more seldom

namespace fastseq {
namespace FASTSEQ_TARGET {

template <class T>
struct VecTypes;

template <>
struct VecTypes<float> {
  typedef float Native __attribute__((vector_size(FASTSEQ_VECTOR_BYTES)));
  typedef float Unaligned __attribute__((vector_size(FASTSEQ_VECTOR_BYTES), aligned(4), may_alias));
  using Lane = std::int32_t;
  typedef Lane Int __attribute__((vector_size(FASTSEQ_VECTOR_BYTES)));
};

template <>
struct VecTypes<double> {
  typedef double Native __attribute__((vector_size(FASTSEQ_VECTOR_BYTES)));
  typedef double Unaligned __attribute__((vector_size(FASTSEQ_VECTOR_BYTES), aligned(8), may_alias));
  using Lane = std::int64_t;
  typedef Lane Int __attribute__((vector_size(FASTSEQ_VECTOR_BYTES)));
};

template <class T>
struct Vec {
  using Scalar = T;
  using Native = typename VecTypes<T>::Native;
  using Unaligned = typename VecTypes<T>::Unaligned;
  using Int = typename VecTypes<T>::Int;
  static constexpr int lanes = FASTSEQ_VECTOR_BYTES / static_cast<int>(sizeof(T));

  Native v;

  FASTSEQ_INLINE Vec() {}
  FASTSEQ_INLINE Vec(Native native) : v(native) {}        // NOLINT: a register is a Vec
  FASTSEQ_INLINE Vec(T scalar) : v(broadcast(scalar)) {}  // NOLINT: a scalar fills all lanes

  // x - 0 is x for every x, -0 and NaN too, and compilers know it: one broadcast instruction.
  static FASTSEQ_INLINE Native broadcast(T x) { return x - Native{}; }

  static FASTSEQ_INLINE Vec load(const T* p) { return Vec(Native(*reinterpret_cast<const Unaligned*>(p))); }
  FASTSEQ_INLINE void store(T* p) const { *reinterpret_cast<Unaligned*>(p) = v; }

  static FASTSEQ_INLINE Int numbers() {
    Int number;
    for (int i = 0; i < lanes; ++i) number[i] = i;
    return number;
  }

  static FASTSEQ_INLINE Vec lane_numbers() {
    Native number;
    for (int i = 0; i < lanes; ++i) number[i] = T(i);
    return Vec(number);
  }

  // A mask of the first n lanes.
  static FASTSEQ_INLINE Int first(std::ptrdiff_t n) {
    using Lane = typename VecTypes<T>::Lane;
    return numbers() < static_cast<Lane>(n < lanes ? n : lanes);
  }

  // 1 in lane i, 0 elsewhere; all 0 where i is no lane.
  static FASTSEQ_INLINE Vec one_hot(std::ptrdiff_t i) {
    using Lane = typename VecTypes<T>::Lane;
    const auto place = static_cast<Lane>(i < lanes ? (i > -1 ? i : -1) : lanes);
    return Vec((numbers() == place) ? broadcast(T(1)) : Native{});
  }

  // The first n lanes (0 <= n); the others read as zero and are left alone in memory.
  static FASTSEQ_INLINE Vec load_part(const T* p, std::ptrdiff_t n) {
    if (n >= lanes) return load(p);
#if FASTSEQ_VECTOR_BYTES == 64 && defined(__AVX512F__)
    const unsigned mask = (1u << n) - 1;
    if constexpr (lanes == 16)
      return Vec(Native(_mm512_maskz_loadu_ps(static_cast<__mmask16>(mask), p)));
    else
      return Vec(Native(_mm512_maskz_loadu_pd(static_cast<__mmask8>(mask), p)));
#elif FASTSEQ_VECTOR_BYTES == 32 && defined(__AVX2__)
    if constexpr (lanes == 8)
      return Vec(Native(_mm256_maskload_ps(p, (__m256i)first(n))));
    else
      return Vec(Native(_mm256_maskload_pd(p, (__m256i)first(n))));
#else
    Native r = {};
    for (std::ptrdiff_t i = 0; i < n; ++i) r[i] = p[i];
    return Vec(r);
#endif
  }
  FASTSEQ_INLINE void store_part(T* p, std::ptrdiff_t n) const {
    if (n >= lanes) return store(p);
#if FASTSEQ_VECTOR_BYTES == 64 && defined(__AVX512F__)
    const unsigned mask = (1u << n) - 1;
    if constexpr (lanes == 16)
      _mm512_mask_storeu_ps(p, static_cast<__mmask16>(mask), v);
    else
      _mm512_mask_storeu_pd(p, static_cast<__mmask8>(mask), v);
#elif FASTSEQ_VECTOR_BYTES == 32 && defined(__AVX2__)
    // In pieces of 4, 2 and 1: faster than a masked store on AMD before Zen 4.
    if constexpr (lanes == 8) {
      __m128 rest = _mm256_castps256_ps128(v);
      if (n & 4) {
        _mm_storeu_ps(p, rest);
        rest = _mm256_extractf128_ps(v, 1);
        p += 4;
      }
      if (n & 2) {
        _mm_storel_pi(reinterpret_cast<__m64*>(p), rest);
        rest = _mm_movehl_ps(rest, rest);
        p += 2;
      }
      if (n & 1) _mm_store_ss(p, rest);
    } else {
      __m128d rest = _mm256_castpd256_pd128(v);
      if (n & 2) {
        _mm_storeu_pd(p, rest);
        rest = _mm256_extractf128_pd(v, 1);
        p += 2;
      }
      if (n & 1) _mm_store_sd(p, rest);
    }
#else
    for (std::ptrdiff_t i = 0; i < n; ++i) p[i] = v[i];
#endif
  }

  friend FASTSEQ_INLINE Vec operator+(Vec a, Vec b) { return Vec(a.v + b.v); }
  friend FASTSEQ_INLINE Vec operator-(Vec a, Vec b) { return Vec(a.v - b.v); }
  friend FASTSEQ_INLINE Vec operator*(Vec a, Vec b) { return Vec(a.v * b.v); }
  friend FASTSEQ_INLINE Vec operator/(Vec a, Vec b) { return Vec(a.v / b.v); }
  friend FASTSEQ_INLINE Vec operator-(Vec a) { return Vec(-a.v); }
  FASTSEQ_INLINE Vec& operator+=(Vec b) { return *this = *this + b; }

  // Comparisons give a mask for select: all bits of a lane set where true.
  friend FASTSEQ_INLINE Int operator<(Vec a, Vec b) { return a.v < b.v; }
  friend FASTSEQ_INLINE Int operator>(Vec a, Vec b) { return a.v > b.v; }
  friend FASTSEQ_INLINE Int operator<=(Vec a, Vec b) { return a.v <= b.v; }
  friend FASTSEQ_INLINE Int operator>=(Vec a, Vec b) { return a.v >= b.v; }
  friend FASTSEQ_INLINE Int operator==(Vec a, Vec b) { return a.v == b.v; }
};

template <class T>
FASTSEQ_INLINE Vec<T> select(typename Vec<T>::Int mask, Vec<T> yes, Vec<T> no) {
  return Vec<T>(mask ? yes.v : no.v);
}

// A mask as one bit per lane, the first lane lowest.
template <class T>
FASTSEQ_INLINE unsigned lane_bits(typename Vec<T>::Int mask) {
  [[maybe_unused]] constexpr bool single = sizeof(T) == sizeof(float);
#if FASTSEQ_VECTOR_BYTES == 64 && defined(__AVX512DQ__)
  if constexpr (single)
    return static_cast<unsigned>(_mm512_movepi32_mask((__m512i)mask));
  else
    return static_cast<unsigned>(_mm512_movepi64_mask((__m512i)mask));
#elif FASTSEQ_VECTOR_BYTES == 32 && defined(__AVX2__)
  if constexpr (single)
    return static_cast<unsigned>(_mm256_movemask_ps((__m256)mask));
  else
    return static_cast<unsigned>(_mm256_movemask_pd((__m256d)mask));
#elif FASTSEQ_VECTOR_BYTES == 16 && defined(__SSE2__)
  if constexpr (single)
    return static_cast<unsigned>(_mm_movemask_ps((__m128)mask));
  else
    return static_cast<unsigned>(_mm_movemask_pd((__m128d)mask));
#else
  unsigned bits = 0;
  for (int i = 0; i < Vec<T>::lanes; ++i) bits |= (mask[i] != 0 ? 1u : 0u) << i;
  return bits;
#endif
}

// min and max return their second argument when either is NaN, as the x86 instructions do: put the value that
// may be NaN second and it passes through.
#if FASTSEQ_VECTOR_BYTES == 64 && defined(__AVX512F__)
FASTSEQ_INLINE Vec<float> min(Vec<float> a, Vec<float> b) {
  return Vec<float>(_mm512_maskz_min_ps(-1, a.v, b.v));
}
FASTSEQ_INLINE Vec<float> max(Vec<float> a, Vec<float> b) {
  return Vec<float>(_mm512_maskz_max_ps(-1, a.v, b.v));
}
FASTSEQ_INLINE Vec<double> min(Vec<double> a, Vec<double> b) {
  return Vec<double>(_mm512_maskz_min_pd(-1, a.v, b.v));
}
FASTSEQ_INLINE Vec<double> max(Vec<double> a, Vec<double> b) {
  return Vec<double>(_mm512_maskz_max_pd(-1, a.v, b.v));
}
#elif FASTSEQ_VECTOR_BYTES == 32 && defined(__AVX__)
FASTSEQ_INLINE Vec<float> min(Vec<float> a, Vec<float> b) { return Vec<float>(_mm256_min_ps(a.v, b.v)); }
FASTSEQ_INLINE Vec<float> max(Vec<float> a, Vec<float> b) { return Vec<float>(_mm256_max_ps(a.v, b.v)); }
FASTSEQ_INLINE Vec<double> min(Vec<double> a, Vec<double> b) { return Vec<double>(_mm256_min_pd(a.v, b.v)); }
FASTSEQ_INLINE Vec<double> max(Vec<double> a, Vec<double> b) { return Vec<double>(_mm256_max_pd(a.v, b.v)); }
#elif FASTSEQ_VECTOR_BYTES == 16 && defined(__SSE2__)
FASTSEQ_INLINE Vec<float> min(Vec<float> a, Vec<float> b) { return Vec<float>(_mm_min_ps(a.v, b.v)); }
FASTSEQ_INLINE Vec<float> max(Vec<float> a, Vec<float> b) { return Vec<float>(_mm_max_ps(a.v, b.v)); }
FASTSEQ_INLINE Vec<double> min(Vec<double> a, Vec<double> b) { return Vec<double>(_mm_min_pd(a.v, b.v)); }
FASTSEQ_INLINE Vec<double> max(Vec<double> a, Vec<double> b) { return Vec<double>(_mm_max_pd(a.v, b.v)); }
#else
template <class T>
FASTSEQ_INLINE Vec<T> min(Vec<T> a, Vec<T> b) {
  return select<T>(a.v < b.v, a, b);
}
template <class T>
FASTSEQ_INLINE Vec<T> max(Vec<T> a, Vec<T> b) {
  return select<T>(a.v > b.v, a, b);
}
#endif

// The square root of each lane; the loop becomes one instruction.
FASTSEQ_INLINE Vec<float> sqrt(Vec<float> x) {
  for (int i = 0; i < Vec<float>::lanes; ++i) x.v[i] = __builtin_sqrtf(x.v[i]);
  return x;
}
FASTSEQ_INLINE Vec<double> sqrt(Vec<double> x) {
  for (int i = 0; i < Vec<double>::lanes; ++i) x.v[i] = __builtin_sqrt(x.v[i]);
  return x;
}

template <class T>
FASTSEQ_INLINE Vec<T> abs(Vec<T> x) {
  return max(-x, x);
}

// f of the first half of the lanes and the second, then of the halves of that, down to one lane.
template <class T, int lanes, class Register, class F>
FASTSEQ_INLINE T halved(const Register& x, F f) {
  if constexpr (lanes == 1) {
    T lane;
    __builtin_memcpy(&lane, &x, sizeof(T));
    return lane;
  } else {
    constexpr int bytes = lanes / 2 * static_cast<int>(sizeof(T));
    typedef T Half __attribute__((vector_size(bytes)));
    Half low, high;
    __builtin_memcpy(&low, &x, bytes);
    __builtin_memcpy(&high, reinterpret_cast<const char*>(&x) + bytes, bytes);
    return halved<T, lanes / 2>(f(low, high), f);
  }
}

// The sum of all lanes: its order is fixed by the width alone.
template <class T>
FASTSEQ_INLINE T sum(Vec<T> x) {
  return halved<T, Vec<T>::lanes>(x.v, [](auto a, auto b) FASTSEQ_INLINED { return a + b; });
}

template <class T>
FASTSEQ_INLINE T maximum(Vec<T> x) {
  return halved<T, Vec<T>::lanes>(x.v, [](auto a, auto b) FASTSEQ_INLINED { return a > b ? a : b; });
}

// Constants of the exponential: ln 2, also in two parts (Cody & Waite), the exponent field, the shift that
// rounds to an integer and adds the exponent's bias, and the polynomial of (exp(r) - 1 - r) / r^2 on
// |r| <= ln(2)/2 (float: minimax, 3e-9 of exp; double: Taylor to r^13).
template <class T>
struct ExpConstants;

template <>
struct ExpConstants<float> {
  using Bits = std::int32_t;
  static constexpr float log2e = 1.44269504088896341f, ln2 = 0.693147180559945309f, ln2_high = 0.693359375f,
                         ln2_low = -2.12194440e-4f;
  static constexpr Bits bias = 127, mantissa = 23, shift_bits = 0x4b400000 + bias;
  static constexpr float shift = 12582912.0f + bias;
  static constexpr float lowest = -87.0f, highest = 88.0f;           // one scale by 2^n stays normal
  static constexpr float exp_lowest = -104.0f, exp_highest = 89.0f;  // beyond them exp is 0 and inf
  static constexpr float tanh_end = 9.02f;                           // tanh(x) rounds to 1 from here on
  static constexpr int terms = 5;
  static constexpr float polynomial[terms] = {1.3814539e-3f, 8.368745e-3f, 4.166839e-2f, 1.6666521e-1f,
                                              4.9999994e-1f};
};

template <>
struct ExpConstants<double> {
  using Bits = std::int64_t;
  static constexpr double log2e = 1.4426950408889634074, ln2 = 0.693147180559945309,
                          ln2_high = 6.93145751953125e-1, ln2_low = 1.42860682030941723212e-6;
  static constexpr Bits bias = 1023, mantissa = 52, shift_bits = 0x4338000000000000 + bias;
  static constexpr double shift = 6755399441055744.0 + bias;
  static constexpr double lowest = -708.0, highest = 709.0;
  static constexpr double exp_lowest = -746.0, exp_highest = 710.0;
  static constexpr double tanh_end = 19.1;
  static constexpr int terms = 12;
  static constexpr double polynomial[terms] = {
      1.6059043836821614599e-10, 2.0876756987868098979e-9, 2.5052108385441718775e-8, 2.7557319223985890653e-7,
      2.7557319223985890653e-6,  2.4801587301587301587e-5, 1.9841269841269841270e-4, 1.3888888888888888889e-3,
      8.3333333333333333333e-3,  4.1666666666666666667e-2, 1.6666666666666666667e-1, 0.5};
};

// The bits of a register as integers, and back.
template <class T>
FASTSEQ_INLINE typename Vec<T>::Int to_bits(Vec<T> x) {
  return (typename Vec<T>::Int)x.v;
}
template <class T>
FASTSEQ_INLINE Vec<T> from_bits(Vec<T>, typename Vec<T>::Int bits) {
  return Vec<T>((typename Vec<T>::Native)bits);
}

// How exactly x - n ln 2 is formed. With ln 2 as one number it is off by n times what that leaves out: with
// float and a fused product 2e-9 n, which counts for exp far from 0 but not for sigmoid and tanh.
enum class Reduction { exact, quick };

#if defined(__FMA__) || defined(__aarch64__)
constexpr bool fused_products = true;
#else
constexpr bool fused_products = false;
#endif

// x = n ln 2 + r with |r| <= ln(2)/2. Gives exp(r) - 1, and n as n + C::shift. V is a Vec, or a Pair.
template <Reduction reduction, class V>
FASTSEQ_INLINE V exp_reduced(V x, V& shifted) {
  using T = typename V::Scalar;
  using C = ExpConstants<T>;
  constexpr bool quick = reduction == Reduction::quick && sizeof(T) == sizeof(float) && fused_products;
  shifted = x * V(C::log2e) + V(C::shift);
  const V whole = shifted - V(C::shift);
  const V r = quick ? x - whole * V(C::ln2) : (x - whole * V(C::ln2_high)) - whole * V(C::ln2_low);
  V p(C::polynomial[0]);
#pragma GCC unroll 16
  for (int i = 1; i < C::terms; ++i) p = p * r + V(C::polynomial[i]);
  return (p * r) * r + r;
}

// n of exp_reduced, an integer per lane.
template <class V>
FASTSEQ_INLINE typename V::Int exponent_of(V shifted) {
  return to_bits(shifted) - ExpConstants<typename V::Scalar>::shift_bits;
}

// 2^n, where that is a normal number: the shift has left n + bias in the last bits.
template <class V>
FASTSEQ_INLINE V scale_of(V shifted) {
  return from_bits(V(), to_bits(shifted) << ExpConstants<typename V::Scalar>::mantissa);
}

template <class V>
FASTSEQ_INLINE V power_of_two(typename V::Int n) {
  using C = ExpConstants<typename V::Scalar>;
  return from_bits(V(), (n + C::bias) << C::mantissa);
}

// exp for every x: 0 and inf at the ends, NaN stays NaN. The scale goes in two factors, so neither overflows
// alone.
template <class T>
FASTSEQ_INLINE Vec<T> exp(Vec<T> x) {
  using C = ExpConstants<T>;
  x = min(Vec<T>(C::exp_highest), max(Vec<T>(C::exp_lowest), x));
  Vec<T> shifted;
  const Vec<T> p = exp_reduced<Reduction::exact>(x, shifted);
  const typename Vec<T>::Int n = exponent_of(shifted), half = n >> 1;
  return (Vec<T>(T(1)) + p) * power_of_two<Vec<T>>(half) * power_of_two<Vec<T>>(n - half);
}

// exp where no x is above 0: one scale will do. What would not be a normal number is 0; NaN stays NaN.
template <class T>
FASTSEQ_INLINE Vec<T> exp_to_one(Vec<T> x) {
  const Vec<T> lowest(ExpConstants<T>::lowest);
  Vec<T> shifted;
  const Vec<T> p = exp_reduced<Reduction::exact>(max(lowest, x), shifted), scale = scale_of(shifted);
  return select<T>(x < lowest, Vec<T>(T(0)), p * scale + scale);
}

template <class V>
FASTSEQ_INLINE V sigmoid(V x) {
  using C = ExpConstants<typename V::Scalar>;
  V shifted;
  const V one(1), clamped = min(V(-C::lowest), max(V(-C::highest), x));
  const V p = exp_reduced<Reduction::quick>(-clamped, shifted), scale = scale_of(shifted);
  const V e = p * scale + scale;
  return one / (one + e);
}

// tanh(x) = e / (e + 2) with e = exp(2x) - 1 formed without cancellation: accurate in the relative sense near
// 0 too.
template <class V>
FASTSEQ_INLINE V tanh(V x) {
  using C = ExpConstants<typename V::Scalar>;
  V shifted;
  const V clamped = min(V(C::tanh_end), max(V(-C::tanh_end), x));
  const V p = exp_reduced<Reduction::quick>(clamped + clamped, shifted), scale = scale_of(shifted);
  const V e = p * scale + (scale - V(1));
  return e / (e + V(2));
}

template <class T>
struct LogConstants;

template <>
struct LogConstants<float> {
  static constexpr float smallest = 1.17549435e-38f, lift = 8388608.0f, lift_bits = 23.0f;
  static constexpr std::int32_t mantissa_mask = 0x007fffff, sqrt_half = 0x3f3504f3;
  static constexpr int terms = 5;
};

template <>
struct LogConstants<double> {
  static constexpr double smallest = 2.2250738585072014e-308, lift = 4503599627370496.0, lift_bits = 52.0;
  static constexpr std::int64_t mantissa_mask = 0x000fffffffffffff, sqrt_half = 0x3fe6a09e667f3bcd;
  static constexpr int terms = 11;
};

// Natural logarithm: -inf at 0, NaN below, inf at inf. x = 2^n m with m in [sqrt(1/2), sqrt(2)), and
// log m = 2 atanh(s), s = (m - 1) / (m + 1), as a series in s^2.
template <class T>
FASTSEQ_INLINE Vec<T> log(Vec<T> x) {
  using E = ExpConstants<T>;
  using C = LogConstants<T>;
  using Int = typename Vec<T>::Int;
  using Native = typename Vec<T>::Native;
  const Int tiny = x < Vec<T>(C::smallest);
  const Vec<T> lifted = select<T>(tiny, x * Vec<T>(C::lift), x);
  const Int raised = (Int)lifted.v - C::sqrt_half;
  const Int n = raised >> E::mantissa;
  const Vec<T> m((Native)((raised & C::mantissa_mask) + C::sqrt_half));
  const Vec<T> whole = Vec<T>((Native)(n + E::shift_bits)) - Vec<T>(E::shift) -
                       select<T>(tiny, Vec<T>(C::lift_bits), Vec<T>(T(0)));
  const Vec<T> s = (m - Vec<T>(T(1))) / (m + Vec<T>(T(1)));
  const Vec<T> s2 = s * s;
  Vec<T> p(T(2) / T(2 * C::terms + 1));
#pragma GCC unroll 16
  for (int i = C::terms - 1; i >= 1; --i) p = p * s2 + Vec<T>(T(2) / T(2 * i + 1));
  const Vec<T> series = (s + s) + s * s2 * p;
  Vec<T> y = whole * Vec<T>(E::ln2_high) + (whole * Vec<T>(E::ln2_low) + series);
  const T infinity = __builtin_inf();
  y = select<T>(x == Vec<T>(infinity), Vec<T>(infinity), y);
  y = select<T>(x == Vec<T>(T(0)), Vec<T>(-infinity), y);
  return select<T>(x >= Vec<T>(T(0)), y, Vec<T>(T(__builtin_nan(""))));
}

}  // namespace FASTSEQ_TARGET
}  // namespace fastseq
