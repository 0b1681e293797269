// Masks, lengths and direction become lists of frames here, so that no kernel has to know of them.
#include "ops/rnn_frames.h"

#include <algorithm>
#include <numeric>

namespace fastseq {

FrameLists::FrameLists(std::ptrdiff_t batch, std::ptrdiff_t steps, const bool* mask,
                       const std::int64_t* lengths, const FrameOptions& options,
                       const std::function<int(std::ptrdiff_t)>& bands_of) {
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

  const std::ptrdiff_t frames = std::accumulate(row_steps_.begin(), row_steps_.end(), std::ptrdiff_t{0});
  dense_ = frames == batch * steps;
  input_.resize(frames);
  output_.resize(frames);
  output_end_.resize(frames);

  // All of `first_` before any pointer into it.
  const int bands = bands_of(frames);
  std::vector<std::ptrdiff_t> rows;  // at which bands begin
  for (int b = 0; b <= bands; ++b) rows.push_back(row_of_part(row_steps_.data(), batch, frames, b, bands));
  const auto steps_of = [&](int b) { return rows[b] < rows[b + 1] ? row_steps_[rows[b]] : 0; };
  for (int b = 0; b < bands; ++b) {
    first_.push_back(0);
    std::ptrdiff_t active = rows[b + 1];
    for (std::ptrdiff_t s = 0; s < steps_of(b); ++s) {
      while (active > rows[b] && row_steps_[active - 1] <= s) --active;
      first_.push_back(first_.back() + active - rows[b]);
    }
  }
  bands_.reserve(bands);
  const std::ptrdiff_t* first = first_.data();
  std::ptrdiff_t before = 0;  // frames of earlier bands
  for (int b = 0; b < bands; ++b) {
    const std::ptrdiff_t longest = steps_of(b);
    const RnnFrames view = {longest,
                            first[longest],
                            first,
                            row_steps_.data() + rows[b],
                            row_sequence_.data() + rows[b],
                            input_.data() + before,
                            output_.data() + before,
                            output_end_.data() + before};
    bands_.push_back({view, rows[b], rows[b + 1] - rows[b]});
    for (std::ptrdiff_t r = rows[b]; r < rows[b + 1]; ++r) {
      const std::ptrdiff_t n = row_sequence_[r], row = before + r - rows[b];
      std::ptrdiff_t s = 0;
      for (std::ptrdiff_t i = 0; i < steps && s < row_steps_[r]; ++i) {
        const std::ptrdiff_t t = options.go_backwards ? steps - 1 - i : i;
        if (!dense_ && !valid(n, t)) continue;
        const std::ptrdiff_t frame = first[s] + row;
        input_[frame] = n * steps + t;
        output_[frame] = n * steps + i;
        output_end_[frame] = n * steps + i + 1;
        // Keras repeats an output over the masked steps after it.
        if (!options.zero_output_for_mask) {
          if (s > 0) output_end_[first[s - 1] + row] = output_[frame];
          if (s + 1 == row_steps_[r]) output_end_[frame] = (n + 1) * steps;
        }
        ++s;
      }
    }
    before += view.count;
    first += longest + 1;
  }
}

}  // namespace fastseq
