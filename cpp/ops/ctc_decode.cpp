// Shares the frames (for the best path) or the sequences (for a search) of a batch out.
#include "ops/ctc_decode.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <limits>
#include <numeric>
#include <string>

#include "base/threads.h"
#include "base/workspace.h"
#include "cpu/ctc_decode_kernels.h"
#include "cpu/kernels.h"
#include "ops/share.h"

namespace fastseq {
namespace {

constexpr std::int64_t absent = -1;

// About the nanoseconds of one frame.
double best_path_work(CtcInput input, std::int64_t classes) {
  return 20 + (input == CtcInput::logits ? 0.4 : 0.2) * static_cast<double>(classes);
}
double merging_work(std::int64_t frames, std::int64_t batch) {  // of a sequence
  return 2.0 * static_cast<double>(frames) / static_cast<double>(std::max<std::int64_t>(batch, 1));
}
double search_work(const CtcSearchOptions& options) {
  return 30 * static_cast<double>(options.beam_width) + 10 * static_cast<double>(options.classes);
}

// The labels of a path, which take the place of its frames' classes, and the frames in which they start.
// Returns how many. Every frame is written, whether it counts or not: to guess would cost more.
std::int64_t merge_path(std::int32_t* best, std::int64_t frames, std::int64_t blank, std::int64_t* starts) {
  std::int64_t count = 0, before = blank;
  for (std::int64_t t = 0; t < frames; ++t) {
    const std::int32_t label = best[t];
    best[count] = label;
    starts[count] = t;
    count += static_cast<std::int64_t>(label != blank) & static_cast<std::int64_t>(label != before);
    before = label;
  }
  return count;
}

// Four sums side by side: none waits for another.
double sum(const double* x, std::int64_t count) {
  double sums[4] = {};
  std::int64_t i = 0;
  for (; i + 4 <= count; i += 4)
    for (int k = 0; k < 4; ++k) sums[k] += x[i + k];
  for (; i < count; ++i) sums[0] += x[i];
  return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

}  // namespace

template <class T>
CtcBestPaths ctc_greedy_decode(const char* function, const CtcFrames<T>& call) {
  check_frames(function, call);
  // First of the frames of sequence n, where all that are used lie one after the other.
  std::vector<std::int64_t> first(static_cast<std::size_t>(call.batch) + 1, 0);
  std::partial_sum(call.input_lengths, call.input_lengths + call.batch, first.begin() + 1);
  const std::int64_t used = first.back();
  CtcBestPaths paths;
  const auto frames = static_cast<std::size_t>(used);
  Arena arena = Arena::borrow(Arena::room<double>(frames));
  double* const scores = arena.take<double>(frames);
  paths.memory = Arena::borrow(Arena::room<std::int32_t>(frames) + Arena::room<std::int64_t>(frames));
  std::int32_t* const best = paths.memory.take<std::int32_t>(frames);
  std::int64_t* const starts = paths.memory.take<std::int64_t>(frames);

  const auto& kernel = kernels().ctc_decode->of<T>();
  share_work(used, 16, best_path_work(call.input, call.classes), [&](std::int64_t begin, std::int64_t end) {
    auto n = std::upper_bound(first.begin(), first.end(), begin) - first.begin() - 1;
    for (; begin < end; ++n) {
      const std::int64_t start = first[static_cast<std::size_t>(n)],
                         stop = std::min(end, first[static_cast<std::size_t>(n) + 1]);
      kernel.best(call.input, call.classes, call.inputs + n * call.frames * call.classes, best + start,
                  scores + start, begin - start, stop - start);
      begin = stop;
    }
  });

  paths.lengths.resize(static_cast<std::size_t>(call.batch));
  paths.scores.resize(static_cast<std::size_t>(call.batch));
  share_work(call.batch, 1, merging_work(used, call.batch), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t n = begin; n < end; ++n) {
      const auto at = static_cast<std::size_t>(n);
      const double score = sum(scores + first[at], call.input_lengths[n]);
      paths.scores[at] = score;
      paths.lengths[at] =
          score == score ? merge_path(best + first[at], call.input_lengths[n], call.blank, starts + first[at])
                         : 0;
    }
  });
  paths.longest = paths.lengths.empty() ? 0 : *std::max_element(paths.lengths.begin(), paths.lengths.end());
  paths.first = std::move(first);
  paths.labels = best;
  paths.starts = starts;
  return paths;
}

void CtcBestPaths::write(std::int64_t* to_labels, std::int64_t* to_starts) const {
  const auto batch = static_cast<std::int64_t>(lengths.size());
  share_work(batch, 1, merging_work(first.back(), batch), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t n = begin; n < end; ++n) {
      const auto at = static_cast<std::size_t>(n);
      const auto row = [&](const auto* from, std::int64_t* to) {
        std::fill(std::copy_n(from + first[at], lengths[at], to + n * longest), to + (n + 1) * longest,
                  absent);
      };
      row(labels, to_labels);
      row(starts, to_starts);
    }
  });
}

CtcBeamSearch::CtcBeamSearch(std::int64_t batch, CtcInput input, const CtcSearchOptions& options,
                             std::shared_ptr<const CtcScorer> scorer)
    : input_(input), options_(options), scorer_(std::move(scorer)) {
  options_.scorer = scorer_.get();
  sequences_.assign(static_cast<std::size_t>(batch), {CtcSearch(options_), true});
}

void CtcBeamSearch::reset() { sequences_.assign(sequences_.size(), {CtcSearch(options_), true}); }

template <class T>
void CtcBeamSearch::push_frames(Sequence& sequence, const T* frames, std::int64_t count) const {
  const std::int64_t classes = options_.classes, block = std::max<std::int64_t>(1, 4096 / classes);
  std::vector<double> log_probs(static_cast<std::size_t>(std::min(block, count) * classes));
  for (std::int64_t t = 0; t < count && sequence.sound; t += block) {
    const std::int64_t part = std::min(block, count - t);
    sequence.sound = kernels().ctc_decode->of<T>().log_probs(input_, classes, frames + t * classes,
                                                             log_probs.data(), part);
    for (std::int64_t i = 0; i < part && sequence.sound; ++i)
      sequence.search.push(log_probs.data() + i * classes);
  }
}

template <class T>
void CtcBeamSearch::push(const char* function, const CtcFrames<T>& call) {
  check_frames(function, call);
  std::vector<std::size_t> order(sequences_.size());
  std::iota(order.begin(), order.end(), 0);
  double work = 0;
  for (std::size_t n : order) {
    constexpr std::int64_t most = std::numeric_limits<std::int32_t>::max();
    const std::int64_t before = sequences_[n].search.frames();
    check_value(
        call.input_lengths[n] <= most - before, function, "logits",
        [&] { return "have no more than " + std::to_string(most) + " steps in all"; },
        [&] { return std::to_string(before) + " and " + std::to_string(call.input_lengths[n]); });
    work += static_cast<double>(call.input_lengths[n]) * search_work(options_);
  }
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return call.input_lengths[a] > call.input_lengths[b];
  });

  // Whoever is free takes the next sequence. A member must not throw: what the first to fail threw is kept.
  std::atomic<std::size_t> next{0};
  std::atomic<bool> failed{false};
  std::exception_ptr failure;
  run_team(std::min<int>(members_for(work), static_cast<int>(std::max<std::size_t>(order.size(), 1))),
           [&](const Team&) noexcept {
             for (std::size_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < order.size();) {
               const std::size_t n = order[i];
               try {
                 push_frames(sequences_[n],
                             call.inputs + static_cast<std::int64_t>(n) * call.frames * call.classes,
                             call.input_lengths[n]);
               } catch (...) {
                 sequences_[n].sound = false;
                 if (!failed.exchange(true)) failure = std::current_exception();
               }
             }
           });
  if (failure) std::rethrow_exception(failure);
}

std::vector<std::vector<CtcPath>> CtcBeamSearch::paths(std::int64_t count, bool finished) const {
  std::vector<std::vector<CtcPath>> found;
  for (const Sequence& sequence : sequences_)
    found.push_back(sequence.sound ? sequence.search.paths(static_cast<std::size_t>(count), finished)
                                   : std::vector<CtcPath>());
  return found;
}

template CtcBestPaths ctc_greedy_decode<float>(const char*, const CtcFrames<float>&);
template CtcBestPaths ctc_greedy_decode<double>(const char*, const CtcFrames<double>&);
template void CtcBeamSearch::push<float>(const char*, const CtcFrames<float>&);
template void CtcBeamSearch::push<double>(const char*, const CtcFrames<double>&);

}  // namespace fastseq
