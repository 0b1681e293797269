// The best alignment of one sequence (Viterbi): the recursion of cpu/ctc.h with the larger in place of the
// sum.
//
// States are kept every `block` frames on the way forward. The way back works each block out again, but only
// the states that the path can have come through, and follows it: memory grows with the square root of the
// frames, and with one block nothing is done twice. States add up, in float64, what their classes lack of
// each frame's largest logit: no exponential and no logarithm has a say in which path is best, so that every
// instruction set finds the same one.
#pragma once

#include "cpu/ctc_align_kernels.h"
#include "cpu/rowwise_activation.h"
#include "math/ctc_step.h"

namespace fastseq {
namespace FASTSEQ_TARGET {

template <class T>
class CtcViterbi {
  using V = Vec<double>;
  using Int = typename V::Int;
  static constexpr std::ptrdiff_t L = V::lanes;
  static constexpr double none = -__builtin_inf();

  // The largest of what reaches a state, and which that was: of equals the first.
  struct Best {
    V v;
    Int second, third;
    friend FASTSEQ_INLINE Best sum(const Best& a, const Best& b) { return {max(a.v, b.v), b.v > a.v, Int{}}; }
    friend FASTSEQ_INLINE Best sum(const Best& a, const Best& b, const Best& c) {
      const V most = max(a.v, b.v);
      return {max(most, c.v), b.v > a.v, c.v > most};
    }
  };

  // Where a register of states came from, three times a bit per lane: blanks that came from the label before,
  // labels that came from the blank before, labels that came from the label before.
  struct Origin {
    std::uint8_t from_label, from_blank, from_other;
  };

  // Registers [begin, end) of the two rows of states. A chunk has a register of its own before its labels:
  // there lies the last label of the chunk below, which is some frames ahead.
  struct Rows {
    std::ptrdiff_t begin, end;
    double *blank, *label;
  };

  // Where the way back is: in label_k or in blank_k; frames and log-probability of the label so far.
  struct Walk {
    std::ptrdiff_t k;
    bool in_label;
    std::ptrdiff_t count;
    double sum;
  };

  const CtcPath<T>& s_;
  const std::ptrdiff_t row_, strip_;  // states of a row; of the part of it that a block of the path can touch
  char* next_;                        // free work space
  double *blank_, *label_;            // (row_), (row_ + a register per chunk)
  double *apart_, *gap_;              // (row_): -inf where a label is the one before; all ones at gaps
  double* kept_;                      // (blocks, 2, row_): the states before each block
  double* edges_;                     // (chunks, frames + 1): the last label of a chunk before each frame
  double* wrong_;                     // (chunks): not 0 where something read is no probability
  T *most_, *rest_, *emitted_;        // (frames), (frames): log p = (x - most) - rest; (row_)
  Origin* origins_;                   // (block, registers of strip_)

 public:
  static std::ptrdiff_t work_bytes(const CtcPath<T>& s) {
    const std::ptrdiff_t row = row_of(s), doubles = 4 * row + L * s.chunks + 2 * row * blocks_of(s) +
                                                    s.chunks * (s.frames + 1) + s.chunks;
    return doubles * static_cast<std::ptrdiff_t>(sizeof(double)) +
           (2 * s.frames + row) * static_cast<std::ptrdiff_t>(sizeof(T)) +
           s.block * (strip_of(s) / L) * static_cast<std::ptrdiff_t>(sizeof(Origin));
  }
  static std::ptrdiff_t max_chunks(const CtcPath<T>& s) { return row_of(s) / L; }

  explicit CtcViterbi(const CtcPath<T>& s)
      : s_(s), row_(row_of(s)), strip_(strip_of(s)), next_(static_cast<char*>(s.work)) {
    blank_ = take<double>(row_);
    label_ = take<double>(row_ + L * s.chunks);
    apart_ = take<double>(row_);
    gap_ = take<double>(row_);
    kept_ = take<double>(2 * row_ * blocks_of(s));
    edges_ = take<double>(s.chunks * (s.frames + 1));
    wrong_ = take<double>(s.chunks);
    most_ = take<T>(s.frames);
    rest_ = take<T>(s.frames);
    emitted_ = take<T>(row_);
    origins_ = take<Origin>(s.block * (strip_ / L));
  }

  void run() const {
    prepare();
    log_sums(0, s_.frames);
    for (std::ptrdiff_t b = 0; b + 1 < blocks_of(s_); ++b)
      for (std::ptrdiff_t c = 0; c < s_.chunks; ++c) advance(c, b);
    trace();
  }

  // Before the first frame: as if in blank_0.
  void prepare() const {
    const double all = from_bits(V(), Int{} - 1).v[0];
    for (std::ptrdiff_t k = 0; k < row_; ++k) {
      blank_[k] = k == 0 ? 0 : none;
      apart_[k] = k > 0 && k < s_.labels && s_.label[k] != s_.label[k - 1] ? 0 : none;
      gap_[k] = s_.gap != nullptr && k <= s_.labels && s_.gap[k] ? all : 0;
    }
    for (std::ptrdiff_t k = 0; k < row_ + L * s_.chunks; ++k) label_[k] = none;
    for (std::ptrdiff_t c = 0; c < s_.chunks; ++c) {
      wrong_[c] = 0;
      edge(c)[0] = none;
      if (s_.frames > 0) keep(rows(c), 0);
    }
  }

  void log_sums(std::ptrdiff_t begin, std::ptrdiff_t end) const {
    for (std::ptrdiff_t t = begin; t < end; ++t) {
      most_[t] = rest_[t] = T(0);
      if (s_.input != CtcInput::logits) continue;
      const RowSum<T> sum = row_sum(s_.classes, frame(t), static_cast<T*>(nullptr), s_.classes);
      most_[t] = sum.most;
      rest_[t] = log(Vec<T>(sum.total)).v[0];
    }
  }

  void advance(std::ptrdiff_t chunk, std::ptrdiff_t block) const {
    const Rows r = rows(chunk);
    const std::ptrdiff_t begin = block * s_.block;
    for (std::ptrdiff_t t = begin; t < begin + s_.block; ++t) {
      if (chunk > 0) r.label[r.begin - 1] = edge(chunk - 1)[t];
      if (step<false>(r, t, nullptr)) wrong_[chunk] = 1;
      edge(chunk)[t + 1] = r.label[r.end - 1];
    }
    keep(r, block + 1);
  }

  void trace() const {
    double score = 0;
    for (std::ptrdiff_t t = 0; t < s_.frames; ++t) score -= static_cast<double>(rest_[t]);
    bool wrong = score != score;
    for (std::ptrdiff_t c = 0; c < s_.chunks; ++c) wrong = wrong || wrong_[c] != 0;
    Walk walk = {s_.labels, false, 0, 0};
    for (std::ptrdiff_t b = blocks_of(s_); b-- > 0 && !wrong;) {
      const std::ptrdiff_t begin = b * s_.block, last = begin + s_.block,
                           end = last < s_.frames ? last : s_.frames;
      const Rows r = again(b, walk.k);
      for (std::ptrdiff_t t = begin; t < end; ++t) {
        const bool bad = step<true>(r, t, origins_ + (t - begin) * (strip_ / L));
        wrong = wrong || bad;
      }
      if (end == s_.frames) {
        const double at_blank = r.blank[s_.labels], at_label = r.label[s_.labels - 1];
        walk.in_label = at_label > at_blank;
        walk.k -= walk.in_label;
        score += walk.in_label ? at_label : at_blank;
        if (wrong || score == none) break;
      }
      for (std::ptrdiff_t t = end; t-- > begin;)
        go_back(walk, t, r.begin, origins_ + (t - begin) * (strip_ / L));
    }
    finish(wrong ? __builtin_nan("") : score);
  }

 private:
  static std::ptrdiff_t row_of(const CtcPath<T>& s) { return (s.labels + 1 + L - 1) / L * L; }
  static std::ptrdiff_t blocks_of(const CtcPath<T>& s) { return (s.frames + s.block - 1) / s.block; }
  static std::ptrdiff_t strip_of(const CtcPath<T>& s) {
    const std::ptrdiff_t reach = (s.block / L + 3) * L, all = row_of(s);
    return reach < all ? reach : all;
  }

  template <class U>
  U* take(std::ptrdiff_t count) {
    U* const mine = reinterpret_cast<U*>(next_);
    next_ += count * static_cast<std::ptrdiff_t>(sizeof(U));
    return mine;
  }

  const T* frame(std::ptrdiff_t t) const { return s_.inputs + t * s_.classes; }
  double* edge(std::ptrdiff_t chunk) const { return edges_ + chunk * (s_.frames + 1); }

  Rows rows(std::ptrdiff_t chunk) const {
    const auto cut = [&](std::ptrdiff_t c) { return row_ / L * c / s_.chunks * L; };
    return {cut(chunk), cut(chunk + 1), blank_, label_ + L * (chunk + 1)};
  }

  void keep(const Rows& r, std::ptrdiff_t block) const {
    double* const to = kept_ + 2 * row_ * block;
    for (std::ptrdiff_t k = r.begin; k < r.end; ++k) {
      to[k] = r.blank[k];
      to[row_ + k] = r.label[k];
    }
  }

  // The states before a block at whose end the path is at k: those it can have come through.
  Rows again(std::ptrdiff_t block, std::ptrdiff_t k) const {
    const std::ptrdiff_t first = k - s_.block - 1;
    const Rows r = {(first > 0 ? first : 0) / L * L, k / L * L + L, blank_, label_ + L};
    const double* const from = kept_ + 2 * row_ * block;
    for (std::ptrdiff_t i = r.begin; i < r.end; ++i) {
      r.blank[i] = from[i];
      r.label[i] = from[row_ + i];
    }
    r.label[r.begin - 1] = none;
    return r;
  }

  static FASTSEQ_INLINE V widened(const float* p) {
#if FASTSEQ_VECTOR_BYTES == 64 && defined(__AVX512F__)
    return V(_mm512_maskz_cvtps_pd(-1, _mm256_loadu_ps(p)));
#elif FASTSEQ_VECTOR_BYTES == 32 && defined(__AVX2__)
    return V(_mm256_cvtps_pd(_mm_loadu_ps(p)));
#else
    typename V::Native v;
    for (std::ptrdiff_t i = 0; i < L; ++i) v[i] = static_cast<double>(p[i]);
    return V(v);
#endif
  }
  static FASTSEQ_INLINE V widened(const double* p) { return V::load(p); }

  // Numbers below 0 count as 0, as in the loss.
  static FASTSEQ_INLINE Vec<T> logarithm(Vec<T> p) {
    return select<T>(p <= Vec<T>(T(0)), Vec<T>(static_cast<T>(none)), log(p));
  }

  // What a class lacks of the frame's largest logit, or its log-probability where that is given.
  double lack(std::ptrdiff_t t, std::int64_t c) const {
    const T x = frame(t)[c];
    if (s_.input == CtcInput::probs) return static_cast<double>(logarithm(Vec<T>(x)).v[0]);
    return static_cast<double>(x) - static_cast<double>(most_[t]);
  }
  double gap(std::ptrdiff_t t, double blank) const {
    const double score = s_.gap_score + static_cast<double>(rest_[t]);
    return score > blank ? score : blank;
  }

  // Emitted by the labels that lie on an alignment at frame t, among k in [begin, end); others cannot be.
  // Whether there is something that is no probability.
  FASTSEQ_INLINE bool emit(std::ptrdiff_t t, std::ptrdiff_t begin, std::ptrdiff_t end) const {
    const T* const x = frame(t);
    const std::ptrdiff_t first = s_.labels - s_.frames + t, last = t + 1 < s_.labels ? t + 1 : s_.labels;
    T* const emitted = emitted_;
    const std::int64_t* const label = s_.label;
    std::ptrdiff_t k = begin;
    for (; k < end && k < first; ++k) emitted[k] = static_cast<T>(none);
    const std::ptrdiff_t stop = end < last ? end : last;
#pragma GCC unroll 4
    for (; k < stop; ++k) emitted[k] = x[label[k]];
    for (; k < end; ++k) emitted[k] = static_cast<T>(none);
    if (s_.input == CtcInput::logits) return false;
    const auto is_score = [](Vec<T> y) FASTSEQ_INLINED { return y < Vec<T>(static_cast<T>(-none)); };
    auto right = is_score(Vec<T>(static_cast<T>(lack(t, s_.blank))));
    for (k = begin; k < end; k += Vec<T>::lanes) {
      Vec<T> y = load_part_or(emitted_ + k, end - k, static_cast<T>(none));
      if (s_.input == CtcInput::probs) y = logarithm(y);
      y.store_part(emitted_ + k, end - k);
      right &= is_score(y);
    }
    return lane_bits<T>(~right) != 0;
  }

  // One frame. From high to low: a state reads those before it, as they were. True where something read is no
  // probability.
  template <bool traced, bool gaps>
  bool step(const Rows& r, std::ptrdiff_t t, Origin* origins) const {
    const std::ptrdiff_t first = s_.labels - s_.frames + t, last = t < s_.labels ? t : s_.labels;
    const std::ptrdiff_t low = (first > 0 ? first : 0) / L * L, high = last / L * L + L, floor = r.begin;
    const std::ptrdiff_t begin = low > floor ? low : floor, end = high < r.end ? high : r.end;
    if (begin >= end) return false;
    const bool wrong = emit(t, begin, end);
    const double at_blank = lack(t, s_.blank);
    const V blank(at_blank), in_gap(gaps ? gap(t, at_blank) : 0), most(static_cast<double>(most_[t]));
    const auto state = [](const double* p) FASTSEQ_INLINED { return Best{V::load(p), Int{}, Int{}}; };
    [[maybe_unused]] const auto bits = [](Int mask) FASTSEQ_INLINED {
      return static_cast<std::uint8_t>(lane_bits<double>(mask));
    };
    // Registers may be stored over anything: pointers that they might change are read once.
    double *const blanks = r.blank, *const labels = r.label;
    const double *const apart = apart_, *const gap_there = gap_;
    const T* const emitted = emitted_;
    for (std::ptrdiff_t k = end - L; k >= begin; k -= L) {
      const Best before = state(labels + k - 1), at_b = state(blanks + k);
      const Best other = {before.v + V::load(apart + k), Int{}, Int{}};
      const Best to_blank = ctc_blank(at_b, before), to_label = ctc_label(state(labels + k), at_b, other);
      V at_k = blank;
      if constexpr (gaps) at_k = select<double>(to_bits(V::load(gap_there + k)), in_gap, blank);
      (to_blank.v + at_k).store(blanks + k);
      (to_label.v + (widened(emitted + k) - most)).store(labels + k);
      if constexpr (traced)
        origins[(k - floor) / L] = {bits(to_blank.second), bits(to_label.second), bits(to_label.third)};
    }
    return wrong;
  }

  template <bool traced>
  bool step(const Rows& r, std::ptrdiff_t t, Origin* origins) const {
    return s_.gap != nullptr ? step<traced, true>(r, t, origins) : step<traced, false>(r, t, origins);
  }

  // Writes what there is to say of frame t, and goes to where the path was before it.
  void go_back(Walk& walk, std::ptrdiff_t t, std::ptrdiff_t begin, const Origin* origins) const {
    const std::ptrdiff_t k = walk.k;
    const std::int64_t c = walk.in_label ? s_.label[k] : s_.blank;
    const double y = lack(t, c) - static_cast<double>(rest_[t]);
    s_.path[t] = c;
    if (s_.log_probs != nullptr) s_.log_probs[t] = static_cast<T>(y);

    const Origin& from = origins[(k - begin) / L];
    const auto is = [&](unsigned bits) { return (bits >> ((k - begin) % L) & 1u) != 0; };
    if (!walk.in_label) {
      walk.in_label = is(from.from_label);
      walk.k -= walk.in_label;
      return;
    }
    if (walk.count++ == 0) s_.ends[k] = t + 1;
    walk.sum += y;
    const bool other = is(from.from_other), leaves = other || is(from.from_blank);
    if (!leaves && t > 0) return;
    s_.starts[k] = t;
    s_.confidences[k] = static_cast<T>(walk.sum / static_cast<double>(walk.count));  // its logarithm
    walk = {k - other, other, 0, 0};
  }

  void finish(double score) const {
    *s_.score = static_cast<T>(score);
    const bool found = score > none;
    for_columns<T>(s_.labels, [&](auto k, auto part) {
      Vec<T> y(T(score != score ? score : 0));
      if (found) y = exp(Vec<T>::load_part(s_.confidences + k, part));
      y.store_part(s_.confidences + k, part);
    });
  }
};

template <class T>
constexpr CtcAlignTable<T> ctc_align_table() {
  using S = CtcPath<T>;
  using Viterbi = CtcViterbi<T>;
  return {Viterbi::work_bytes,
          Viterbi::max_chunks,
          [](const S& s) { Viterbi(s).run(); },
          [](const S& s) { Viterbi(s).prepare(); },
          [](const S& s, std::ptrdiff_t begin, std::ptrdiff_t end) { Viterbi(s).log_sums(begin, end); },
          [](const S& s, std::ptrdiff_t chunk, std::ptrdiff_t block) { Viterbi(s).advance(chunk, block); },
          [](const S& s) { Viterbi(s).trace(); }};
}

}  // namespace FASTSEQ_TARGET
}  // namespace fastseq
