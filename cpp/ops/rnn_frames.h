// The frames of a call: which steps of which sequences are run, in which order, and where their outputs go.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "cpu/rnn_kernels.h"

namespace fastseq {

struct FrameOptions {
  bool go_backwards, zero_output_for_mask;
};

// Owns the lists that RnnBands point into.
class FrameLists {
 public:
  // mask (batch, steps) and lengths (batch) may be null; bands_of is given the number of all frames. Work is
  // O(batch * steps), only integers.
  FrameLists(std::ptrdiff_t batch, std::ptrdiff_t steps, const bool* mask, const std::int64_t* lengths,
             const FrameOptions& options, const std::function<int(std::ptrdiff_t)>& bands_of);

  const std::vector<RnnBand>& bands() const { return bands_; }
  bool dense() const { return dense_; }  // every step of every sequence is run

 private:
  std::vector<std::ptrdiff_t> first_, row_steps_, row_sequence_, input_, output_, output_end_;
  std::vector<RnnBand> bands_;
  bool dense_;
};

}  // namespace fastseq
