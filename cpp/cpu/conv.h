// Convolution as products of windows with the kernel: C = bias + A B, where row r of A is what position r
// sees, in the order (tap along w, tap along h, channel).
//
// A is never made whole. A strip of positions along w gets a line buffer [column][tap along h][channel], in
// which the windows lie one after the other, overlapping: A(r, k) is line[r * stride * taps_h * C + k], zeros
// of the padding included. So an image of one channel is as good as one of many, and the gradient of the
// kernel reads the same buffer as A transposed. Windows with gaps (dilation), or few positions along w, are
// copied out one by one instead. The gradient of the input is a convolution too: of dy, with the kernel
// turned round, one for each phase of the strides.
#pragma once

#include "cpu/conv_kernels.h"
#include "cpu/panels.h"

namespace fastseq {
namespace FASTSEQ_TARGET {

FASTSEQ_INLINE std::ptrdiff_t larger(std::ptrdiff_t a, std::ptrdiff_t b) { return a > b ? a : b; }
FASTSEQ_INLINE std::ptrdiff_t within(std::ptrdiff_t low, std::ptrdiff_t x, std::ptrdiff_t high) {
  return larger(low, smaller(x, high));
}
FASTSEQ_INLINE std::ptrdiff_t parts_of(std::ptrdiff_t all, std::ptrdiff_t part) {
  return (all + part - 1) / part;
}

// One axis of windows: position i sees, through tap k, the source at i * stride + first + k * step.
struct Taps {
  std::ptrdiff_t positions, source, stride, first, step, count;

  FASTSEQ_INLINE bool inside() const {
    return first >= 0 && (positions - 1) * stride + first + (count - 1) * step < source;
  }
};

// Neighbours along w, that a product works on at once.
struct Strip {
  std::ptrdiff_t n, row, column, count;
};

// What all positions see of (N, source, source, channels).
struct Windows {
  std::ptrdiff_t N, channels;
  Taps h, w;
  enum class Way { in_place, line, patch } way;
  std::ptrdiff_t width;  // positions of a strip, at most

  FASTSEQ_INLINE std::ptrdiff_t depth() const { return h.count * w.count * channels; }
  FASTSEQ_INLINE std::ptrdiff_t across() const { return parts_of(w.positions, width); }
  // Patches do not care for rows and images, unless positions do not lie side by side (see `apart`).
  FASTSEQ_INLINE std::ptrdiff_t strips() const {
    return way == Way::patch ? parts_of(N * h.positions * w.positions, width) : N * h.positions * across();
  }
  FASTSEQ_INLINE Strip strip(std::ptrdiff_t i) const {
    if (way == Way::patch) {
      const std::ptrdiff_t first = i * width, all = N * h.positions * w.positions;
      const std::ptrdiff_t row = first / w.positions;
      return {row / h.positions, row % h.positions, first % w.positions, smaller(width, all - first)};
    }
    const std::ptrdiff_t row = i / across(), column = i % across() * width;
    return {row / h.positions, row % h.positions, column, smaller(width, w.positions - column)};
  }
  // Of A: elements from one row to the next, and of a strip in all.
  FASTSEQ_INLINE std::ptrdiff_t a_row() const {
    return way == Way::patch ? depth() : w.stride * h.count * channels;
  }
  FASTSEQ_INLINE std::ptrdiff_t buffer_count() const {
    switch (way) {
      case Way::in_place:
        return 0;
      case Way::line:
        return ((width - 1) * w.stride + w.count) * h.count * channels;
      default:
        return width * depth();
    }
  }
};

// Fewer positions than this along w make too little of a product by themselves.
constexpr std::ptrdiff_t short_row = 16;

// apart: neighbours' results do not lie side by side, so a strip stays in its row.
inline Windows windows_of(std::ptrdiff_t N, std::ptrdiff_t channels, const Taps& h, const Taps& w,
                          bool apart) {
  Windows all = {N, channels, h, w, Windows::Way::line, block_rows};
  const bool dense = w.step == 1 || w.count <= 1;
  if (dense && h.count == 1 && h.inside() && w.inside())
    all.way = Windows::Way::in_place;
  else if (!apart && (!dense || w.positions < short_row))
    all.way = Windows::Way::patch;
  else if (!dense)
    all.way = Windows::Way::patch;
  if (all.way == Windows::Way::patch) {
    if (apart) all.width = 1;
  } else if (w.positions > 0) {
    all.width = parts_of(w.positions, parts_of(w.positions, block_rows));
  }
  return all;
}

inline Taps forward_taps(const ConvAxis& axis) {
  return {axis.output, axis.input, axis.stride, -axis.before, axis.dilation, axis.taps};
}

// The inputs p, p + stride, ... of an axis as positions that see its outputs: through tap j of the kernel's
// `last - j * apart`.
struct Phase {
  Taps taps;
  std::ptrdiff_t last, apart;
};

inline Phase phase_of(const ConvAxis& axis, std::ptrdiff_t p) {
  Phase phase = {{parts_of(larger(axis.input - p, 0), axis.stride), axis.output, 1, 0, 1, 0}, 0, 1};
  for (std::ptrdiff_t k = 0; k < axis.taps; ++k) {
    if ((p + axis.before - k * axis.dilation) % axis.stride != 0) continue;
    if (phase.taps.count == 1) phase.apart = k - phase.last;
    phase.last = k;
    ++phase.taps.count;
  }
  phase.taps.first = (p + axis.before - phase.last * axis.dilation) / axis.stride;
  phase.taps.step = phase.apart * axis.dilation / axis.stride;
  if (phase.taps.count <= 1) phase.taps.step = 1;
  return phase;
}

// to[i * to_step ...] = from[i * from_step ...], `channels` each, for `count` pixels; zeros where from is
// nullptr.
template <class T>
FASTSEQ_INLINE void copy_pixels(const T* from, std::ptrdiff_t from_step, T* to, std::ptrdiff_t to_step,
                                std::ptrdiff_t count, std::ptrdiff_t channels) {
  using V = Vec<T>;
  if (channels == 1) {
    for (std::ptrdiff_t i = 0; i < count; ++i) to[i * to_step] = from != nullptr ? from[i * from_step] : T(0);
    return;
  }
  for (std::ptrdiff_t i = 0; i < count; ++i) {
    for (std::ptrdiff_t c = 0; c < channels; c += V::lanes) {
      const V part = from != nullptr ? V::load_part(from + i * from_step + c, channels - c) : V(T(0));
      part.store_part(to + i * to_step + c, channels - c);
    }
  }
}

// The pixels of one row of the source from `first` on, zeros outside of it; row may be nullptr.
template <class T>
FASTSEQ_INLINE void copy_row(const T* row, std::ptrdiff_t columns, std::ptrdiff_t first, T* to,
                             std::ptrdiff_t to_step, std::ptrdiff_t count, std::ptrdiff_t channels) {
  const std::ptrdiff_t begin = row != nullptr ? within(0, -first, count) : count;
  const std::ptrdiff_t end = row != nullptr ? within(begin, columns - first, count) : count;
  const T* none = nullptr;
  if (begin > 0) copy_pixels(none, 0, to, to_step, begin, channels);
  if (end > begin)
    copy_pixels(row + (first + begin) * channels, channels, to + begin * to_step, to_step, end - begin,
                channels);
  if (count > end) copy_pixels(none, 0, to + end * to_step, to_step, count - end, channels);
}

// Where A of a strip lies: in the source, or in `buffer`, which is filled.
template <class T>
const T* windows_at(const Windows& of, const T* source, const Strip& strip, T* buffer) {
  const std::ptrdiff_t C = of.channels, row_size = of.w.source * C, image = of.h.source * row_size;
  const auto row_of = [&](std::ptrdiff_t n, std::ptrdiff_t row, std::ptrdiff_t k) -> const T* {
    const std::ptrdiff_t at = row * of.h.stride + of.h.first + k * of.h.step;
    return at < 0 || at >= of.h.source ? nullptr : source + n * image + at * row_size;
  };
  switch (of.way) {
    case Windows::Way::in_place:
      return row_of(strip.n, strip.row, 0) + (strip.column * of.w.stride + of.w.first) * C;
    case Windows::Way::line: {
      const std::ptrdiff_t columns = (strip.count - 1) * of.w.stride + of.w.count;
      for (std::ptrdiff_t k = 0; k < of.h.count; ++k)
        copy_row(row_of(strip.n, strip.row, k), of.w.source, strip.column * of.w.stride + of.w.first,
                 buffer + k * C, of.h.count * C, columns, C);
      return buffer;
    }
    default: {
      Strip at = strip;
      for (std::ptrdiff_t i = 0; i < strip.count; ++i) {
        T* to = buffer + i * of.depth();
        for (std::ptrdiff_t k = 0; k < of.h.count; ++k) {
          const T* row = row_of(at.n, at.row, k);
          for (std::ptrdiff_t j = 0; j < of.w.count; ++j)
            copy_row(row, of.w.source, at.column * of.w.stride + of.w.first + j * of.w.step,
                     to + (j * of.h.count + k) * C, 0, 1, C);
        }
        if (++at.column < of.w.positions) continue;
        at.column = 0;
        if (++at.row < of.h.positions) continue;
        at.row = 0;
        ++at.n;
      }
      return buffer;
    }
  }
}

// Where results go: position (n, row, column) at to + n * image + row * row_step + column * step.
template <class T>
struct Places {
  T* to;
  std::ptrdiff_t image, row_step, step;

  FASTSEQ_INLINE T* at(const Strip& s) const { return to + s.n * image + s.row * row_step + s.column * step; }
};

// activation(bias + A B) for some strips. b: panels, rows of each in the order of windows.
template <class T>
void convolve(const Windows& of, const T* source, const Panels<T>& panels, const T* b, const T* bias,
              const Places<T>& places, Activation activation, Part strips, T* buffer) {
  Block<T> block;
  for (std::ptrdiff_t i = strips.begin; i < strips.end; ++i) {
    const Strip strip = of.strip(i);
    const T* a = windows_at(of, source, strip, buffer);
    for (std::ptrdiff_t p = 0; p < panels.count(); ++p) {
      const std::ptrdiff_t first = panels.first(p);
      Product<T> product = {};
      product.rows = strip.count;
      product.depth = of.depth();
      product.a = a;
      product.a_row = of.a_row();
      product.b = b + first * of.depth();
      product.init = bias != nullptr ? bias + first : nullptr;
      product_into(product,
                   {places.at(strip) + first, places.step, panels.columns_of(p), panels.padded_of(p), false,
                    activation},
                   block.buffer);
    }
  }
}

// --- forward ------------------------------------------------------------------------------------------

inline Windows forward_windows(const ConvShape& s) {
  return windows_of(s.N, s.C, forward_taps(s.h), forward_taps(s.w), false);
}

template <class T>
std::ptrdiff_t conv_forward_packed_count(const ConvShape& s) {
  return (s.h.taps * s.w.taps * s.C + 1) * Panels<T>{s.U}.padded();  // and one row of bias
}

template <class T>
std::ptrdiff_t conv_forward_member_count(const ConvShape& s) {
  return forward_windows(s).buffer_count();
}

template <class T>
void conv_forward(const ConvForward<T>& call, const Team& team) {
  const ConvShape& s = call.shape;
  const Panels<T> panels = {s.U};
  const Windows windows = forward_windows(s);
  T* bias = call.bias != nullptr ? call.packed + windows.depth() * panels.padded() : nullptr;
  const Part mine = part_of(panels.count(), 1, team);
  for (std::ptrdiff_t p = mine.begin; p < mine.end; ++p) {
    T* to = call.packed + panels.first(p) * windows.depth();
    for (std::ptrdiff_t w = 0; w < s.w.taps; ++w)
      for (std::ptrdiff_t h = 0; h < s.h.taps; ++h, to += s.C * panels.padded_of(p))
        pack_panel(panels, p, s.C, call.kernel + (h * s.w.taps + w) * s.C * s.U, to);
    if (bias != nullptr) pack_panel(panels, p, 1, call.bias, bias + panels.first(p));
  }
  team.meet(team.meeting);
  const std::ptrdiff_t row = s.w.output * s.U;
  const T* const packed = call.packed;
  convolve<T>(windows, call.x, panels, packed, bias, {call.y, s.h.output * row, row, s.U}, call.activation,
              part_of(windows.strips(), 1, team), call.member + team.index * call.member_count);
}

// --- the gradient of the kernel -------------------------------------------------------------------------

// Positions are summed up in groups, whose number no team decides, and the groups in order.
constexpr std::ptrdiff_t most_groups = 32, most_group_bytes = 16 << 20;

template <class T>
struct KernelSums {
  Windows windows;
  Panels<T> panels;

  explicit KernelSums(const ConvShape& s) : windows(forward_windows(s)), panels{s.U} {}
  // One group's: a row for each row of B, and one for the bias.
  std::ptrdiff_t count() const { return (windows.depth() + 1) * panels.padded(); }
  std::ptrdiff_t groups() const {
    const std::ptrdiff_t room =
        most_group_bytes / (larger(1, count()) * static_cast<std::ptrdiff_t>(sizeof(T)));
    return larger(1, smaller(smaller(most_groups, room), windows.strips()));
  }
  std::ptrdiff_t member_count() const {
    return windows.buffer_count() + windows.width * panels.padded() + Vec<T>::lanes;
  }
};

// sums = A' da over the strips of one group, for some rows of A'; with the first row, those of da alone.
template <class T>
void sum_group(const ConvBackward<T>& call, const KernelSums<T>& of, Part strips, Part rows, T* sums,
               T* member) {
  const ConvShape& s = call.shape;
  const Windows& windows = of.windows;
  const std::ptrdiff_t padded_row = of.panels.padded(), positions = windows.h.positions * windows.w.positions;
  const bool in_place = call.activation == Activation::linear && padded_row == s.U;
  T* const packed = member + parts_of(windows.buffer_count(), Vec<T>::lanes) * Vec<T>::lanes;
  for (std::ptrdiff_t i = strips.begin; i < strips.end; ++i) {
    const Strip strip = windows.strip(i);
    const T* a = windows_at(windows, call.x, strip, member);
    const std::ptrdiff_t from = (strip.n * positions + strip.row * windows.w.positions + strip.column) * s.U;
    for (std::ptrdiff_t p = 0; p < of.panels.count(); ++p) {
      const std::ptrdiff_t first = of.panels.first(p), padded = of.panels.padded_of(p);
      if (!in_place)
        gradient_of_sums(call.activation, call.dy + from + first, call.y + from + first, s.U, strip.count,
                         of.panels.columns_of(p), padded, packed);
      const T* da = in_place ? call.dy + from + first : packed;
      const std::ptrdiff_t da_row = in_place ? s.U : padded;
      const bool add = i > strips.begin;
      if (call.dbias != nullptr && rows.begin == 0)
        add_rows(da, da_row, strip.count,
                 {sums + windows.depth() * padded_row + first, 0, padded, padded, add, Activation::linear});
      if (call.dkernel == nullptr || rows.begin >= rows.end) continue;
      Product<T> of_rows = {};
      of_rows.rows = rows.end - rows.begin;
      of_rows.blocks = 1;
      of_rows.depth = strip.count;
      of_rows.a = a + rows.begin;
      of_rows.a_row = windows.a_row();
      of_rows.a_transposed = true;
      of_rows.b = da;
      of_rows.b_row = da_row;
      of_rows.c = sums + rows.begin * padded_row + first;
      of_rows.c_row = of_rows.init_row = padded_row;
      of_rows.c_vector = of_rows.init_vector = Vec<T>::lanes;
      of_rows.init = add ? of_rows.c : nullptr;
      product(of_rows, static_cast<int>(padded / Vec<T>::lanes));
    }
  }
}

template <class T>
void sum_groups(const ConvBackward<T>& call, const Team& team, T* member) {
  const KernelSums<T> of(call.shape);
  const std::ptrdiff_t groups = of.groups(), strips = of.windows.strips();
  // Whole groups while all members get nearly as many, else rows of every group.
  const bool by_groups = groups % team.count == 0 || groups >= 4 * team.count;
  const Part mine = by_groups ? part_of(groups, 1, team) : Part{0, groups};
  const Part rows = by_groups ? Part{0, of.windows.depth()} : part_of(of.windows.depth(), 8, team);
  for (std::ptrdiff_t g = mine.begin; g < mine.end; ++g)
    sum_group(call, of, {strips * g / groups, strips * (g + 1) / groups}, rows, call.sums + g * of.count(),
              member);
}

// The groups' sums into place, for some rows.
template <class T>
void add_groups(const ConvBackward<T>& call, const Team& team) {
  using V = Vec<T>;
  const ConvShape& s = call.shape;
  const KernelSums<T> of(s);
  const std::ptrdiff_t groups = of.windows.strips() > 0 ? of.groups() : 0, padded = of.panels.padded();
  const Part rows = part_of(of.windows.depth() + 1, 1, team);
  for (std::ptrdiff_t k = rows.begin; k < rows.end; ++k) {
    const bool bias = k == of.windows.depth();
    const std::ptrdiff_t tap = k / larger(1, s.C), h = tap % s.h.taps, w = tap / s.h.taps;
    T* to = bias                      ? call.dbias
            : call.dkernel == nullptr ? nullptr
                                      : call.dkernel + ((h * s.w.taps + w) * s.C + k % s.C) * s.U;
    if (to == nullptr) continue;
    for (std::ptrdiff_t u = 0; u < s.U; u += V::lanes) {
      V total(T(0));
      for (std::ptrdiff_t g = 0; g < groups; ++g)
        total += V::load(call.sums + g * of.count() + k * padded + u);
      if (bias ? call.add_bias : call.add_kernel) total = V::load_part(to + u, s.U - u) + total;
      total.store_part(to + u, s.U - u);
    }
  }
}

// --- the gradient of the input ----------------------------------------------------------------------------

template <class T>
struct InputPhase {
  Phase h, w;
  Windows windows;

  InputPhase(const ConvShape& s, std::ptrdiff_t ph, std::ptrdiff_t pw)
      : h(phase_of(s.h, ph)),
        w(phase_of(s.w, pw)),
        windows(windows_of(s.N, s.U, h.taps, w.taps, s.h.stride > 1 || s.w.stride > 1)) {}
};

// f(phase, ph, pw, where its kernel begins in the packed ones) for all phases.
template <class T, class F>
FASTSEQ_INLINE void for_phases(const ConvShape& s, F f) {
  std::ptrdiff_t begin = 0;
  for (std::ptrdiff_t ph = 0; ph < smaller(s.h.stride, s.h.input); ++ph) {
    for (std::ptrdiff_t pw = 0; pw < smaller(s.w.stride, s.w.input); ++pw) {
      const InputPhase<T> phase(s, ph, pw);
      f(phase, ph, pw, begin);
      begin += phase.windows.depth() * Panels<T>{s.C}.padded();
    }
  }
}

template <class T>
void pack_phases(const ConvBackward<T>& call, const Team& team) {
  const ConvShape& s = call.shape;
  const Panels<T> panels = {s.C};
  const Part mine = part_of(panels.count(), 1, team);
  for_phases<T>(s, [&](const InputPhase<T>& phase, auto, auto, std::ptrdiff_t begin) {
    for (std::ptrdiff_t p = mine.begin; p < mine.end; ++p) {
      T* to = call.packed + begin + panels.first(p) * phase.windows.depth();
      for (std::ptrdiff_t j = 0; j < phase.w.taps.count; ++j) {
        const std::ptrdiff_t w = phase.w.last - j * phase.w.apart;
        for (std::ptrdiff_t i = 0; i < phase.h.taps.count; ++i, to += s.U * panels.padded_of(p)) {
          const std::ptrdiff_t h = phase.h.last - i * phase.h.apart;
          pack_panel_transposed(panels, p, s.U, call.kernel + (h * s.w.taps + w) * s.C * s.U, to);
        }
      }
    }
  });
}

template <class T>
void convolve_back(const ConvBackward<T>& call, const Team& team, T* member) {
  const ConvShape& s = call.shape;
  const Panels<T> panels = {s.C};
  const std::ptrdiff_t row = s.w.input * s.C;
  const T* const none = nullptr;
  const T* const packed = call.packed;
  for_phases<T>(s, [&](const InputPhase<T>& phase, auto ph, auto pw, std::ptrdiff_t begin) {
    const Places<T> places = {call.dx + ph * row + pw * s.C, s.h.input * row, s.h.stride * row,
                              s.w.stride * s.C};
    convolve<T>(phase.windows, call.dy, panels, packed + begin, none, places, Activation::linear,
                part_of(phase.windows.strips(), 1, team), member);
  });
}

// --- backward ---------------------------------------------------------------------------------------------

// da of the whole batch, where dx needs it more than once: dx and the sums then read that.
template <class T>
bool needs_gradient(const ConvBackward<T>& call) {
  return call.dx != nullptr && call.activation != Activation::linear;
}

template <class T>
std::ptrdiff_t conv_backward_packed_count(const ConvBackward<T>& call) {
  const ConvShape& s = call.shape;
  if (call.dx == nullptr) return 0;
  std::ptrdiff_t count = 0;
  for_phases<T>(s, [&](const InputPhase<T>& phase, auto, auto, std::ptrdiff_t begin) {
    count = begin + phase.windows.depth() * Panels<T>{s.C}.padded();
  });
  return count;
}

template <class T>
std::ptrdiff_t conv_backward_gradient_count(const ConvBackward<T>& call) {
  const ConvShape& s = call.shape;
  return needs_gradient(call) ? s.N * s.h.output * s.w.output * s.U + Vec<T>::lanes : 0;
}

template <class T>
std::ptrdiff_t conv_backward_sums_count(const ConvBackward<T>& call) {
  const KernelSums<T> of(call.shape);
  return call.dkernel != nullptr || call.dbias != nullptr ? of.groups() * of.count() : 0;
}

template <class T>
std::ptrdiff_t conv_backward_member_count(const ConvBackward<T>& call) {
  std::ptrdiff_t count = 0;
  if (call.dkernel != nullptr || call.dbias != nullptr) count = KernelSums<T>(call.shape).member_count();
  if (call.dx != nullptr)
    for_phases<T>(call.shape, [&](const InputPhase<T>& phase, auto, auto, auto) {
      count = larger(count, phase.windows.buffer_count());
    });
  return count;
}

template <class T>
void conv_backward(ConvBackward<T> call, const Team& team) {
  const ConvShape& s = call.shape;
  T* const member = call.member + team.index * call.member_count;
  const bool sums = call.dkernel != nullptr || call.dbias != nullptr;
  if (call.dx != nullptr) pack_phases(call, team);
  if (needs_gradient(call)) {
    const Part mine = part_of(s.N * s.h.output * s.w.output * s.U, 1024, team);
    const std::ptrdiff_t L = Vec<T>::lanes, count = mine.end - mine.begin;
    if (count > 0)
      gradient_of_sums(call.activation, call.dy + mine.begin, call.y + mine.begin, 0, 1, count,
                       parts_of(count, L) * L, call.gradient + mine.begin);
  }
  team.meet(team.meeting);
  if (needs_gradient(call)) {
    call.dy = call.gradient;
    call.activation = Activation::linear;
  }
  if (sums) sum_groups(call, team, member);
  if (call.dx != nullptr) convolve_back(call, team, member);
  team.meet(team.meeting);
  if (sums) add_groups(call, team);
}

}  // namespace FASTSEQ_TARGET
}  // namespace fastseq
