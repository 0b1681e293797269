// Decoding's loops over classes and over the prefixes of a beam.
#pragma once

#include "cpu/ctc_decode_kernels.h"
#include "cpu/rowwise_activation.h"

namespace fastseq {
namespace FASTSEQ_TARGET {

template <class T>
struct Largest {
  T value;
  std::int32_t place;
};

// The first of the largest of C values; NaN is never larger.
template <class T>
FASTSEQ_INLINE Largest<T> largest_of(std::ptrdiff_t C, const T* x) {
  using V = Vec<T>;
  using Int = typename V::Int;
  constexpr std::ptrdiff_t L = V::lanes;
  const T lowest = -__builtin_inf();
  V most(lowest);
  Int place = {};
  Int at = V::numbers();
  for_columns<T>(C, [&](auto c, auto part) FASTSEQ_INLINED {
    const V each = load_part_or(x + c, part, lowest);
    const Int larger = each > most;
    place = larger ? at : place;
    most = select<T>(larger, each, most);
    at += static_cast<typename VecTypes<T>::Lane>(L);
  });
  const T high = maximum(most);
  const auto beyond = static_cast<typename VecTypes<T>::Lane>(__INT32_MAX__);
  place = most == V(high) ? place : Int{} + beyond;
  auto first = beyond;
  for (std::ptrdiff_t i = 0; i < L; ++i) first = place[i] < first ? place[i] : first;
  return {high, static_cast<std::int32_t>(first)};
}

// Whether log_probs or probs can be what they say: no NaN, no inf, no negative probability.
template <class T>
FASTSEQ_INLINE bool is_sound(CtcInput input, std::ptrdiff_t C, const T* x) {
  using V = Vec<T>;
  const T endless = __builtin_inf();
  const V least(input == CtcInput::probs ? T(0) : -endless), infinity(endless);
  typename V::Int wrong = {};
  for_columns<T>(C, [&](auto c, auto part) FASTSEQ_INLINED {
    const V each = load_part_or(x + c, part, T(0));
    wrong |= ~((each >= least) & (each < infinity));
  });
  for (int i = 0; i < V::lanes; ++i)
    if (wrong[i]) return false;
  return true;
}

// exp of what is not above 0, to be added to 1: what is too small for one scale by 2^n is no matter.
template <class T>
FASTSEQ_INLINE Vec<T> exp_below(Vec<T> x) {
  typename Vec<T>::Int n;
  const Vec<T> p = exp_reduced(max(Vec<T>(ExpConstants<T>::lowest), x), n);
  const Vec<T> scale = power_of_two<Vec<T>>(n);
  return p * scale + scale;
}

// sum exp(x - most), whose logarithm is the best class's, negated. NaN where x holds NaN or inf.
template <class T>
FASTSEQ_INLINE T sum_of_exponentials(std::ptrdiff_t C, const T* x, T most) {
  using V = Vec<T>;
  constexpr std::ptrdiff_t L = V::lanes;
  const V high(most);
  V total(T(0)), other(T(0));
  std::ptrdiff_t c = 0;
  for (; c + 2 * L <= C; c += 2 * L) {  // two sums: neither waits for the other
    total += exp_below(V::load(x + c) - high);
    other += exp_below(V::load(x + c + L) - high);
  }
  for (; c < C; c += L)
    total += select<T>(V::first(C - c), exp_below(V::load_part(x + c, C - c) - high), V(T(0)));
  return sum(total + other);
}

template <class T>
void best_of_frames(CtcInput input, std::ptrdiff_t C, const T* x, std::int32_t* best, double* scores,
                    std::ptrdiff_t begin, std::ptrdiff_t end) {
  for (std::ptrdiff_t t = begin; t < end; ++t) {
    const T* frame = x + t * C;
    const Largest<T> found = largest_of(C, frame);
    best[t] = found.place;
    if (input == CtcInput::logits)
      scores[t] = static_cast<double>(sum_of_exponentials(C, frame, found.value));
    else
      scores[t] = is_sound(input, C, frame) ? static_cast<double>(found.value) : __builtin_nan("");
  }
  if (input == CtcInput::log_probs) return;
  using V = Vec<double>;
  const V sign(input == CtcInput::logits ? -1.0 : 1.0);
  map_elements(begin, end, [&](V total) { return sign * log(total); }, scores, scores);
}

template <class T>
bool log_probs_of_frames(CtcInput input, std::ptrdiff_t C, const T* x, double* y, std::ptrdiff_t count) {
  using V = Vec<T>;
  constexpr std::ptrdiff_t L = V::lanes;
  for (std::ptrdiff_t t = 0; t < count; ++t) {
    const T* frame = x + t * C;
    double* out = y + t * C;
    if (input == CtcInput::logits) {
      const T most = row_maximum(C, frame);
      const V rest = log(V(sum_of_exponentials(C, frame, most)));
      if (!(rest.v[0] == rest.v[0])) return false;
      for (std::ptrdiff_t c = 0; c < C; ++c) out[c] = static_cast<double>((frame[c] - most) - rest.v[0]);
    } else {
      if (!is_sound(input, C, frame)) return false;
      if (input == CtcInput::log_probs)
        for (std::ptrdiff_t c = 0; c < C; ++c) out[c] = static_cast<double>(frame[c]);
      else
        for_columns<T>(C, [&](auto c, auto part) FASTSEQ_INLINED {
          alignas(64) T lane[L];
          log(V::load_part(frame + c, part)).store(lane);
          for (std::ptrdiff_t i = 0; i < L && i < part; ++i) out[c + i] = static_cast<double>(lane[i]);
        });
    }
  }
  return true;
}

// log(exp(a) + exp(b))
FASTSEQ_INLINE Vec<double> log_add(Vec<double> a, Vec<double> b) {
  using V = Vec<double>;
  const V high = max(a, b), impossible(-__builtin_inf());
  const V sum = high + log(V(1.0) + exp(min(a, b) - high));
  return select<double>(high == impossible, impossible, sum);
}

// Every prefix as it is for one more frame: b' = total p(blank); label' = label p(label) + entering.
inline void stay_in_beam(const CtcBeamRows& r) {
  using V = Vec<double>;
  const V blank(r.blank);
  for_columns<double>(r.count, [&](auto k, auto part) FASTSEQ_INLINED {
    const V label = log_add(V::load_part(r.label + k, part) + V::load_part(r.emitted + k, part),
                            V::load_part(r.entering + k, part));
    const V ended = V::load_part(r.total + k, part) + blank;
    label.store_part(r.to_label + k, part);
    ended.store_part(r.to_blank + k, part);
    log_add(label, ended).store_part(r.to_total + k, part);
  });
}

template <class T>
constexpr CtcDecodeTable<T> ctc_decode_table() {
  return {best_of_frames<T>, log_probs_of_frames<T>};
}

}  // namespace FASTSEQ_TARGET
}  // namespace fastseq
