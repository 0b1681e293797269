// Pooling over (N, H, W, C): the largest or the mean of each window, counting only what lies in the image.
#pragma once

#include "cpu/conv_kernels.h"
#include "cpu/rowwise.h"

namespace fastseq {
namespace FASTSEQ_TARGET {

// [begin, end) of taps, or of outputs.
struct Range {
  std::ptrdiff_t begin, end;
  FASTSEQ_INLINE std::ptrdiff_t count() const { return end - begin; }
};

// The taps through which output o sees the image.
FASTSEQ_INLINE Range taps_of(const ConvAxis& axis, std::ptrdiff_t o) {
  const std::ptrdiff_t first = o * axis.stride - axis.before;
  return {first < 0 ? -first : 0, axis.input - first < axis.taps ? axis.input - first : axis.taps};
}

// The outputs that see an input, from one input to the next without a division.
struct Seen {
  std::ptrdiff_t first, end, next_first, next_end, at;

  FASTSEQ_INLINE Seen(const ConvAxis& axis, std::ptrdiff_t i) : at(i + axis.before) {
    const std::ptrdiff_t past = at - axis.taps;
    first = past < 0 ? 0 : past / axis.stride + 1;
    next_first = first * axis.stride + axis.taps;
    end = at / axis.stride + 1;
    next_end = end * axis.stride;
  }
  FASTSEQ_INLINE void advance(const ConvAxis& axis) {
    ++at;
    if (at == next_first) {
      ++first;
      next_first += axis.stride;
    }
    if (at == next_end) {
      ++end;
      next_end += axis.stride;
    }
  }
  FASTSEQ_INLINE Range outputs(const ConvAxis& axis) const {
    return {first, end < axis.output ? end : axis.output};
  }
};

// Places in a window as 16 bits each, beside registers of T.
template <class T>
struct PlaceTypes {
  static constexpr int lanes = Vec<T>::lanes;
  typedef std::uint16_t Short __attribute__((vector_size(lanes * 2)));
  typedef std::uint16_t Stored __attribute__((vector_size(lanes * 2), aligned(2), may_alias));
};

template <class T>
FASTSEQ_INLINE void store_places(typename Vec<T>::Int places, std::uint16_t* to, std::ptrdiff_t part) {
  using Types = PlaceTypes<T>;
  const auto narrow = __builtin_convertvector(places, typename Types::Short);
  if (part >= Types::lanes) {
    *reinterpret_cast<typename Types::Stored*>(to) = narrow;
  } else {
    for (std::ptrdiff_t i = 0; i < part; ++i) to[i] = narrow[i];
  }
}

template <class T>
FASTSEQ_INLINE typename Vec<T>::Int load_places(const std::uint16_t* from, std::ptrdiff_t part) {
  using Types = PlaceTypes<T>;
  typename Types::Short narrow = {};
  if (part >= Types::lanes) {
    narrow = *reinterpret_cast<const typename Types::Stored*>(from);
  } else {
    for (std::ptrdiff_t i = 0; i < part; ++i) narrow[i] = from[i];
  }
  return __builtin_convertvector(narrow, typename Vec<T>::Int);
}

// The cells of a window that lie in the image: `corner` is the first one's element, cells are `step` apart,
// rows `row`; `place` is the first one's number, `skipped` how many numbers of each row are not there.
struct Cells {
  std::ptrdiff_t corner, rows, columns, row, step;
  int place, skipped;
};

FASTSEQ_INLINE Cells cells_of(const ConvShape& s, std::ptrdiff_t oh, std::ptrdiff_t ow) {
  const Range h = taps_of(s.h, oh), w = taps_of(s.w, ow);
  const std::ptrdiff_t top = oh * s.h.stride - s.h.before + h.begin,
                       left = ow * s.w.stride - s.w.before + w.begin;
  return {(top * s.w.input + left) * s.C,
          h.count(),
          w.count(),
          s.w.input * s.C,
          s.C,
          static_cast<int>(h.begin * s.w.taps + w.begin),
          static_cast<int>(s.w.taps - w.count())};
}

// The first of the largest, and its place; NaN is larger than everything. Rows and Columns: those of the
// cells where they are known, else 0.
template <class T, int Rows = 0, int Columns = 0>
FASTSEQ_INLINE void pool_maximum(const Cells& cells, const T* from, T* y, std::uint16_t* place,
                                 std::ptrdiff_t part) {
  using V = Vec<T>;
  using Int = typename V::Int;
  const std::ptrdiff_t rows = Rows > 0 ? Rows : cells.rows, columns = Columns > 0 ? Columns : cells.columns;
  const Int one = Int{} + 1;
  Int number = Int{} + cells.place, at = number;
  V most = V::load_part(from, part);
  std::ptrdiff_t j = 1;  // the first is what the others are held against
  for (std::ptrdiff_t i = 0; i < rows; ++i, j = 0) {
    if (j > 0) number += one;
    for (; j < columns; ++j) {
      const V x = V::load_part(from + i * cells.row + j * cells.step, part);
      const Int more = (x.v > most.v) | (x.v != x.v);
      most = select<T>(more, x, most);
      at = more ? number : at;
      number += one;
    }
    number += Int{} + cells.skipped;
  }
  most.store_part(y, part);
  if (place != nullptr) store_places<T>(at, place, part);
}

template <class T>
FASTSEQ_INLINE void pool_mean(const Cells& cells, const T* from, T* y, std::ptrdiff_t part) {
  using V = Vec<T>;
  V total(T(0));
  for (std::ptrdiff_t i = 0; i < cells.rows; ++i)
    for (std::ptrdiff_t j = 0; j < cells.columns; ++j)
      total += V::load_part(from + i * cells.row + j * cells.step, part);
  (total / V(static_cast<T>(cells.rows * cells.columns))).store_part(y, part);
}

template <class T>
void pool(const PoolCall<T>& call, std::ptrdiff_t begin, std::ptrdiff_t end) {
  const ConvShape& s = call.shape;
  for (std::ptrdiff_t r = begin; r < end; ++r) {
    const std::ptrdiff_t n = r / s.h.output, oh = r % s.h.output;
    const T* const image = call.x + n * s.h.input * s.w.input * s.C;
    for (std::ptrdiff_t ow = 0; ow < s.w.output; ++ow) {
      const Cells cells = cells_of(s, oh, ow);
      const std::ptrdiff_t at = (r * s.w.output + ow) * s.C;
      const T* const from = image + cells.corner;
      std::uint16_t* const place = call.place != nullptr ? call.place + at : nullptr;
      if (call.pool == Pool::max)
        for_columns<T>(s.C, [&](auto c, auto part) FASTSEQ_INLINED {
          pool_maximum(cells, from + c, call.y + at + c, place != nullptr ? place + c : nullptr, part);
        });
      else
        for_columns<T>(s.C, [&](auto c, auto part)
                                FASTSEQ_INLINED { pool_mean(cells, from + c, call.y + at + c, part); });
    }
  }
}

// dx of one pixel: dy of every window that sees it, where it was the first of the largest, or its part.
template <class T>
FASTSEQ_INLINE void pool_gradient(const PoolBackward<T>& call, std::ptrdiff_t n, std::ptrdiff_t ih,
                                  std::ptrdiff_t iw, Range h, Range w, T* to) {
  using V = Vec<T>;
  using Lane = typename VecTypes<T>::Lane;
  const ConvShape& s = call.shape;
  for_columns<T>(s.C, [&](auto c, auto part) FASTSEQ_INLINED {
    V total(T(0));
    for (std::ptrdiff_t oh = h.begin; oh < h.end; ++oh) {
      const std::ptrdiff_t i = ih + s.h.before - oh * s.h.stride;
      for (std::ptrdiff_t ow = w.begin; ow < w.end; ++ow) {
        const std::ptrdiff_t at = ((n * s.h.output + oh) * s.w.output + ow) * s.C + c;
        const V dy = V::load_part(call.dy + at, part);
        if (call.pool == Pool::max) {
          const std::ptrdiff_t place = i * s.w.taps + iw + s.w.before - ow * s.w.stride;
          const auto hit = load_places<T>(call.place + at, part) == static_cast<Lane>(place);
          total += select<T>(hit, dy, V(T(0)));
        } else {
          total += dy / V(static_cast<T>(taps_of(s.h, oh).count() * taps_of(s.w, ow).count()));
        }
      }
    }
    total.store_part(to + c, part);
  });
}

template <class T>
void pool_backward(const PoolBackward<T>& call, std::ptrdiff_t begin, std::ptrdiff_t end) {
  const ConvShape& s = call.shape;
  for (std::ptrdiff_t r = begin; r < end; ++r) {
    const std::ptrdiff_t n = r / s.h.input, ih = r % s.h.input;
    const Range h = Seen(s.h, ih).outputs(s.h);
    Seen columns(s.w, 0);
    for (std::ptrdiff_t iw = 0; iw < s.w.input; ++iw, columns.advance(s.w))
      pool_gradient(call, n, ih, iw, h, columns.outputs(s.w), call.dx + (r * s.w.input + iw) * s.C);
  }
}

}  // namespace FASTSEQ_TARGET
}  // namespace fastseq
