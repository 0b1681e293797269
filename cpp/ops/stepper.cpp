#include "ops/stepper.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "base/threads.h"
#include "ops/rnn_layout.h"

namespace fastseq {
namespace {

// A step is bound by the weights' way from the cache: a member that brings fewer bytes than this costs more
// to meet than it saves.
constexpr double bytes_worth_a_member = 128 * 1024;
constexpr std::ptrdiff_t units_worth_a_member = 32;

// Members that have waited for longer than this may be asleep, and waking them takes as long as many steps:
// a step that comes so late is taken alone, as is the first.
constexpr std::int64_t members_stay_awake = 100000;  // nanoseconds

constexpr std::int64_t trial_period = 1024;  // steps from one trial to the next
// The team is left at once where its steps take so many times as long; less may be one bad moment.
constexpr std::int64_t look_period = 64, far_behind = 4;

std::int64_t now() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

}  // namespace

template <class T>
RnnStepper<T>::RnnStepper(PackedRnn<T> layer) : layer_(std::move(layer)) {
  const RnnPacked<T>& packed = layer_.view();
  multiply_adds_ = static_cast<double>(cell_layout(packed.cell).gates) * static_cast<double>(packed.units) *
                   static_cast<double>(packed.features + packed.units);
}

bool TeamTrial::team() {
  const std::int64_t step = step_.load(std::memory_order_relaxed) % trial_period;
  if (step < trial_steps) return false;
  if (step < 2 * trial_steps) return true;
  return together_.load(std::memory_order_relaxed) < alone_.load(std::memory_order_relaxed);
}

void TeamTrial::paused() { settling_.store(untimed_steps, std::memory_order_relaxed); }

void TeamTrial::took(std::int64_t nanoseconds) {
  if (settling_.load(std::memory_order_relaxed) > 0) {
    settling_.fetch_sub(1, std::memory_order_relaxed);
    return;
  }
  const std::int64_t step = step_.fetch_add(1, std::memory_order_relaxed) % trial_period;
  if (step >= 2 * trial_steps) return look(step, nanoseconds);
  const bool alone = step < trial_steps;
  Times& times = alone ? alone_times_ : together_times_;
  const std::int64_t timed = step % trial_steps - untimed_steps;
  if (timed < 0) return;
  times[static_cast<std::size_t>(timed)].store(nanoseconds, std::memory_order_relaxed);
  if (timed == timed_steps - 1) (alone ? alone_ : together_).store(median(times), std::memory_order_relaxed);
}

// Not the mean: one step that had to wait for its core, of dozens of microseconds, would decide the trial.
std::int64_t TeamTrial::median(const Times& times) {
  std::array<std::int64_t, timed_steps> sorted;
  for (std::size_t i = 0; i < times.size(); ++i) sorted[i] = times[i].load(std::memory_order_relaxed);
  std::nth_element(sorted.begin(), sorted.begin() + timed_steps / 2, sorted.end());
  return sorted[timed_steps / 2];
}

// Between trials: a member that has to wait for its core costs the team more than the trial could tell.
void TeamTrial::look(std::int64_t step, std::int64_t nanoseconds) {
  const std::int64_t sum = since_.fetch_add(nanoseconds, std::memory_order_relaxed) + nanoseconds;
  if (step % look_period != look_period - 1) return;
  since_.store(0, std::memory_order_relaxed);
  const std::int64_t alone = alone_.load(std::memory_order_relaxed);
  if (sum / look_period > far_behind * alone) together_.store(INT64_MAX, std::memory_order_relaxed);
}

template <class T>
int RnnStepper<T>::most_members() const {
  const double bytes = multiply_adds_ * sizeof(T);
  if (bytes < 2 * bytes_worth_a_member) return 1;
  const auto worth = static_cast<std::ptrdiff_t>(bytes / bytes_worth_a_member);
  return static_cast<int>(std::min<std::ptrdiff_t>({num_threads(), worth, units() / units_worth_a_member}));
}

template <class T>
void RnnStepper<T>::step(std::ptrdiff_t batch, const T* x, const T* h, const T* c, T* output, T* h_out,
                         T* c_out) const {
  const RnnPacked<T>& packed = layer_.view();
  const RnnSizes<T> size(packed.cell, packed.units, layer_.compiled());
  const bool lstm = packed.cell == Cell::lstm;
  RnnStep<T> s = {};
  s.packed = packed;
  s.batch = batch;
  s.x = x;
  s.h = h;
  s.c = c;
  s.output = output;
  s.h_out = h_out;
  s.c_out = c_out;
  s.units = packed.panels * size.width;
  const Arena memory = Workspace::deal([&](Workspace& w) {
    w.take(s.sums, packed.panels * batch * size.frame);
    w.take(s.h_before, batch * s.units);
    w.take(s.h_after, batch * s.units);
    w.take(s.c_before, batch * s.units, lstm);
    w.take(s.c_after, batch * s.units, lstm);
    w.take(s.reset, batch * s.units, size.close > 0);
  });
  const RnnTable<T>& kernel = rnn_table<T>(layer_.compiled());
  const auto work = [&](const Team& team) noexcept { kernel.step(s, team); };
  const int most = most_members();
  if (most <= 1) return run_team(1, work);
  const std::int64_t begin = now();
  const bool awake = begin - last_.load(std::memory_order_relaxed) <= members_stay_awake;
  run_team(awake && trial_.team() ? most : 1, work);
  const std::int64_t end = now();
  if (awake)
    trial_.took(end - begin);
  else
    trial_.paused();
  last_.store(end, std::memory_order_relaxed);
}

template class RnnStepper<float>;
template class RnnStepper<double>;

}  // namespace fastseq
