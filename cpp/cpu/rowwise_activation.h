// Activations over elements, softmax over rows.
#pragma once

#include "cpu/rowwise.h"
#include "cpu/rowwise_kernels.h"
#include "math/input_activations.h"

namespace fastseq {
namespace FASTSEQ_TARGET {

template <class F>
FASTSEQ_INLINE void with_activation(Activation name, F&& f) {
  constexpr int count = static_cast<int>(Activation::count_from_output);
  with_constant(name, std::make_integer_sequence<int, count>(), f);
}

template <class F>
FASTSEQ_INLINE void with_activation(InputActivation name, F&& f) {
  constexpr int count = static_cast<int>(InputActivation::count);
  with_constant(name, std::make_integer_sequence<int, count>(), f);
}

template <class T>
FASTSEQ_INLINE ActivationParameters<Vec<T>> parameters(const ActivationChoice& choice) {
  return {Vec<T>(T(choice.a)), Vec<T>(T(choice.b)), Vec<T>(T(choice.c))};
}

template <class T>
void activate_elements(const ActivationChoice& choice, const T* x, T* y, std::ptrdiff_t begin,
                       std::ptrdiff_t end) {
  using V = Vec<T>;
  if (choice.of_input) {
    const ActivationParameters<V> p = parameters<T>(choice);
    with_activation(static_cast<InputActivation>(choice.name), [&](auto name) {
      map_elements(begin, end, [&](V a) { return activate(name.value, a, p); }, y, x);
    });
  } else {
    with_activation(static_cast<Activation>(choice.name), [&](auto name) {
      map_elements(begin, end, [&](V a) { return activate(name.value, a); }, y, x);
    });
  }
}

template <class T>
void activate_elements_backward(const ActivationChoice& choice, const T* saved, const T* dy, T* dx,
                                std::ptrdiff_t begin, std::ptrdiff_t end) {
  using V = Vec<T>;
  if (choice.of_input) {
    const ActivationParameters<V> p = parameters<T>(choice);
    with_activation(static_cast<InputActivation>(choice.name), [&](auto name) {
      const auto slope = [&](V x, V d) { return d * activation_slope(name.value, x, p); };
      map_elements(begin, end, slope, dx, saved, dy);
    });
  } else {
    with_activation(static_cast<Activation>(choice.name), [&](auto name) {
      const auto slope = [&](V y, V d) { return d * activation_slope(name.value, y); };
      map_elements(begin, end, slope, dx, saved, dy);
    });
  }
}

// The largest of a row; NaN is never larger.
template <class T>
FASTSEQ_INLINE T row_maximum(std::ptrdiff_t C, const T* x) {
  constexpr std::ptrdiff_t L = Vec<T>::lanes, most_at_once = 4;
  const T lowest = -__builtin_inf();
  Vec<T> most[most_at_once] = {lowest, lowest, lowest, lowest};
  std::ptrdiff_t c = 0;
  for (; c + most_at_once * L <= C; c += most_at_once * L)
    for (std::ptrdiff_t i = 0; i < most_at_once; ++i) most[i] = max(Vec<T>::load(x + c + i * L), most[i]);
  for (; c < C; c += L) most[0] = max(load_part_or(x + c, C - c, lowest), most[0]);
  return maximum(max(max(most[0], most[1]), max(most[2], most[3])));
}

// sum exp(x - most); the exponentials into y, which may be x or nullptr. NaN where x holds NaN or inf.
// The rows to be read and written next lie `ahead` elements from these: asked for here, where the core
// computes, they are in its cache when their turn comes.
template <class T>
FASTSEQ_INLINE T sum_of_exponentials(std::ptrdiff_t C, const T* x, T most, T* y, std::ptrdiff_t ahead) {
  using V = Vec<T>;
  constexpr std::ptrdiff_t L = V::lanes;
  const V high(most);
  V total(T(0)), other(T(0));
  std::ptrdiff_t c = 0;
  for (; c + 2 * L <= C; c += 2 * L) {  // two sums: neither waits for the other
    __builtin_prefetch(x + c + ahead);
    if (y) __builtin_prefetch(y + c + ahead, 1);
    const V one = exp_to_one(V::load(x + c) - high), two = exp_to_one(V::load(x + c + L) - high);
    if (y) {
      one.store(y + c);
      two.store(y + c + L);
    }
    total += one;
    other += two;
  }
  for (; c < C; c += L) {
    const V each = exp_to_one(V::load_part(x + c, C - c) - high);
    if (y) each.store_part(y + c, C - c);
    total += select<T>(V::first(C - c), each, V(T(0)));
  }
  return sum(total + other);
}

template <class T>
struct RowSum {
  T most, total;
};

// The largest of a row and sum exp(x - largest); y and `ahead` as above.
template <class T>
FASTSEQ_INLINE RowSum<T> row_sum(std::ptrdiff_t C, const T* x, T* y, std::ptrdiff_t ahead) {
  const T most = row_maximum(C, x);
  return {most, sum_of_exponentials(C, x, most, y, ahead)};
}

// softmax: y_c = exp(x_c - max) / sum exp(x - max);  log softmax: x_c - max - log(sum)
template <class T>
void softmax_rows(bool logarithm, std::ptrdiff_t C, const T* x, T* y, std::ptrdiff_t begin,
                  std::ptrdiff_t end) {
  using V = Vec<T>;
  for (std::ptrdiff_t r = begin; r < end; ++r) {
    const T* row = x + r * C;
    T* out = y + r * C;
    const RowSum<T> all = row_sum(C, row, logarithm ? nullptr : out, C);
    if (logarithm) {
      const V shift = V(all.most) + log(V(all.total));
      for_columns<T>(
          C, [&](auto c, auto part) { (V::load_part(row + c, part) - shift).store_part(out + c, part); });
    } else {
      const V scale = V(T(1)) / V(all.total);
      for_columns<T>(
          C, [&](auto c, auto part) { (V::load_part(out + c, part) * scale).store_part(out + c, part); });
    }
  }
}

// softmax: dx = y (dy - sum y dy);  log softmax: dx = dy - exp(y) sum dy
template <class T>
void softmax_rows_backward(bool logarithm, std::ptrdiff_t C, const T* y, const T* dy, T* dx,
                           std::ptrdiff_t begin, std::ptrdiff_t end) {
  using V = Vec<T>;
  for (std::ptrdiff_t r = begin; r < end; ++r) {
    const T *out = y + r * C, *d = dy + r * C;
    T* to = dx + r * C;
    V total(T(0));
    for_columns<T>(C, [&](auto c, auto part) {
      const V each = V::load_part(d + c, part);
      total += logarithm ? each : each * V::load_part(out + c, part);
    });
    const V all(sum(total));
    for_columns<T>(C, [&](auto c, auto part) {
      const V each = V::load_part(d + c, part), p = V::load_part(out + c, part);
      (logarithm ? each - exp(p) * all : p * (each - all)).store_part(to + c, part);
    });
  }
}

}  // namespace FASTSEQ_TARGET
}  // namespace fastseq
