// CTC of one sequence: a way forward over the frames and a way back, which meet in the middle and cross.
//
// States lie as two rows, blank_k (k = 0..L) and label_k (k = 0..L-1), so that every step is a few loops over
// registers. What enters a state is kept before the frame's own probability: together with what leaves it on
// the way back that gives the gradient of probabilities without dividing by them.
#pragma once

#include "cpu/ctc_kernels.h"
#include "cpu/rowwise_activation.h"
#include "cpu/scaled.h"
#include "math/ctc_step.h"

namespace fastseq {
namespace FASTSEQ_TARGET {

template <class T>
class CtcSweep {
  using V = Vec<T>;
  using Int = typename V::Int;
  using N = Scaled<T>;
  static constexpr std::ptrdiff_t L = V::lanes;

  // A row of numbers, with a register of zeros before and after it.
  struct Row {
    T *m, *e;
    FASTSEQ_INLINE N at(std::ptrdiff_t k) const { return N::load(m + k, e + k); }
    FASTSEQ_INLINE void put(std::ptrdiff_t k, const N& n) const { n.store(m + k, e + k); }
  };

  // The states at one time, after the frame's probability.
  struct States {
    Row blank, label;
    FASTSEQ_INLINE void put(std::ptrdiff_t k, const N& at_blank, const N& at_label) const {
      blank.put(k, at_blank);
      label.put(k, at_label);
    }
  };

  // What the first to come leaves at a frame: what entered its states, or what left them on the way back; the
  // probabilities of the labels and of the blank; room for the labels' part of the gradient.
  struct Frame {
    States kept;
    Row emitted;
    T *blank_m, *blank_e, *posterior;
  };

  const CtcSequence<T>& s_;
  const std::ptrdiff_t row_;   // elements of a row of states, whole registers
  const std::ptrdiff_t half_;  // frames of the way forward's first half
  T* next_;                    // free work space
  States now_, back_;          // on the way forward, on the way back
  T* apart_;                   // (row_ + L): all ones where a label differs from the one before
  T* total_;                   // mantissa, and exponent in bits: the probability of all alignments
  T* records_;

 public:
  static std::ptrdiff_t row_of(const CtcSequence<T>& s) { return (s.labels + 1 + L - 1) / L * L; }
  static std::ptrdiff_t record_of(const CtcSequence<T>& s) { return 7 * row_of(s) + 2 * L; }
  static std::ptrdiff_t work_count(const CtcSequence<T>& s) {
    const std::ptrdiff_t row = row_of(s);
    return 8 * (row + 2 * L) + (row + L) + 2 * L + (s.gradient ? s.frames : 1) * record_of(s);
  }

  explicit CtcSweep(const CtcSequence<T>& s)
      : s_(s), row_(row_of(s)), half_(s.gradient ? s.frames / 2 : s.frames), next_(s.work) {
    now_ = {take_row(), take_row()};
    back_ = {take_row(), take_row()};
    apart_ = take(row_ + L);
    total_ = take(2 * L);
    records_ = next_;
  }

  void prepare() const {
    const V all = from_bits(V(), Int{} - 1);
    for (std::ptrdiff_t k = 0; k < row_ + L; ++k)
      apart_[k] = k > 0 && k < s_.labels && s_.label[k] != s_.label[k - 1] ? all.v[0] : T(0);
    for (std::ptrdiff_t k = -L; k < row_ + L; k += L) {
      now_.put(k, N::zero(), N::zero());
      back_.put(k, N::zero(), N::zero());
    }
  }

  void run() const {
    prepare();
    for (std::ptrdiff_t t = 0; t < half_; ++t) {
      emit_frame(t, t + 1);
      step_forward<false>(t);
    }
    if (!s_.gradient) return finish();
    for (std::ptrdiff_t t = s_.frames; t-- > half_;) {
      emit_frame(t, t - 1);
      step_back<false>(t);
    }
    join();
    cross(CtcWay::forward);
    cross(CtcWay::back);
  }

  void emit(std::ptrdiff_t begin, std::ptrdiff_t end) const {
    for (std::ptrdiff_t t = begin; t < end; ++t) emit_frame(t, t + 1);
  }

  void half(CtcWay way) const {
    if (way == CtcWay::forward)
      for (std::ptrdiff_t t = 0; t < half_; ++t) step_forward<false>(t);
    else
      for (std::ptrdiff_t t = s_.frames; t-- > half_;) step_back<false>(t);
  }

  // The probability of all alignments, where the two ways meet.
  void join() const {
    N total = N::zero();
    if (s_.frames > 0) {
      const Band b = band(half_);
      for (std::ptrdiff_t k = b.begin; k < b.end; k += L) {
        const Pair in = entering(half_, k);
        total = sum(total, in.blank * back_.blank.at(k), in.label * back_.label.at(k)).normal();
      }
      const N lanes = total;
      alignas(64) T m[L], e[L];
      lanes.store(m, e);
      total = N::zero();
      for (int i = 0; i < L; ++i) total = sum(total, N::broadcast(m + i, e + i)).normal();
    }
    total.store(total_, total_ + L);
  }

  void cross(CtcWay way) const {
    const bool forward = way == CtcWay::forward;
    if (total_[0] == T(0))
      no_gradient(forward ? half_ : 0, forward ? s_.frames : half_);
    else if (forward)
      for (std::ptrdiff_t t = half_; t < s_.frames; ++t) step_forward<true>(t);
    else
      for (std::ptrdiff_t t = half_; t-- > 0;) step_back<true>(t);
    if (forward) finish();
  }

 private:
  T* take(std::ptrdiff_t count) {
    T* const mine = next_;
    next_ += count;
    return mine;
  }
  Row take_row() {
    T *m = take(row_ + 2 * L), *e = take(row_ + 2 * L);
    return {m + L, e + L};
  }

  Frame frame(std::ptrdiff_t t) const {
    T* at = records_ + (s_.gradient ? t : 0) * record_of(s_);
    const auto row = [&] {
      const Row r = {at, at + row_};
      at += 2 * row_;
      return r;
    };
    const Row blank = row(), label = row(), emitted = row();
    return {{blank, label}, emitted, at, at + L, at + 2 * L};
  }

  void no_gradient(std::ptrdiff_t begin, std::ptrdiff_t end) const {
    for (std::ptrdiff_t i = begin * s_.classes; i < end * s_.classes; ++i) s_.gradient[i] = T(0);
  }

  // States that lie on an alignment at frame t: all others are zero on one of the two ways. In whole
  // registers.
  struct Band {
    std::ptrdiff_t begin, end;
  };
  Band band(std::ptrdiff_t t) const {
    const std::ptrdiff_t first = s_.labels - s_.frames + t, last = t < s_.labels ? t : s_.labels;
    return {(first > 0 ? first : 0) / L * L, last / L * L + L};
  }

  // Probabilities of the frame's labels and blank; with a gradient of logits, the whole softmax into it.
  // `next` is the frame whose turn comes after this one.
  void emit_frame(std::ptrdiff_t t, std::ptrdiff_t next) const {
    const std::ptrdiff_t C = s_.classes;
    const T* x = s_.inputs + t * C;
    const Frame f = frame(t);
    V most(T(0)), rest(T(0));  // the logarithm of a class is (x - most) - rest
    if (s_.input == CtcInput::logits) {
      T* p = s_.gradient ? s_.gradient + t * C : nullptr;
      const RowSum<T> sum = row_sum(C, x, p, (next - t) * C);
      const V all(sum.total);
      most = V(sum.most);
      rest = log(all);
      if (p) {
        const V scale = V(s_.weight) / all;
        for_columns<T>(
            C, [&](auto c, auto part) { (V::load_part(p + c, part) * scale).store_part(p + c, part); });
      }
    } else if (s_.gradient) {
      for (std::ptrdiff_t c = 0; c < C; ++c) s_.gradient[t * C + c] = T(0);
    }
    const Band b = band(t);
    // Places beyond the labels get a probability of at most 1, so that none outgrows what counts.
    for (std::ptrdiff_t k = b.begin; k < b.end; ++k)
      f.posterior[k] = k < s_.labels ? x[s_.label[k]] : most.v[0];
    const auto probability = [&](V each) FASTSEQ_INLINED {
      return s_.input == CtcInput::probs ? N::of(each) : N::exponential((each - most) - rest);
    };
    for (std::ptrdiff_t k = b.begin; k < b.end; k += L)
      f.emitted.put(k, probability(V::load(f.posterior + k)));
    probability(V(x[s_.blank])).store(f.blank_m, f.blank_e);
  }

  // The number 1 in place `at` of a row, as the registers from k on see it.
  static FASTSEQ_INLINE N one_at(std::ptrdiff_t at, std::ptrdiff_t k) {
    const V one = V::one_hot(at - k);
    return {one, one > V(T(0)) ? Int{} : Int{} + N::lowest};
  }

  FASTSEQ_INLINE N only_apart(const N& n, std::ptrdiff_t k) const {
    return {n.m, to_bits(V::load(apart_ + k)) ? n.e : Int{} + N::lowest};
  }

  struct Pair {
    N blank, label;
  };

  // What enters states k... at frame t, from the states as they are on the way forward.
  FASTSEQ_INLINE Pair entering(std::ptrdiff_t t, std::ptrdiff_t k) const {
    if (t == 0) return {one_at(0, k), one_at(0, k)};
    const N blank = now_.blank.at(k), label = now_.label.at(k), before = now_.label.at(k - 1);
    return {ctc_blank(blank, before), ctc_label(label, blank, only_apart(before, k))};
  }

  // What leaves them on the way back.
  FASTSEQ_INLINE Pair leaving(std::ptrdiff_t t, std::ptrdiff_t k) const {
    if (t == s_.frames - 1) return {one_at(s_.labels, k), one_at(s_.labels - 1, k)};
    const N label = back_.label.at(k), after = back_.label.at(k + 1);
    return {ctc_blank(back_.blank.at(k), label),
            ctc_label(label, back_.blank.at(k + 1), only_apart(after, k + 1))};
  }

  // One frame on the way forward. From high to low: a state reads those before it, as they were.
  template <bool crossed>
  void step_forward(std::ptrdiff_t t) const {
    const Frame f = frame(t);
    const N blank = N::load(f.blank_m, f.blank_e);
    const Band b = band(t);
    V blanks(T(0));
    for (std::ptrdiff_t k = b.end - L; k >= b.begin; k -= L) {
      const Pair in = entering(t, k);
      const N label = f.emitted.at(k);
      if constexpr (crossed)
        blanks += posterior(f, k, in, {f.kept.blank.at(k), f.kept.label.at(k)}, {blank, label});
      else
        f.kept.put(k, in.blank, in.label);
      now_.put(k, in.blank * blank, in.label * label);
    }
    if constexpr (crossed) subtract(f, b, t, blanks);
  }

  // One frame on the way back. From low to high: a state reads those after it, as they were.
  template <bool crossed>
  void step_back(std::ptrdiff_t t) const {
    const Frame f = frame(t);
    const N blank = N::load(f.blank_m, f.blank_e);
    const Band b = band(t);
    V blanks(T(0));
    for (std::ptrdiff_t k = b.begin; k < b.end; k += L) {
      const Pair out = leaving(t, k);
      const N label = f.emitted.at(k);
      if constexpr (crossed)
        blanks += posterior(f, k, {f.kept.blank.at(k), f.kept.label.at(k)}, out, {blank, label});
      else
        f.kept.put(k, out.blank, out.label);
      back_.put(k, out.blank * blank, out.label * label);
    }
    if constexpr (crossed) subtract(f, b, t, blanks);
  }

  // Minus the logarithm of the probability of all alignments, from the end of the way forward.
  void finish() const {
    const std::ptrdiff_t last = s_.labels;
    N total = {V(T(last == 0)), Int{}};
    if (s_.frames > 0)
      total = sum(N::broadcast(now_.blank.m + last, now_.blank.e + last),
                  N::broadcast(now_.label.m + last - 1, now_.label.e + last - 1))
                  .normal();
    const T m = total.m.v[0];
    const double logarithm = log(Vec<double>(static_cast<double>(m))).v[0];
    *s_.loss =
        m == T(0) || (s_.gradient && s_.frames > 0 && total_[0] == T(0))
            ? T(__builtin_inf())
            : static_cast<T>(0.0 - (logarithm + static_cast<double>(total.e[0]) * 0.69314718055994530942));
  }

  // The share of all alignments that goes through states k..., the labels' into f.posterior, the blanks'
  // returned. Of probabilities, divided by them: without the product with what is emitted.
  FASTSEQ_INLINE V posterior(const Frame& f, std::ptrdiff_t k, const Pair& in, const Pair& out,
                             const Pair& emitted) const {
    const bool divided = s_.input == CtcInput::probs;
    const N blank = divided ? out.blank : out.blank * emitted.blank;
    const N label = divided ? out.label : out.label * emitted.label;
    const V scale = V(s_.weight) / V::load(total_);
    const auto shift = to_bits(V::load(total_ + L))[0];
    (in.label * label).plain(scale, shift).store(f.posterior + k);
    return (in.blank * blank).plain(scale, shift);
  }

  FASTSEQ_INLINE void subtract(const Frame& f, const Band& b, std::ptrdiff_t t, V blanks) const {
    T* d = s_.gradient + t * s_.classes;
    const std::ptrdiff_t end = b.end < s_.labels ? b.end : s_.labels;
    for (std::ptrdiff_t k = b.begin; k < end; ++k) d[s_.label[k]] -= f.posterior[k];
    d[s_.blank] -= sum(blanks);
  }
};

template <class T>
constexpr CtcTable<T> ctc_table() {
  using S = CtcSequence<T>;
  using Sweep = CtcSweep<T>;
  return {Sweep::work_count,
          [](const S& s) { Sweep(s).run(); },
          [](const S& s) { Sweep(s).prepare(); },
          [](const S& s, std::ptrdiff_t begin, std::ptrdiff_t end) { Sweep(s).emit(begin, end); },
          [](const S& s, CtcWay way) { Sweep(s).half(way); },
          [](const S& s) { Sweep(s).join(); },
          [](const S& s, CtcWay way) { Sweep(s).cross(way); }};
}

}  // namespace FASTSEQ_TARGET
}  // namespace fastseq
