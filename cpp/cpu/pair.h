// Pair<V>: two registers worked on side by side. The functions of a cell are long chains of dependent
// instructions; two rows at once keep the core busy while either waits.
#pragma once

#include <type_traits>

#include "math/activations.h"
#include "vec.h"

namespace fastseq {
namespace FASTSEQ_TARGET {

template <class V>
struct Pair {
  using Scalar = typename V::Scalar;
  struct Int {
    typename V::Int a, b;
    template <class S>
    friend FASTSEQ_INLINE Int operator+(Int x, S n) {
      return {x.a + n, x.b + n};
    }
    template <class S>
    friend FASTSEQ_INLINE Int operator-(Int x, S n) {
      return {x.a - n, x.b - n};
    }
    template <class S>
    friend FASTSEQ_INLINE Int operator<<(Int x, S n) {
      return {x.a << n, x.b << n};
    }
  };

  V a, b;

  FASTSEQ_INLINE Pair() {}
  // Written out, copies are two registers; GCC copies a trivial struct through memory, in pieces that stall.
  FASTSEQ_INLINE Pair(const Pair& other) : a(other.a), b(other.b) {}
  FASTSEQ_INLINE Pair& operator=(const Pair& other) {
    a = other.a;
    b = other.b;
    return *this;
  }
  FASTSEQ_INLINE Pair(V first, V second) : a(first), b(second) {}
  FASTSEQ_INLINE Pair(Scalar scalar) : a(scalar), b(scalar) {}  // NOLINT: a scalar fills all lanes

  friend FASTSEQ_INLINE Pair operator+(const Pair& x, const Pair& y) { return {x.a + y.a, x.b + y.b}; }
  friend FASTSEQ_INLINE Pair operator-(const Pair& x, const Pair& y) { return {x.a - y.a, x.b - y.b}; }
  friend FASTSEQ_INLINE Pair operator*(const Pair& x, const Pair& y) { return {x.a * y.a, x.b * y.b}; }
  friend FASTSEQ_INLINE Pair operator/(const Pair& x, const Pair& y) { return {x.a / y.a, x.b / y.b}; }
  friend FASTSEQ_INLINE Pair operator-(const Pair& x) { return {-x.a, -x.b}; }
  friend FASTSEQ_INLINE Pair min(const Pair& x, const Pair& y) { return {min(x.a, y.a), min(x.b, y.b)}; }
  friend FASTSEQ_INLINE Pair max(const Pair& x, const Pair& y) { return {max(x.a, y.a), max(x.b, y.b)}; }
  friend FASTSEQ_INLINE Int to_bits(const Pair& x) { return {to_bits(x.a), to_bits(x.b)}; }
  friend FASTSEQ_INLINE Pair from_bits(Pair, Int n) { return {from_bits(V(), n.a), from_bits(V(), n.b)}; }
};

// Activations by name are calls: one for each register.
template <class V>
FASTSEQ_INLINE Pair<V> activate_named(Activation name, Pair<V> x) {
  return {activate_named(name, x.a), activate_named(name, x.b)};
}
template <class V>
FASTSEQ_INLINE Pair<V> slope_named(Activation name, Pair<V> y) {
  return {slope_named(name, y.a), slope_named(name, y.b)};
}

// One register from row r, or a pair from rows r and r + 1; `row` is the distance of rows.
template <class V>
struct RowsOf;

template <class T>
struct RowsOf<Vec<T>> {
  static constexpr int count = 1;
  static FASTSEQ_INLINE Vec<T> load(const T* p, std::ptrdiff_t) { return Vec<T>::load(p); }
  static FASTSEQ_INLINE void store(const Vec<T>& x, T* p, std::ptrdiff_t) { x.store(p); }
};

template <class T>
struct RowsOf<Pair<Vec<T>>> {
  static constexpr int count = 2;
  static FASTSEQ_INLINE Pair<Vec<T>> load(const T* p, std::ptrdiff_t row) {
    return {Vec<T>::load(p), Vec<T>::load(p + row)};
  }
  static FASTSEQ_INLINE void store(const Pair<Vec<T>>& x, T* p, std::ptrdiff_t row) {
    x.a.store(p);
    x.b.store(p + row);
  }
};

// f(0, its register) for one row, and f(1, ...) for the second of a pair.
template <class V, class F>
FASTSEQ_INLINE void each_row_of(V& x, F f) {
  if constexpr (RowsOf<std::remove_const_t<V>>::count == 1) {
    f(0, x);
  } else {
    f(0, x.a);
    f(1, x.b);
  }
}

}  // namespace FASTSEQ_TARGET
}  // namespace fastseq
