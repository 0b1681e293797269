// Convolution as products of windows with the kernel: C = bias + A B, with A as in conv_windows.h. The
// gradient of the kernel is A' dC; that of the input is a convolution too: of dC, with the kernel turned
// round, one for each phase of the strides. Where only the maxima of blocks of the output are wanted, the
// output is never made: forward pools a strip while it is in cache, backward makes dC of a strip from the
// maxima's gradients.
#pragma once

#include "cpu/conv_windows.h"
#include "cpu/pool.h"

namespace fastseq {
namespace FASTSEQ_TARGET {

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

inline bool is_pooled(const ConvShape& s) { return s.pool_h > 1 || s.pool_w > 1; }

inline Windows forward_windows(const ConvShape& s) {
  return windows_of(s.N, s.C, forward_taps(s.h), forward_taps(s.w), is_pooled(s), s.pool_h, s.pool_w);
}

template <class T>
std::ptrdiff_t conv_forward_packed_count(const ConvShape& s) {
  return (s.h.taps * s.w.taps * s.C + 1) * Panels<T>{s.U}.padded();  // and one row of bias
}

template <class T>
std::ptrdiff_t conv_forward_member_count(const ConvShape& s) {
  const Windows windows = forward_windows(s);
  if (!is_pooled(s)) return windows.buffer_count();
  return windows.rows * (windows.line_count<T>() + windows.width * Panels<T>::width);
}

// The same as convolve, but the first of the largest of each block, and where in it that was.
template <class T>
void convolve_pooled(const ConvForward<T>& call, const Windows& of, const T* bias, Part strips, T* lines) {
  const ConvShape& s = call.shape;
  const Panels<T> panels = {s.U};
  T* const sums = lines + of.rows * of.line_count<T>();
  // Of numbers that relu makes 0 the gradient is 0 wherever it goes: it can wait for the maxima.
  const bool later = call.activation == Activation::relu;
  for (std::ptrdiff_t i = strips.begin; i < strips.end; ++i) {
    Strip strip = of.strip(i);
    const std::ptrdiff_t high = s.h.output / s.pool_h, wide = s.w.output / s.pool_w;
    const std::ptrdiff_t to =
        ((strip.n * high + strip.row / s.pool_h) * wide + strip.column / s.pool_w) * s.U;
    const std::ptrdiff_t first_row = strip.row, maxima = strip.count / s.pool_w;
    for (std::ptrdiff_t p = 0; p < panels.count(); ++p) {
      const std::ptrdiff_t first = panels.first(p), padded = panels.padded_of(p);
      for (std::ptrdiff_t r = 0; r < of.rows; ++r) {
        strip.row = first_row + r;
        T* const line = lines + r * of.line_count<T>();
        Product<T> product = {};
        product.rows = strip.count;
        product.depth = of.depth();
        product.a = p == 0 || of.way == Windows::Way::in_place ? windows_at(of, call.x, strip, line) : line;
        product.a_row = of.a_row();
        product.b = call.packed + first * of.depth();
        product.init = bias != nullptr ? bias + first : nullptr;
        product_into(product,
                     {sums + r * strip.count * padded, padded, padded, padded, false,
                      later ? Activation::linear : call.activation},
                     sums);
      }
      const Cells cells = {0, of.rows, s.pool_w, strip.count * padded, padded, 0, 0};
      T* const y = call.y + to + first;
      std::uint16_t* const place = call.place != nullptr ? call.place + to + first : nullptr;
      const auto pool = [&](auto maximum) FASTSEQ_INLINED {
        for (std::ptrdiff_t m = 0; m < maxima; ++m)
          for_columns<T>(panels.columns_of(p), [&](auto c, auto part) FASTSEQ_INLINED {
            maximum(sums + m * s.pool_w * padded + c, y + m * s.U + c,
                    place != nullptr ? place + m * s.U + c : nullptr, part);
          });
      };
      if (s.pool_h == 2 && s.pool_w == 2)
        pool([&](const T* from, T* to_y, std::uint16_t* to_place, auto part)
                 FASTSEQ_INLINED { pool_maximum<T, 2, 2>(cells, from, to_y, to_place, part); });
      else
        pool([&](const T* from, T* to_y, std::uint16_t* to_place, auto part)
                 FASTSEQ_INLINED { pool_maximum(cells, from, to_y, to_place, part); });
      if (later) activate_block(call.activation, y, s.U, y, s.U, maxima, panels.columns_of(p));
    }
  }
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
  const Part strips = part_of(windows.strips(), 1, team);
  const T *const packed = call.packed, *const starts = bias;
  T* const member = call.member + team.index * call.member_count;
  if (is_pooled(s))
    convolve_pooled(call, windows, starts, strips, member);
  else
    convolve<T>(windows, call.x, panels, packed, starts, {call.y, s.h.output * row, row, s.U},
                call.activation, strips, member);
}

// --- the gradient of the sums ---------------------------------------------------------------------------

// da = dy slope(y) of one row's positions for some filters; rows of `to` are to_row apart, their columns
// padded to `padded`. Of pooled outputs: what reaches each position from the maximum of its block.
template <class T>
void gradient_of_strip(const ConvBackward<T>& call, const Strip& strip, std::ptrdiff_t first,
                       std::ptrdiff_t columns, std::ptrdiff_t padded, T* to, std::ptrdiff_t to_row) {
  using V = Vec<T>;
  using Lane = typename VecTypes<T>::Lane;
  const ConvShape& s = call.shape;
  if (!is_pooled(s)) {
    const std::ptrdiff_t from =
        ((strip.n * s.h.output + strip.row) * s.w.output + strip.column) * s.U + first;
    return gradient_of_sums(call.activation, call.dy + from, call.y + from, s.U, strip.count, columns, padded,
                            to);
  }
  const std::ptrdiff_t high = s.h.output / s.pool_h, wide = s.w.output / s.pool_w;
  const std::ptrdiff_t from =
      ((strip.n * high + strip.row / s.pool_h) * wide + strip.column / s.pool_w) * s.U + first;
  const std::ptrdiff_t number = strip.row % s.pool_h * s.pool_w;
  for (std::ptrdiff_t m = 0; m < strip.count / s.pool_w; ++m) {
    for (std::ptrdiff_t c = 0; c < padded; c += V::lanes) {
      const std::ptrdiff_t at = from + m * s.U + c;
      V d = V::load_part(call.dy + at, columns - c);
      if (call.activation != Activation::linear) {
        const V y = V::load_part(call.y + at, columns - c);
        d = d * (call.activation == Activation::relu ? activation_slope(Activation::relu, y)
                                                     : slope_named(call.activation, y));
      }
      const auto places = load_places<T>(call.place + at, columns - c);
      for (std::ptrdiff_t j = 0; j < s.pool_w; ++j)
        select<T>(places == static_cast<Lane>(number + j), d, V(T(0)))
            .store_part(to + (m * s.pool_w + j) * to_row + c, padded - c);
    }
  }
}

// --- the gradient of the kernel -------------------------------------------------------------------------

// Positions are summed up in groups, whose number no team decides, and the groups in order.
constexpr std::ptrdiff_t most_groups = 32, most_group_bytes = 16 << 20;
constexpr std::ptrdiff_t product_positions = 128, line_bytes = 128 << 10;  // of one product of the sums

// da of the whole batch, where dx needs it more than once: dx and the sums then read that.
template <class T>
bool needs_gradient(const ConvBackward<T>& call) {
  return call.dx != nullptr && (call.activation != Activation::linear || is_pooled(call.shape));
}

// What the sums are made of: da as it is, or all of it made before.
template <class T>
ConvShape summed_shape(const ConvBackward<T>& call) {
  ConvShape shape = call.shape;
  if (needs_gradient(call)) shape.pool_h = shape.pool_w = 1;
  return shape;
}

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
    return at_once() * (windows.line_count<T>() + windows.width * Panels<T>::width);
  }
  // Strips that one product takes, where each is a row: the more, the less often sums are fetched and put
  // back.
  std::ptrdiff_t at_once() const {
    if (windows.way != Windows::Way::line || windows.across() != 1) return 1;
    const std::ptrdiff_t line = larger(1, windows.line_count<T>()) * static_cast<std::ptrdiff_t>(sizeof(T));
    return within(1, product_positions / windows.width, larger(1, line_bytes / line));
  }
};

// sums = A' da over the strips of one group, for some rows of A'; with the first row, those of da alone.
template <class T>
void sum_group(const ConvBackward<T>& call, const KernelSums<T>& of, Part strips, Part rows, T* sums,
               T* member) {
  const ConvShape& s = call.shape;
  const Windows& windows = of.windows;
  const std::ptrdiff_t padded_row = of.panels.padded();
  const bool in_place = !is_pooled(s) && call.activation == Activation::linear && padded_row == s.U;
  const std::ptrdiff_t most = of.at_once(), line = windows.line_count<T>(), end = strips.end * windows.rows;
  T* const packed = member + most * line;
  bool add = false;
  for (std::ptrdiff_t i = strips.begin * windows.rows; i < end; i += most, add = true) {
    const std::ptrdiff_t together = smaller(most, end - i);
    const auto strip_of = [&](std::ptrdiff_t k) {
      Strip strip = windows.strip((i + k) / windows.rows);
      strip.row += (i + k) % windows.rows;
      return strip;
    };
    const Strip strip = strip_of(0);
    const T* a = windows_at(windows, call.x, strip, member);
    for (std::ptrdiff_t k = 1; k < together; ++k) windows_at(windows, call.x, strip_of(k), member + k * line);
    const std::ptrdiff_t from = ((strip.n * s.h.output + strip.row) * s.w.output + strip.column) * s.U;
    for (std::ptrdiff_t p = 0; p < of.panels.count(); ++p) {
      const std::ptrdiff_t first = of.panels.first(p), padded = of.panels.padded_of(p);
      if (!in_place)
        for (std::ptrdiff_t k = 0; k < together; ++k)
          gradient_of_strip(call, strip_of(k), first, of.panels.columns_of(p), padded,
                            packed + k * strip.count * padded, padded);
      const T* da = in_place ? call.dy + from + first : packed;
      const std::ptrdiff_t da_row = in_place ? s.U : padded;
      if (call.dbias != nullptr && rows.begin == 0)
        add_rows(da, da_row, together * strip.count,
                 {sums + windows.depth() * padded_row + first, 0, padded, padded, add, Activation::linear});
      if (call.dkernel == nullptr || rows.begin >= rows.end) continue;
      Product<T> of_rows = {};
      of_rows.rows = rows.end - rows.begin;
      of_rows.blocks = together;
      of_rows.depth = strip.count;
      of_rows.a = a + rows.begin;
      of_rows.a_row = windows.a_row();
      of_rows.a_block = line;
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
  const KernelSums<T> of(summed_shape(call));
  return call.dkernel != nullptr || call.dbias != nullptr ? of.groups() * of.count() : 0;
}

template <class T>
std::ptrdiff_t conv_backward_member_count(const ConvBackward<T>& call) {
  std::ptrdiff_t count = 0;
  if (call.dkernel != nullptr || call.dbias != nullptr)
    count = KernelSums<T>(summed_shape(call)).member_count();
  if (call.dx != nullptr)
    for_phases<T>(call.shape, [&](const InputPhase<T>& phase, auto, auto, auto) {
      count = larger(count, phase.windows.buffer_count());
    });
  return count;
}

// da of one row, to where rows lie side by side.
template <class T>
void gradient_of_row(const ConvBackward<T>& call, std::ptrdiff_t n, std::ptrdiff_t row) {
  const ConvShape& s = call.shape;
  T* const to = call.gradient + (n * s.h.output + row) * s.w.output * s.U;
  const std::ptrdiff_t all = s.w.output * s.U;
  if (is_pooled(s)) return gradient_of_strip(call, {n, row, 0, s.w.output}, 0, s.U, s.U, to, s.U);
  const std::ptrdiff_t from = (n * s.h.output + row) * all;
  with_activation(call.activation, [&](auto name) {
    const auto slope = [&](Vec<T> y, Vec<T> d) { return d * activation_slope(name.value, y); };
    map_elements<T>(0, all, slope, to, call.y + from, call.dy + from);
  });
}

template <class T>
void conv_backward(ConvBackward<T> call, const Team& team) {
  const ConvShape s = call.shape;
  T* const member = call.member + team.index * call.member_count;
  const bool sums = call.dkernel != nullptr || call.dbias != nullptr;
  if (call.dx != nullptr) pack_phases(call, team);
  const bool whole = needs_gradient(call);
  if (whole) {
    const Part mine = part_of(s.N * s.h.output, 1, team);
    for (std::ptrdiff_t r = mine.begin; r < mine.end; ++r)
      gradient_of_row(call, r / s.h.output, r % s.h.output);
  }
  team.meet(team.meeting);
  if (whole) {
    call.dy = call.gradient;
    call.activation = Activation::linear;
    call.shape.pool_h = call.shape.pool_w = 1;
  }
  if (sums) sum_groups(call, team, member);
  if (call.dx != nullptr) convolve_back(call, team, member);
  team.meet(team.meeting);
  if (sums) add_groups(call, team);
}

}  // namespace FASTSEQ_TARGET
}  // namespace fastseq
