// Prefix beam search of one sequence, frame by frame.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "ops/ctc_decode_candidates.h"
#include "ops/ctc_decode_prefixes.h"
#include "ops/ctc_decode_scorer.h"

namespace fastseq {

struct CtcSearchOptions {
  std::int64_t classes, blank;
  std::int64_t beam_width;
  double token_threshold = -std::numeric_limits<double>::infinity();   // log-probability to be grown by
  double beam_threshold = std::numeric_limits<double>::infinity();     // below the best, to be dropped
  std::int64_t max_tokens = std::numeric_limits<std::int64_t>::max();  // of a frame, to be grown by
  const CtcScorer* scorer = nullptr;
};

struct CtcPath {
  double score;  // log-probability of the labels over all alignments that the beam kept
  double total;  // what paths are ranked by: that, and what the scorer adds
  std::vector<std::int64_t> labels, starts;
};

class CtcSearch {
 public:
  explicit CtcSearch(const CtcSearchOptions& options);

  // One more frame: logarithms of probabilities of all classes, none of them NaN or inf.
  void push(const double* log_probs);

  // Best first, at most `count`; `finished`: with what the scorer says of the end.
  std::vector<CtcPath> paths(std::size_t count, bool finished) const;

  std::int32_t frames() const { return frame_; }

 private:
  // Prefixes, best first. Logarithms of probabilities: of all alignments, of those that end in the last
  // label, of those that end in a blank; then of the best alignment of either kind, with its tokens' starts.
  struct Beam {
    std::vector<std::int32_t> prefix, last;
    std::vector<double> total, label, blank, best_label, best_blank;
    std::vector<std::int32_t> label_starts, blank_starts;
    std::vector<double> rank;         // total, and what the scorer adds
    std::vector<CtcContext> context;  // with a scorer

    std::size_t size() const { return prefix.size(); }
    void resize(std::size_t count);
  };

  struct Token {
    double log_prob;
    std::int32_t token;
  };

  void choose_tokens(const double* log_probs);
  void stay(const double* log_probs);
  void list_children();
  void find_candidates();
  void collect(double floor);
  void grow(std::size_t place, double& floor);
  void replace();
  void keep(std::size_t from, std::size_t to);
  void extend(const CtcCandidate& candidate, std::size_t to);

  bool is_pruned(std::int32_t token) const { return prunes_ && !grows_[static_cast<std::size_t>(token)]; }
  double extended(std::size_t place, std::int32_t token, double log_prob) const {
    return (token == now_.last[place] ? now_.blank : now_.total)[place] + log_prob;
  }
  // The best alignment that comes to the prefix with one token more, before that token's probability.
  struct Way {
    double log_prob;
    std::int32_t starts;
  };
  Way best_way(std::size_t place, std::int32_t token) const;

  CtcSearchOptions options_;
  std::size_t width_;
  bool prunes_;
  double most_gain_;  // a scorer's, of one token
  PrefixTree tree_;
  TokenStarts starts_;
  Beam now_, next_;
  Beam stayed_;  // the prefixes of now_, one frame later: their probabilities and ranks
  double spread_ = std::numeric_limits<double>::infinity();  // of the ranks of a full beam
  std::int32_t frame_ = 0;

  // Of the frame at hand.
  const double* log_probs_ = nullptr;
  std::vector<Token> tokens_;    // to grow by
  std::vector<Token> reaching_;  // those that can reach the beam
  std::vector<char> grows_;  // by class: whether it is among them, before those that cannot reach the beam
  std::vector<double> emitted_, entering_;
  std::vector<std::int32_t> parent_, first_child_, next_child_;  // places in the beam, or -1
  std::vector<std::int64_t> seen_;                               // by class: the last to have it as a child
  std::int64_t turn_ = 0;
  CtcCandidates candidates_;
};

}  // namespace fastseq
