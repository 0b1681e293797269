// A recurrent layer one step at a time: its weights are packed already, a step only reads them.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "ops/rnn_packed.h"

namespace fastseq {

// Whether steps are taken alone or by the team: some of each are timed now and then, and the way whose median
// is less is kept until the next trial, or until the team falls behind. A second core that another process
// keeps busy makes the team slower by far, and nothing but the time tells. Threads that share it may spoil a
// trial, no more.
class TeamTrial {
 public:
  bool team();                          // for the step that begins
  void took(std::int64_t nanoseconds);  // by the step that ended
  void paused();                        // the step that ended came late: the members have gone to sleep

 private:
  // Of a trial's steps each way, the first wake the members and bring the weights to their caches.
  static constexpr std::int64_t untimed_steps = 4, timed_steps = 12,
                                trial_steps = untimed_steps + timed_steps;
  using Times = std::array<std::atomic<std::int64_t>, timed_steps>;  // nanoseconds

  static std::int64_t median(const Times& times);
  void look(std::int64_t step, std::int64_t nanoseconds);

  std::atomic<std::int64_t> step_{0};
  Times alone_times_ = {}, together_times_ = {};      // of the trial that is on
  std::atomic<std::int64_t> alone_{0}, together_{0};  // medians of the last trial
  std::atomic<std::int64_t> settling_{0};             // steps not to be timed, after a pause
  std::atomic<std::int64_t> since_{0};                // of the team's steps since the last look
};

// Any number of threads may take steps at once.
template <class T>
class RnnStepper {
 public:
  using Scalar = T;

  explicit RnnStepper(PackedRnn<T> layer);

  const PackedRnn<T>& layer() const { return layer_; }
  Cell cell() const { return layer_.view().cell; }
  std::ptrdiff_t features() const { return layer_.view().features; }
  std::ptrdiff_t units() const { return layer_.view().units; }
  double multiply_adds() const { return multiply_adds_; }  // of a step, per row

  // x (batch, features); h, c (batch, units) or null for zeros; output and h_out are both the new h. c and
  // c_out are used by an LSTM alone. Outputs must not overlap inputs.
  void step(std::ptrdiff_t batch, const T* x, const T* h, const T* c, T* output, T* h_out, T* c_out) const;

 private:
  int most_members() const;

  PackedRnn<T> layer_;
  double multiply_adds_;
  mutable std::atomic<std::int64_t> last_{0};  // when the last step ended, nanoseconds
  mutable TeamTrial trial_;
};

}  // namespace fastseq
