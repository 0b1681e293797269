// What stays is computed for the whole beam in one kernel; what grows is tried best first, and stops where
// nothing further can enter the beam. That bound is exact: the result is that of trying everything.
#include "ops/ctc_decode_search.h"

#include <algorithm>

#include "cpu/ctc_decode_kernels.h"
#include "cpu/kernels.h"

namespace fastseq {
namespace {

constexpr double impossible = -std::numeric_limits<double>::infinity();
constexpr std::int32_t none = -1;

std::size_t index(std::int32_t i) { return static_cast<std::size_t>(i); }
std::int32_t place_of(std::size_t i) { return static_cast<std::int32_t>(i); }

}  // namespace

void CtcSearch::Beam::resize(std::size_t count) {
  for (auto* each : {&prefix, &last, &label_starts, &blank_starts}) each->resize(count);
  for (auto* each : {&total, &label, &blank, &best_label, &best_blank, &rank}) each->resize(count);
}

CtcSearch::CtcSearch(const CtcSearchOptions& options)
    : options_(options),
      width_(static_cast<std::size_t>(options.beam_width)),
      prunes_(options.token_threshold > impossible || options.max_tokens < options.classes - 1),
      // rounding is no gain, but what a scorer adds and what it takes away are not rounded alike
      most_gain_(options.scorer ? options.scorer->most_gain() + 1e-6 : 0),
      grows_(prunes_ ? static_cast<std::size_t>(options.classes) : 0),
      seen_(static_cast<std::size_t>(options.classes), 0) {
  now_.resize(1);
  now_.prefix[0] = PrefixTree::root;
  now_.last[0] = now_.label_starts[0] = now_.blank_starts[0] = none;
  now_.total[0] = now_.blank[0] = now_.best_blank[0] = now_.rank[0] = 0;
  now_.label[0] = now_.best_label[0] = impossible;
  if (options.scorer) now_.context.assign(1, options.scorer->start());
  tree_.set_place(PrefixTree::root, 0);
}

void CtcSearch::push(const double* log_probs) {
  log_probs_ = log_probs;
  choose_tokens(log_probs);
  stay(log_probs);
  list_children();
  find_candidates();
  replace();
  ++frame_;
  if (starts_.full()) starts_.keep({&now_.label_starts, &now_.blank_starts});
}

CtcSearch::Way CtcSearch::best_way(std::size_t place, std::int32_t token) const {
  const Way after_blank = {now_.best_blank[place], now_.blank_starts[place]};
  if (token == now_.last[place] || now_.best_blank[place] >= now_.best_label[place]) return after_blank;
  return {now_.best_label[place], now_.label_starts[place]};
}

void CtcSearch::choose_tokens(const double* log_probs) {
  tokens_.clear();
  for (std::int32_t c = 0; c < options_.classes; ++c)
    if (c != options_.blank && log_probs[c] >= options_.token_threshold && log_probs[c] > impossible)
      tokens_.push_back({log_probs[c], c});
  if (!prunes_) return;
  const auto most = static_cast<std::size_t>(options_.max_tokens);
  if (tokens_.size() > most) {
    std::nth_element(tokens_.begin(), tokens_.begin() + static_cast<std::ptrdiff_t>(most), tokens_.end(),
                     [](const Token& a, const Token& b) {
                       return a.log_prob != b.log_prob ? a.log_prob > b.log_prob : a.token < b.token;
                     });
    tokens_.resize(most);
  }
  std::fill(grows_.begin(), grows_.end(), char(0));
  for (const Token& each : tokens_) grows_[index(each.token)] = 1;
}

// All prefixes of the beam as they are, one frame later: nothing is decided yet.
void CtcSearch::stay(const double* log_probs) {
  const std::size_t count = now_.size();
  stayed_.resize(count);
  emitted_.resize(count);
  entering_.resize(count);
  parent_.resize(count);
  const double blank = log_probs[options_.blank];
  for (std::size_t j = 0; j < count; ++j) {
    const std::int32_t last = now_.last[j];
    emitted_[j] = last == none ? impossible : log_probs[last];
    entering_[j] = impossible;
    parent_[j] = last == none ? none : tree_[tree_[now_.prefix[j]].parent].place;

    const bool from_label = now_.best_label[j] > now_.best_blank[j];
    stayed_.best_blank[j] = (from_label ? now_.best_label : now_.best_blank)[j] + blank;
    stayed_.blank_starts[j] = (from_label ? now_.label_starts : now_.blank_starts)[j];
    stayed_.best_label[j] = now_.best_label[j] + emitted_[j];
    stayed_.label_starts[j] = now_.label_starts[j];
    if (parent_[j] == none || is_pruned(last)) continue;
    entering_[j] = extended(index(parent_[j]), last, emitted_[j]);
    const Way way = best_way(index(parent_[j]), last);
    if (way.log_prob + emitted_[j] > stayed_.best_label[j]) {
      stayed_.best_label[j] = way.log_prob + emitted_[j];
      stayed_.label_starts[j] = starts_.add(frame_, way.starts);
    }
  }
  kernels().ctc_decode->stay({static_cast<std::ptrdiff_t>(count), blank, now_.total.data(), now_.label.data(),
                              emitted_.data(), entering_.data(), stayed_.total.data(), stayed_.label.data(),
                              stayed_.blank.data()});
}

// A prefix that another of the beam grows into gets that in `stay`, and is no candidate again.
void CtcSearch::list_children() {
  first_child_.assign(now_.size(), none);
  next_child_.resize(now_.size());
  for (std::size_t j = 0; j < now_.size(); ++j) {
    if (parent_[j] == none) continue;
    std::int32_t& first = first_child_[index(parent_[j])];
    next_child_[j] = first;
    first = place_of(j);
  }
}

// Most of the work is in candidates that come to nothing. The width of the last frame's ranks tells where the
// last place will about be: if beam_width candidates reach that, no other can matter. Otherwise all over
// again.
void CtcSearch::find_candidates() {
  candidates_.clear();
  if (now_.size() == 0) return;
  double best = impossible, least = -impossible;
  std::size_t possible = 0;
  for (std::size_t j = 0; j < now_.size(); ++j) {
    double& rank = stayed_.rank[j];
    rank = stayed_.total[j] + (options_.scorer ? now_.context[j].added() : 0);
    if (rank == impossible) continue;
    best = std::max(best, rank);
    least = std::min(least, rank);
    ++possible;
  }
  double floor = possible >= width_ ? least : impossible;
  floor = std::max(floor, best - options_.beam_threshold);
  for (const Token& each : tokens_) best = std::max(best, now_.rank[0] + each.log_prob);
  const double guess = best - 1.2 * spread_;
  if (guess > floor) {
    collect(guess);
    if (candidates_.size() >= width_) return;
  }
  collect(floor);
}

// All candidates that reach `floor`, but for those that come after beam_width better ones.
void CtcSearch::collect(double floor) {
  candidates_.clear();
  for (std::size_t j = 0; j < now_.size(); ++j)
    if (stayed_.rank[j] >= floor && stayed_.rank[j] > impossible)
      candidates_.push(stayed_.rank[j], place_of(j), none);

  reaching_.clear();
  for (const Token& each : tokens_)
    if (now_.rank[0] + most_gain_ + each.log_prob >= floor) reaching_.push_back(each);
  const auto likelier = [](const Token& a, const Token& b) {
    return a.log_prob != b.log_prob ? a.log_prob > b.log_prob : a.token < b.token;
  };
  // Of what one prefix grows by, all but these have beam_width better ones before them; one may be the last
  // label again, whose way is worse.
  if (!options_.scorer && reaching_.size() > width_ + 1) {
    std::nth_element(reaching_.begin(), reaching_.begin() + static_cast<std::ptrdiff_t>(width_),
                     reaching_.end(), likelier);
    reaching_.resize(width_ + 1);
  }
  std::sort(reaching_.begin(), reaching_.end(), likelier);
  for (std::size_t i = 0; i < now_.size() && !reaching_.empty(); ++i) {
    if (now_.rank[i] + most_gain_ + reaching_[0].log_prob < floor) break;
    grow(i, floor);
  }
}

void CtcSearch::grow(std::size_t place, double& floor) {
  ++turn_;
  for (std::int32_t j = first_child_[place]; j != none; j = next_child_[index(j)])
    seen_[index(now_.last[index(j)])] = turn_;
  const std::size_t full = 2 * width_ + 64;
  for (const Token& each : reaching_) {
    if (now_.rank[place] + most_gain_ + each.log_prob < floor) break;
    if (seen_[index(each.token)] == turn_) continue;
    double rank = extended(place, each.token, each.log_prob);
    if (options_.scorer) {
      const double added = options_.scorer->added(now_.context[place], each.token, tree_, now_.prefix[place]);
      rank += added;
    }
    if (rank < floor || rank == impossible) continue;
    candidates_.push(rank, place_of(place), each.token);
    floor = std::max(floor, rank - options_.beam_threshold);
    if (candidates_.size() < full) continue;
    candidates_.cut(width_);
    floor = std::max(floor, candidates_.worst());
  }
}

void CtcSearch::replace() {
  candidates_.sort(width_);
  candidates_.drop_below(candidates_.best() - options_.beam_threshold);

  spread_ = candidates_.size() < width_ ? -impossible : candidates_[0].rank - candidates_[width_ - 1].rank;

  next_.resize(candidates_.size());
  if (options_.scorer) next_.context.resize(candidates_.size());
  for (std::size_t j = 0; j < now_.size(); ++j) tree_.set_place(now_.prefix[j], none);
  for (std::size_t k = 0; k < candidates_.size(); ++k) {
    const CtcCandidate& each = candidates_[k];
    if (each.token == none)
      keep(index(each.place), k);
    else
      extend(each, k);
    next_.rank[k] = each.rank;
    tree_.set_place(next_.prefix[k], place_of(k));
  }
  for (std::size_t j = 0; j < now_.size(); ++j) tree_.release(now_.prefix[j]);
  std::swap(now_, next_);
}

void CtcSearch::keep(std::size_t from, std::size_t to) {
  next_.prefix[to] = now_.prefix[from];
  next_.last[to] = now_.last[from];
  next_.total[to] = stayed_.total[from];
  next_.label[to] = stayed_.label[from];
  next_.blank[to] = stayed_.blank[from];
  next_.best_label[to] = stayed_.best_label[from];
  next_.best_blank[to] = stayed_.best_blank[from];
  next_.label_starts[to] = stayed_.label_starts[from];
  next_.blank_starts[to] = stayed_.blank_starts[from];
  if (options_.scorer) next_.context[to] = now_.context[from];
}

void CtcSearch::extend(const CtcCandidate& candidate, std::size_t to) {
  const std::size_t from = index(candidate.place);
  const double log_prob = log_probs_[candidate.token];
  const Way way = best_way(from, candidate.token);
  next_.prefix[to] = tree_.child(now_.prefix[from], candidate.token);
  next_.last[to] = candidate.token;
  next_.total[to] = next_.label[to] = extended(from, candidate.token, log_prob);
  next_.blank[to] = next_.best_blank[to] = impossible;
  next_.best_label[to] = way.log_prob + log_prob;
  next_.label_starts[to] = starts_.add(frame_, way.starts);
  next_.blank_starts[to] = none;
  if (options_.scorer)
    options_.scorer->extend(now_.context[from], candidate.token, tree_, now_.prefix[from], next_.context[to]);
}

std::vector<CtcPath> CtcSearch::paths(std::size_t count, bool finished) const {
  std::vector<CtcCandidate> order;
  for (std::size_t j = 0; j < now_.size(); ++j) {
    const double end =
        options_.scorer && finished ? options_.scorer->finish(now_.context[j], tree_, now_.prefix[j]) : 0.0;
    if (end > impossible) order.push_back({now_.rank[j] + end, place_of(j), none});
  }
  count = std::min(count, order.size());
  std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(count), order.end(),
                    CtcCandidate::Better());
  std::vector<CtcPath> found(count);
  for (std::size_t k = 0; k < count; ++k) {
    const std::size_t j = index(order[k].place);
    found[k].score = now_.total[j];
    found[k].total = order[k].rank;
    for (std::int32_t at = now_.prefix[j]; at != PrefixTree::root; at = tree_[at].parent)
      found[k].labels.push_back(tree_[at].token);
    const bool in_label = now_.best_label[j] > now_.best_blank[j];
    for (std::int32_t at = (in_label ? now_.label_starts : now_.blank_starts)[j]; at != none;
         at = starts_[at].before)
      found[k].starts.push_back(starts_[at].frame);
    std::reverse(found[k].labels.begin(), found[k].labels.end());
    std::reverse(found[k].starts.begin(), found[k].starts.end());
  }
  return found;
}

}  // namespace fastseq
