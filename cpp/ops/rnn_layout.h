// What every recurrent call begins with: the kernels of its type, the sizes that follow from its shape, and
// its buffers dealt out of one arena.
#pragma once

#include <cstddef>

#include "base/workspace.h"
#include "cpu/kernels.h"
#include "cpu/rnn_kernels.h"

namespace fastseq {

template <class T>
const RnnTable<T>& rnn_table(const Kernels& of = kernels()) {
  if constexpr (sizeof(T) == 4)
    return of.rnn->f32;
  else
    return of.rnn->f64;
}

// Sizes that follow from a call's shape and the instruction set.
template <class T>
struct RnnSizes {
  CellLayout layout;
  std::ptrdiff_t lanes, width, panels, frame, input, open, close;

  RnnSizes(Cell cell, std::ptrdiff_t units, const Kernels& of = kernels())
      : layout(cell_layout(cell)),
        lanes(of.vector_bytes / static_cast<std::ptrdiff_t>(sizeof(T))),
        width(layout.width * lanes),
        panels((units + width - 1) / width),
        frame(layout.slots * width),
        input(layout.input_count * width),
        open(layout.open_count * width),
        close(layout.close_count * width) {}
};

// Adds up what an Arena must hold, then deals it out: the same list of takes is run twice.
class Workspace {
 public:
  template <class T>
  void take(T*& pointer, std::ptrdiff_t count, bool wanted = true) {
    if (!wanted) {
      pointer = nullptr;
    } else if (arena_) {
      pointer = arena_->take<T>(static_cast<std::size_t>(count));
    } else {
      bytes_ += Arena::room<T>(static_cast<std::size_t>(count));
    }
  }

  // Runs takes(*this) to measure, borrows, and runs it again to deal out.
  template <class F>
  static Arena deal(F takes) {
    Workspace measure;
    takes(measure);
    Arena arena = Arena::borrow(measure.bytes_);
    Workspace give;
    give.arena_ = &arena;
    takes(give);
    return arena;
  }

 private:
  Arena* arena_ = nullptr;
  std::size_t bytes_ = 0;
};

// Room for a layer's packed weights.
template <class T>
void take_weights(Workspace& w, RnnWeights<T>& to, const RnnSizes<T>& size, std::ptrdiff_t features,
                  std::ptrdiff_t units) {
  w.take(to.kernel, size.panels * features * size.input);
  w.take(to.open, size.panels * units * size.open);
  w.take(to.close, size.panels * units * size.close, size.close > 0);
  w.take(to.bias, size.panels * size.frame);
}

}  // namespace fastseq
