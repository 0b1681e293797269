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

// The outputs that see input i.
FASTSEQ_INLINE Range outputs_of(const ConvAxis& axis, std::ptrdiff_t i) {
  const std::ptrdiff_t last = (i + axis.before) / axis.stride, first = i + axis.before - axis.taps;
  return {first < 0 ? 0 : first / axis.stride + 1, last < axis.output ? last + 1 : axis.output};
}

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

// The first of the largest, and its place; NaN is larger than everything.
template <class T>
FASTSEQ_INLINE void pool_maximum(const PoolCall<T>& call, const T* window, Range h, Range w, T* y,
                                 std::uint16_t* place, std::ptrdiff_t part) {
  using V = Vec<T>;
  using Int = typename V::Int;
  using Lane = typename VecTypes<T>::Lane;
  const std::ptrdiff_t C = call.shape.C, row = call.shape.w.input * C;
  V most(T(-__builtin_inf()));
  Int at = Int{} + static_cast<Lane>(h.begin * call.shape.w.taps + w.begin);
  for (std::ptrdiff_t i = h.begin; i < h.end; ++i) {
    for (std::ptrdiff_t j = w.begin; j < w.end; ++j) {
      const V x = V::load_part(window + i * row + j * C, part);
      const Int more = (x.v > most.v) | (x.v != x.v);
      most = select<T>(more, x, most);
      at = more ? Int{} + static_cast<Lane>(i * call.shape.w.taps + j) : at;
    }
  }
  most.store_part(y, part);
  if (place != nullptr) store_places<T>(at, place, part);
}

template <class T>
FASTSEQ_INLINE void pool_mean(const PoolCall<T>& call, const T* window, Range h, Range w, T* y,
                              std::ptrdiff_t part) {
  using V = Vec<T>;
  const std::ptrdiff_t C = call.shape.C, row = call.shape.w.input * C;
  V total(T(0));
  for (std::ptrdiff_t i = h.begin; i < h.end; ++i)
    for (std::ptrdiff_t j = w.begin; j < w.end; ++j) total += V::load_part(window + i * row + j * C, part);
  (total / V(static_cast<T>(h.count() * w.count()))).store_part(y, part);
}

template <class T>
void pool(const PoolCall<T>& call, std::ptrdiff_t begin, std::ptrdiff_t end) {
  const ConvShape& s = call.shape;
  for (std::ptrdiff_t r = begin; r < end; ++r) {
    const std::ptrdiff_t n = r / s.h.output, oh = r % s.h.output;
    const Range h = taps_of(s.h, oh);
    const T* const image = call.x + n * s.h.input * s.w.input * s.C;
    for (std::ptrdiff_t ow = 0; ow < s.w.output; ++ow) {
      const Range w = taps_of(s.w, ow);
      const std::ptrdiff_t at = (r * s.w.output + ow) * s.C;
      const std::ptrdiff_t corner =
          ((oh * s.h.stride - s.h.before) * s.w.input + ow * s.w.stride - s.w.before) * s.C;
      for_columns<T>(s.C, [&](auto c, auto part) {
        if (call.pool == Pool::max)
          pool_maximum(call, image + corner + c, h, w, call.y + at + c,
                       call.place != nullptr ? call.place + at + c : nullptr, part);
        else
          pool_mean(call, image + corner + c, h, w, call.y + at + c, part);
      });
    }
  }
}

// dx of one pixel and register: dy of every window that sees it, where it was the first largest, or its part.
template <class T>
FASTSEQ_INLINE Vec<T> pool_gradient(const PoolBackward<T>& call, std::ptrdiff_t n, std::ptrdiff_t ih,
                                    std::ptrdiff_t iw, Range h, Range w, std::ptrdiff_t c,
                                    std::ptrdiff_t part) {
  using V = Vec<T>;
  using Lane = typename VecTypes<T>::Lane;
  const ConvShape& s = call.shape;
  V total(T(0));
  for (std::ptrdiff_t oh = h.begin; oh < h.end; ++oh) {
    for (std::ptrdiff_t ow = w.begin; ow < w.end; ++ow) {
      const std::ptrdiff_t at = ((n * s.h.output + oh) * s.w.output + ow) * s.C + c;
      const V dy = V::load_part(call.dy + at, part);
      if (call.pool == Pool::max) {
        const std::ptrdiff_t i = ih + s.h.before - oh * s.h.stride, j = iw + s.w.before - ow * s.w.stride;
        const auto hit = load_places<T>(call.place + at, part) == static_cast<Lane>(i * s.w.taps + j);
        total += select<T>(hit, dy, V(T(0)));
      } else {
        total += dy / V(static_cast<T>(taps_of(s.h, oh).count() * taps_of(s.w, ow).count()));
      }
    }
  }
  return total;
}

template <class T>
void pool_backward(const PoolBackward<T>& call, std::ptrdiff_t begin, std::ptrdiff_t end) {
  const ConvShape& s = call.shape;
  for (std::ptrdiff_t r = begin; r < end; ++r) {
    const std::ptrdiff_t n = r / s.h.input, ih = r % s.h.input;
    const Range h = outputs_of(s.h, ih);
    for (std::ptrdiff_t iw = 0; iw < s.w.input; ++iw) {
      const Range w = outputs_of(s.w, iw);
      T* const to = call.dx + (r * s.w.input + iw) * s.C;
      for_columns<T>(s.C, [&](auto c, auto part) {
        pool_gradient(call, n, ih, iw, h, w, c, part).store_part(to + c, part);
      });
    }
  }
}

}  // namespace FASTSEQ_TARGET
}  // namespace fastseq
