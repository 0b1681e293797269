// Masks, lengths and direction become lists of frames here, so that no kernel has to know of them.
#include "ops/rnn_frames.h"

#include <algorithm>
#include <numeric>

namespace fastseq {

FrameLists::FrameLists(std::ptrdiff_t batch, std::ptrdiff_t steps, const bool* mask,
                       const std::int64_t* lengths, const FrameOptions& options) {
  const auto valid = [&](std::ptrdiff_t n, std::ptrdiff_t t) {
    return (!mask || mask[n * steps + t]) && (!lengths || t < lengths[n]);
  };
  std::vector<std::ptrdiff_t> count(batch, steps);
  if (mask || lengths)
    for (std::ptrdiff_t n = 0; n < batch; ++n) {
      count[n] = 0;
      for (std::ptrdiff_t t = 0; t < steps; ++t) count[n] += valid(n, t);
    }
  row_sequence_.resize(batch);
  std::iota(row_sequence_.begin(), row_sequence_.end(), 0);
  if (mask || lengths)
    std::stable_sort(row_sequence_.begin(), row_sequence_.end(),
                     [&](std::ptrdiff_t a, std::ptrdiff_t b) { return count[a] > count[b]; });
  row_steps_.resize(batch);
  for (std::ptrdiff_t r = 0; r < batch; ++r) row_steps_[r] = count[row_sequence_[r]];

  const std::ptrdiff_t longest = batch > 0 ? row_steps_[0] : 0;
  first_.assign(longest + 1, 0);
  std::ptrdiff_t active = batch;
  for (std::ptrdiff_t s = 0; s < longest; ++s) {
    while (active > 0 && row_steps_[active - 1] <= s) --active;
    first_[s + 1] = first_[s] + active;
  }
  const std::ptrdiff_t frames = first_[longest];
  dense_ = frames == batch * steps;

  input_.resize(frames);
  output_.resize(frames);
  output_end_.resize(frames);
  for (std::ptrdiff_t r = 0; r < batch; ++r) {
    const std::ptrdiff_t n = row_sequence_[r];
    std::ptrdiff_t s = 0;
    for (std::ptrdiff_t i = 0; i < steps && s < row_steps_[r]; ++i) {
      const std::ptrdiff_t t = options.go_backwards ? steps - 1 - i : i;
      if (!dense_ && !valid(n, t)) continue;
      const std::ptrdiff_t frame = first_[s] + r;
      input_[frame] = n * steps + t;
      output_[frame] = n * steps + i;
      output_end_[frame] = n * steps + i + 1;
      // Keras repeats an output over the masked steps after it.
      if (!options.zero_output_for_mask) {
        if (s > 0) output_end_[first_[s - 1] + r] = output_[frame];
        if (s + 1 == row_steps_[r]) output_end_[frame] = (n + 1) * steps;
      }
      ++s;
    }
  }
  view_ = {longest,       frames,         first_.data(),     row_steps_.data(), row_sequence_.data(),
           input_.data(), output_.data(), output_end_.data()};
}

}  // namespace fastseq
