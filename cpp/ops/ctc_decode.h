// CTC decoding of a batch: the best path, and prefix beam search.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/workspace.h"
#include "ops/ctc_checks.h"
#include "ops/ctc_decode_search.h"

namespace fastseq {

// The best paths of a batch, as they were found: one after the other, as many as there are frames.
struct CtcBestPaths {
  std::vector<std::int64_t> lengths;  // (batch,)
  std::vector<double> scores;         // (batch,)
  std::int64_t longest;

  Arena memory;
  std::vector<std::int64_t> first;  // of each sequence in labels and starts
  const std::int32_t* labels;
  const std::int64_t* starts;

  // (batch, longest) of either, -1 beyond the length.
  void write(std::int64_t* to_labels, std::int64_t* to_starts) const;
};

// Of each sequence, the most likely class of every frame, repeats merged and blanks removed. A sequence with
// NaN, inf or a negative probability has no labels and the score NaN. Throws std::invalid_argument where a
// length is out of range.
template <class T>
CtcBestPaths ctc_greedy_decode(const char* function, const CtcFrames<T>& call);

// A search for each sequence of a batch, which takes the frames in as many pieces as there are.
class CtcBeamSearch {
 public:
  CtcBeamSearch(std::int64_t batch, CtcInput input, const CtcSearchOptions& options,
                std::shared_ptr<const CtcScorer> scorer);

  std::int64_t batch() const { return static_cast<std::int64_t>(sequences_.size()); }
  const CtcSearchOptions& options() const { return options_; }
  CtcInput input() const { return input_; }

  // Throws std::invalid_argument where a length is out of range; nothing has changed then.
  template <class T>
  void push(const char* function, const CtcFrames<T>& call);

  // The best `count` of each sequence, fewer where there are fewer; none where it has had NaN, inf or a
  // negative probability.
  std::vector<std::vector<CtcPath>> paths(std::int64_t count, bool finished) const;
  bool is_sound(std::int64_t n) const { return sequences_[static_cast<std::size_t>(n)].sound; }
  void reset();

 private:
  struct Sequence {
    CtcSearch search;
    bool sound;
  };

  template <class T>
  void push_frames(Sequence& sequence, const T* frames, std::int64_t count) const;

  CtcInput input_;
  CtcSearchOptions options_;
  std::shared_ptr<const CtcScorer> scorer_;
  std::vector<Sequence> sequences_;
};

}  // namespace fastseq
