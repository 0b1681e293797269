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

template <class T>
FASTSEQ_INLINE T row_maximum(std::ptrdiff_t C, const T* x) {
  const T lowest = -__builtin_inf();
  Vec<T> most(lowest);
  for_columns<T>(C, [&](auto c, auto part) { most = max(most, load_part_or(x + c, part, lowest)); });
  return maximum(most);
}

template <class T>
struct RowSum {
  T most, total;
};

// The largest of a row and sum exp(x - largest); the exponentials into y, which may be x or nullptr.
template <class T>
FASTSEQ_INLINE RowSum<T> row_sum(std::ptrdiff_t C, const T* x, T* y) {
  using V = Vec<T>;
  const T most = row_maximum(C, x);
  V total(T(0));
  for_columns<T>(C, [&](auto c, auto part) {
    const V e = exp(V::load_part(x + c, part) - V(most));
    if (y) e.store_part(y + c, part);
    total += select<T>(V::first(part), e, V(T(0)));
  });
  return {most, sum(total)};
}

// softmax: y_c = exp(x_c - max) / sum exp(x - max);  log softmax: x_c - max - log(sum)
template <class T>
void softmax_rows(bool logarithm, std::ptrdiff_t C, const T* x, T* y, std::ptrdiff_t begin,
                  std::ptrdiff_t end) {
  using V = Vec<T>;
  for (std::ptrdiff_t r = begin; r < end; ++r) {
    const T* row = x + r * C;
    T* out = y + r * C;
    const RowSum<T> all = row_sum(C, row, logarithm ? nullptr : out);
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
