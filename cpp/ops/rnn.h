// Recurrent layers over whole sequences: LSTM, GRU (both forms) and the simple cell, forward and backward.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "ops/rnn_packed.h"

namespace fastseq {

struct RnnOptions {
  Cell cell;
  Activation activation, recurrent_activation;
  bool go_backwards;
  bool zero_output_for_mask;
  bool training;  // keep what backward needs, and drop out
  bool repeat;    // x is (batch, features), used at every step
  double dropout, recurrent_dropout;
  std::uint64_t seed;
};

// Pointers are to C-contiguous arrays in Keras's layouts. kernel and recurrent_kernel must outlive the call's
// RnnSaved and stay as they are: backward reads them again.
template <class T>
struct RnnArrays {
  std::ptrdiff_t batch, steps, features, units;
  const T *x, *kernel, *recurrent_kernel;
  const T* bias;                // or null
  const PackedRnn<T>* packed;   // or null: instead of the three, and only without training
  const T *h0, *c0;             // (batch, units) or null
  const bool* mask;             // (batch, steps) or null
  const std::int64_t* lengths;  // (batch) or null: the steps t < length are valid
  T* sequence;                  // (batch, steps, units) or null
  T *h_final, *c_final;         // (batch, units)
};

// What forward keeps for backward. Opened by nobody else.
template <class T>
class RnnSaved {
 public:
  using Scalar = T;
  RnnSaved();
  ~RnnSaved();
  struct Content;
  std::unique_ptr<Content> content;
};

// Null without training.
template <class T>
std::unique_ptr<RnnSaved<T>> rnn_forward(const RnnArrays<T>& arrays, const RnnOptions& options);

// Two calls that do not need each other, each on half of the team: members of different calls never wait for
// one another.
template <class T>
using RnnSavedPair = std::array<std::unique_ptr<RnnSaved<T>>, 2>;
template <class T>
RnnSavedPair<T> rnn_forward_both(const std::array<RnnArrays<T>, 2>& arrays,
                                 const std::array<RnnOptions, 2>& options);

template <class T>
struct RnnGradients {
  const T* dsequence;                                       // (batch, steps, units) or null
  const T *dh_final, *dc_final;                             // (batch, units) or null
  T *dx, *dkernel, *drecurrent_kernel, *dbias, *dh0, *dc0;  // null where not wanted
  bool add_kernel, add_recurrent, add_bias;                 // add to what is there; the others are assigned
};

// Consumes `saved` unless `keep`; a second call is a std::runtime_error.
template <class T>
void rnn_backward(const char* function, RnnSaved<T>& saved, const RnnGradients<T>& gradients, bool keep);
template <class T>
void rnn_backward_both(const char* function, const std::array<RnnSaved<T>*, 2>& saved,
                       const std::array<RnnGradients<T>, 2>& gradients);

}  // namespace fastseq
