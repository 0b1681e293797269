// What the positions of a convolution see, as rows of a matrix: row r of A is what position r sees, in the
// order (tap along w, tap along h, channel).
//
// A is never made whole. A strip of positions along w gets a line buffer [column][tap along h][channel], in
// which the windows lie one after the other, overlapping: A(r, k) is line[r * stride * taps_h * C + k], zeros
// of the padding included. So an image of one channel is as good as one of many, and the gradient of the
// kernel reads the same buffer as A transposed. Windows with gaps (dilation), or few positions along w, are
// copied out one by one instead; windows of one row and no padding are read where they lie.
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
  bool by_rows;          // a strip stays in its row; otherwise it may reach into the next, and the next image
  std::ptrdiff_t width;  // positions of a strip along w, at most
  std::ptrdiff_t rows;   // of positions, one below the other, that belong to a strip: the first one is named

  FASTSEQ_INLINE std::ptrdiff_t depth() const { return h.count * w.count * channels; }
  FASTSEQ_INLINE std::ptrdiff_t across() const { return parts_of(w.positions, width); }
  FASTSEQ_INLINE std::ptrdiff_t strips() const {
    return by_rows ? N * (h.positions / rows) * across() : parts_of(N * h.positions * w.positions, width);
  }
  FASTSEQ_INLINE Strip strip(std::ptrdiff_t i) const {
    if (!by_rows) {
      const std::ptrdiff_t first = i * width, all = N * h.positions * w.positions;
      const std::ptrdiff_t row = first / w.positions;
      return {row / h.positions, row % h.positions, first % w.positions, smaller(width, all - first)};
    }
    const std::ptrdiff_t row = i / across(), column = i % across() * width, of_image = h.positions / rows;
    return {row / of_image, row % of_image * rows, column, smaller(width, w.positions - column)};
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
  // The same in whole registers.
  template <class T>
  FASTSEQ_INLINE std::ptrdiff_t line_count() const {
    return parts_of(buffer_count(), Vec<T>::lanes) * Vec<T>::lanes;
  }
};

// Fewer positions than this along w make too little of a product by themselves.
constexpr std::ptrdiff_t short_row = 8;

// by_rows: results of neighbours in two rows do not lie side by side, so a strip stays in its row. Strips are
// `rows` high and, but for the last, whole `columns` wide.
inline Windows windows_of(std::ptrdiff_t N, std::ptrdiff_t channels, const Taps& h, const Taps& w,
                          bool by_rows, std::ptrdiff_t rows = 1, std::ptrdiff_t columns = 1) {
  Windows all = {N, channels, h, w, Windows::Way::line, true, block_rows, rows};
  const bool dense = w.step == 1 || w.count <= 1;
  if (dense && h.count == 1 && h.inside() && w.inside()) {
    all.way = Windows::Way::in_place;
  } else if (!dense || (!by_rows && w.positions < short_row)) {
    all.way = Windows::Way::patch;
    all.by_rows = by_rows;
  }
  if (all.by_rows && w.positions > 0)
    all.width = parts_of(parts_of(w.positions, parts_of(w.positions, block_rows)), columns) * columns;
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

// to[i * to_step ...] = from[i * channels ...], a few channels each, one by one.
template <int Channels, class T>
FASTSEQ_INLINE void copy_few(const T* from, T* to, std::ptrdiff_t to_step, std::ptrdiff_t count) {
  for (std::ptrdiff_t i = 0; i < count; ++i)
#pragma GCC unroll 4
    for (int c = 0; c < Channels; ++c) to[i * to_step + c] = from[i * Channels + c];
}

// The same of any channels.
template <class T>
FASTSEQ_INLINE void copy_pixels(const T* from, T* to, std::ptrdiff_t to_step, std::ptrdiff_t count,
                                std::ptrdiff_t channels) {
  using V = Vec<T>;
  switch (channels) {
    case 1:
      return copy_few<1>(from, to, to_step, count);
    case 2:
      return copy_few<2>(from, to, to_step, count);
    case 3:
      return copy_few<3>(from, to, to_step, count);
    default:
      for (std::ptrdiff_t i = 0; i < count; ++i)
        for (std::ptrdiff_t c = 0; c < channels; c += V::lanes)
          V::load_part(from + i * channels + c, channels - c).store_part(to + i * to_step + c, channels - c);
  }
}

template <class T>
FASTSEQ_INLINE void zero_pixels(T* to, std::ptrdiff_t to_step, std::ptrdiff_t count,
                                std::ptrdiff_t channels) {
  for (std::ptrdiff_t i = 0; i < count; ++i)
    for (std::ptrdiff_t c = 0; c < channels; ++c) to[i * to_step + c] = T(0);
}

// The pixels of one row of the source from `first` on, zeros outside of it; row may be nullptr.
template <class T>
FASTSEQ_INLINE void copy_row(const T* row, std::ptrdiff_t columns, std::ptrdiff_t first, T* to,
                             std::ptrdiff_t to_step, std::ptrdiff_t count, std::ptrdiff_t channels) {
  const std::ptrdiff_t begin = row != nullptr ? within(0, -first, count) : count;
  const std::ptrdiff_t end = row != nullptr ? within(begin, columns - first, count) : count;
  if (begin > 0) zero_pixels(to, to_step, begin, channels);
  if (end > begin)
    copy_pixels(row + (first + begin) * channels, to + begin * to_step, to_step, end - begin, channels);
  if (count > end) zero_pixels(to + end * to_step, to_step, count - end, channels);
}

// A line of three taps along h and one channel, all rows in the image: three at once become whole registers.
template <class T>
void interleave_rows(const T* first, const T* second, const T* third, T* __restrict to,
                     std::ptrdiff_t count) {
  for (std::ptrdiff_t i = 0; i < count; ++i) {
    to[3 * i] = first[i];
    to[3 * i + 1] = second[i];
    to[3 * i + 2] = third[i];
  }
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
      if (C == 1 && of.h.count == 3) {
        const T* rows[3];
        for (int k = 0; k < 3; ++k) rows[k] = row_of(strip.n, strip.row, k);
        if (rows[0] != nullptr && rows[1] != nullptr && rows[2] != nullptr) {
          const std::ptrdiff_t first = strip.column * of.w.stride + of.w.first;
          const std::ptrdiff_t begin = within(0, -first, columns);
          const std::ptrdiff_t end = within(begin, of.w.source - first, columns);
          for (std::ptrdiff_t i = 0; i < 3 * begin; ++i) buffer[i] = T(0);
          interleave_rows(rows[0] + first + begin, rows[1] + first + begin, rows[2] + first + begin,
                          buffer + 3 * begin, end - begin);
          for (std::ptrdiff_t i = 3 * end; i < 3 * columns; ++i) buffer[i] = T(0);
          return buffer;
        }
      }
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

}  // namespace FASTSEQ_TARGET
}  // namespace fastseq
