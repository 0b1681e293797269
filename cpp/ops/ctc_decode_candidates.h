// The candidates for a beam's next prefixes, and the best of them. Ranks lie close together, so that dealing
// them into buckets leaves little to compare.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

namespace fastseq {

// A prefix of the beam (place) as it is (token -1) or with one token more.
struct CtcCandidate {
  double rank;  // finite
  std::int32_t place, token;

  // The better rank first. Of equal ones, what comes from the better prefix; of that, as it is before grown,
  // and grown by the lower class first.
  struct Better {
    bool operator()(const CtcCandidate& a, const CtcCandidate& b) const {
      if (a.rank != b.rank) return a.rank > b.rank;
      return a.place != b.place ? a.place < b.place : a.token < b.token;
    }
  };
};

class CtcCandidates {
 public:
  std::size_t size() const { return all_.size(); }
  const CtcCandidate& operator[](std::size_t i) const { return all_[i]; }
  double best() const { return most_; }    // rank
  double worst() const { return least_; }  // rank

  void clear() {
    all_.clear();
    most_ = -std::numeric_limits<double>::infinity();
    least_ = -most_;
  }

  // Field by field: a candidate copied as a whole waits for its parts to be written.
  void push(double rank, std::int32_t place, std::int32_t token) {
    CtcCandidate& added = all_.emplace_back();
    added.rank = rank;
    added.place = place;
    added.token = token;
    most_ = std::max(most_, rank);
    least_ = std::min(least_, rank);
  }

  // Drops most of what `width` better ones leave no room for. Who is worse than worst() then has no chance.
  void cut(std::size_t width) {
    if (all_.size() <= width) return;
    deal();
    std::size_t enough = 0, last = 0, kept = 0;
    while ((enough += counts_[last]) < width) ++last;
    for (const CtcCandidate& each : all_) {  // no branch: it would be a coin's toss
      all_[kept] = each;
      kept += bucket_of(each.rank) <= last;
    }
    all_.resize(kept);
    if (all_.size() > width + width / 2) {
      std::nth_element(all_.begin(), end_of(width) - 1, all_.end(), CtcCandidate::Better());
      all_.resize(width);
    }
    least_ = most_;
    for (const CtcCandidate& each : all_) least_ = std::min(least_, each.rank);
  }

  // Leaves the best `width`, in order.
  void sort(std::size_t width) {
    cut(width);
    if (all_.empty()) return;
    deal();
    sorted_.resize(all_.size());
    std::array<std::uint32_t, kBuckets> next;
    std::uint32_t begin = 0;
    for (std::size_t b = 0; b < kBuckets; ++b) {
      next[b] = begin;
      begin += counts_[b];
    }
    for (const CtcCandidate& each : all_) sorted_[next[bucket_of(each.rank)]++] = each;
    begin = 0;
    for (std::size_t b = 0; b < kBuckets; ++b) {
      if (counts_[b] > 1)
        std::sort(sorted_.begin() + begin, sorted_.begin() + begin + counts_[b], CtcCandidate::Better());
      begin += counts_[b];
    }
    all_.swap(sorted_);
    if (all_.size() > width) all_.resize(width);
  }

  // Once sorted: drops those below `rank`.
  void drop_below(double rank) {
    while (!all_.empty() && all_.back().rank < rank) all_.pop_back();
  }

 private:
  static constexpr std::size_t kBuckets = 256;

  std::vector<CtcCandidate>::iterator end_of(std::size_t count) {
    return all_.begin() + static_cast<std::ptrdiff_t>(count);
  }

  // A better rank is never in a later bucket: each step of this keeps the order.
  std::size_t bucket_of(double rank) const {
    return std::min(kBuckets - 1, static_cast<std::size_t>((most_ - rank) * scale_));
  }

  void deal() {
    const double spread = most_ - least_;
    scale_ = spread > 1e-290 ? static_cast<double>(kBuckets) / spread : 0;
    counts_.fill(0);
    for (const CtcCandidate& each : all_) ++counts_[bucket_of(each.rank)];
  }

  std::vector<CtcCandidate> all_, sorted_;
  double most_ = 0, least_ = 0;
  double scale_ = 0;
  std::array<std::uint32_t, kBuckets> counts_;
};

}  // namespace fastseq
