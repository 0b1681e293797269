// Decoding's loops over classes and over the prefixes of a beam.
#pragma once

#include "cpu/ctc_decode_kernels.h"
#include "cpu/rowwise_activation.h"

namespace fastseq {
namespace FASTSEQ_TARGET {

// Where the first of a row's elements that equal `value` lies; 0 where none does. Block by block: where it
// ends is not for the core to guess within one.
template <class T>
FASTSEQ_INLINE std::int32_t place_of(std::ptrdiff_t C, const T* x, T value) {
  using V = Vec<T>;
  constexpr std::ptrdiff_t L = V::lanes, block = 64;
  const V sought(value);
  for (std::ptrdiff_t begin = 0; begin < C; begin += block) {
    std::uint64_t found = 0;
    const std::ptrdiff_t whole = C - begin < block ? (C - begin) / L * L : block;
    for (std::ptrdiff_t i = 0; i < whole; i += L)
      found |= std::uint64_t{lane_bits<T>(V::load(x + begin + i) == sought)} << i;
    if (const std::ptrdiff_t rest = C - begin - whole; whole < block && rest > 0)
      found |= std::uint64_t{lane_bits<T>((V::load_part(x + begin + whole, rest) == sought) & V::first(rest))}
               << whole;
    if (found != 0) return static_cast<std::int32_t>(begin + __builtin_ctzll(found));
  }
  return 0;
}

// Frames are read once, as fast as memory gives them: they are asked for so many bytes ahead, across the ends
// of rows and pages, where the hardware would start anew.
constexpr std::ptrdiff_t bytes_ahead = 1024;

// The largest of log_probs or probs; NaN where they cannot be what they say: with NaN, inf, or a negative
// probability.
template <class T>
FASTSEQ_INLINE T sound_maximum(CtcInput input, std::ptrdiff_t C, const T* x) {
  using V = Vec<T>;
  constexpr std::ptrdiff_t L = V::lanes;
  const T infinity = __builtin_inf();
  const V least(input == CtcInput::probs ? T(0) : -infinity);
  V most = -V(infinity), more = most;
  typename V::Int sound = ~typename V::Int{}, also = sound;
  std::ptrdiff_t c = 0;
  for (; c + 2 * L <= C; c += 2 * L) {
    __builtin_prefetch(reinterpret_cast<const char*>(x + c) + bytes_ahead);
    const V one = V::load(x + c), two = V::load(x + c + L);
    sound &= one >= least;
    also &= two >= least;
    most = max(one, most);
    more = max(two, more);
  }
  for (; c < C; c += L) {
    const V each = V::load_part(x + c, C - c);  // beyond the row 0, which is sound
    sound &= each >= least;
    most = max(load_part_or(x + c, C - c, -infinity), most);
  }
  const T found = maximum(max(most, more));
  constexpr unsigned all = static_cast<unsigned>((std::uint64_t{1} << L) - 1);
  return lane_bits<T>(sound & also) == all && found < infinity ? found : T(__builtin_nan(""));
}

template <class T>
void best_of_frames(CtcInput input, std::ptrdiff_t C, const T* x, std::int32_t* best, double* scores,
                    std::ptrdiff_t begin, std::ptrdiff_t end) {
  const bool logits = input == CtcInput::logits;
  for (std::ptrdiff_t t = begin; t < end; ++t) {
    const T* frame = x + t * C;
    const T most = logits ? row_maximum(C, frame) : sound_maximum(input, C, frame);
    best[t] = place_of(C, frame, most);
    scores[t] =
        static_cast<double>(logits ? sum_of_exponentials(C, frame, most, static_cast<T*>(nullptr), C) : most);
  }
  if (input == CtcInput::log_probs) return;
  using V = Vec<double>;
  const V sign(logits ? -1.0 : 1.0);
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
      const RowSum<T> all = row_sum(C, frame, static_cast<T*>(nullptr), C);
      const V rest = log(V(all.total));
      if (!(rest.v[0] == rest.v[0])) return false;
      for (std::ptrdiff_t c = 0; c < C; ++c) out[c] = static_cast<double>((frame[c] - all.most) - rest.v[0]);
    } else {
      const T most = sound_maximum(input, C, frame);
      if (!(most == most)) return false;
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
