// Rows picked, added and dropped: gather, scatter-add, dropout; and what accuracy counts.
#pragma once

#include "cpu/rowwise.h"
#include "cpu/rowwise_kernels.h"
#include "math/random.h"

namespace fastseq {
namespace FASTSEQ_TARGET {

template <class Source, class T>
void gather_rows_of(std::ptrdiff_t C, const void* source, const std::int64_t* indices, T* out,
                    std::ptrdiff_t begin, std::ptrdiff_t end) {
  for (std::ptrdiff_t r = begin; r < end; ++r) {
    const Source* from = static_cast<const Source*>(source) + static_cast<std::ptrdiff_t>(indices[r]) * C;
    T* to = out + r * C;
    for (std::ptrdiff_t c = 0; c < C; ++c) to[c] = static_cast<T>(from[c]);
  }
}

template <class T>
void gather_rows(SourceType type, std::ptrdiff_t C, const void* source, const std::int64_t* indices, T* out,
                 std::ptrdiff_t begin, std::ptrdiff_t end) {
  switch (type) {
    case SourceType::boolean:
    case SourceType::uint8:
      return gather_rows_of<std::uint8_t>(C, source, indices, out, begin, end);
    case SourceType::int32:
      return gather_rows_of<std::int32_t>(C, source, indices, out, begin, end);
    case SourceType::int64:
      return gather_rows_of<std::int64_t>(C, source, indices, out, begin, end);
    case SourceType::float32:
      return gather_rows_of<float>(C, source, indices, out, begin, end);
    case SourceType::float64:
      return gather_rows_of<double>(C, source, indices, out, begin, end);
  }
}

template <class T>
void scatter_add_rows(std::ptrdiff_t C, std::ptrdiff_t n, const std::int64_t* indices, const T* dy, T* table,
                      std::ptrdiff_t begin, std::ptrdiff_t end) {
  using V = Vec<T>;
  for (std::ptrdiff_t i = 0; i < n; ++i) {
    const std::ptrdiff_t k = static_cast<std::ptrdiff_t>(indices[i]);
    if (k < begin || k >= end) continue;
    const auto add = [](V a, V b) { return a + b; };
    map_elements(0, C, add, table + k * C, static_cast<const T*>(table + k * C), dy + i * C);
  }
}

// `begin` is a multiple of 4: one block of random numbers serves 4 elements. Many blocks at once fill
// registers.
template <class T>
void dropout_elements(std::uint64_t seed, double rate, const T* x, T* y, std::ptrdiff_t begin,
                      std::ptrdiff_t end) {
  constexpr std::ptrdiff_t blocks = 32, count = 4 * blocks;
  const auto threshold = dropout_threshold(rate);
  const T scale = T(1.0 / (1.0 - rate));
  for (std::ptrdiff_t i = begin; i < end; i += count) {
    std::uint32_t words[count];
    for (std::ptrdiff_t b = 0; b < blocks; ++b) {
      const Philox random = philox(seed, 0, static_cast<std::uint64_t>(i / 4 + b));
      for (int k = 0; k < 4; ++k) words[4 * b + k] = random.word[k];
    }
    const std::ptrdiff_t part = end - i < count ? end - i : count;
    for (std::ptrdiff_t k = 0; k < part; ++k) y[i + k] = words[k] < threshold ? T(0) : x[i + k] * scale;
  }
}

// The first column that holds the largest value; NaN is never the largest; C where there is nothing else.
template <class T>
FASTSEQ_INLINE std::ptrdiff_t largest_column(std::ptrdiff_t C, const T* x) {
  using V = Vec<T>;
  const T lowest = -__builtin_inf();
  V best(lowest);
  for_columns<T>(C, [&](auto c, auto part) {
    const V each = load_part_or(x + c, part, lowest);
    best = select<T>(each > best, each, best);
  });
  const V most(maximum(best));
  for (std::ptrdiff_t c = 0; c < C; c += V::lanes) {
    // minus the lane's number where the largest value is, minus lanes elsewhere
    const typename V::Int found = (V::load_part(x + c, C - c) == most) & V::first(C - c);
    const auto number = maximum(select<T>(found, -V::lane_numbers(), V(T(-V::lanes))));
    if (number > T(-V::lanes)) return c - static_cast<std::ptrdiff_t>(number);
  }
  return C;
}

template <class T>
void categorical_matches_of(std::ptrdiff_t C, const T* output, const T* target, const std::int64_t* labels,
                            T* matches, std::ptrdiff_t begin, std::ptrdiff_t end) {
  for (std::ptrdiff_t r = begin; r < end; ++r) {
    const std::ptrdiff_t guess = largest_column(C, output + r * C);
    const std::ptrdiff_t truth =
        labels != nullptr ? static_cast<std::ptrdiff_t>(labels[r]) : largest_column(C, target + r * C);
    matches[r] = guess < C && guess == truth ? T(1) : T(0);
  }
}

template <class T>
void binary_matches_of(std::ptrdiff_t C, const T* output, const T* target, T threshold, T* matches,
                       std::ptrdiff_t begin, std::ptrdiff_t end) {
  for (std::ptrdiff_t r = begin; r < end; ++r) {
    std::ptrdiff_t equal = 0;
    for (std::ptrdiff_t c = r * C; c < (r + 1) * C; ++c)
      equal += (output[c] > threshold ? T(1) : T(0)) == target[c] ? 1 : 0;
    matches[r] = T(equal) / T(C);
  }
}

}  // namespace FASTSEQ_TARGET
}  // namespace fastseq
