// A recurrent layer's weights as the kernels read them, packed once for any number of calls.
#pragma once

#include <cstddef>

#include "base/workspace.h"
#include "cpu/rnn_kernels.h"

namespace fastseq {

struct Kernels;

// Holds the weights as they were when it was made. Calls change nothing in it: any number of threads may make
// them at once.
template <class T>
class PackedRnn {
 public:
  // Pointers are to C-contiguous arrays in Keras's layouts; bias may be null.
  PackedRnn(Cell cell, Activation activation, Activation recurrent_activation, std::ptrdiff_t features,
            std::ptrdiff_t units, const T* kernel, const T* recurrent_kernel, const T* bias);

  const RnnPacked<T>& view() const { return view_; }
  const Kernels& compiled() const { return *compiled_; }  // those that packed, and alone can read

 private:
  const Kernels* compiled_;
  RnnPacked<T> view_ = {};
  Arena memory_;
};

}  // namespace fastseq
