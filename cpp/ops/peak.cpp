#include "ops/peak.h"

#include <algorithm>
#include <atomic>
#include <chrono>

#include "base/checks.h"
#include "base/threads.h"
#include "base/workspace.h"
#include "cpu/kernels.h"
#include "cpu/peak_kernels.h"
#include "ops/share.h"

namespace fastseq {

namespace {

// Seconds from when all members begin work() until all have done it, and how many they were.
struct Timed {
  double seconds;
  int members;
};

template <class F>
Timed time_together(int threads, F work) {
  using Clock = std::chrono::steady_clock;
  Clock::time_point start, end;
  int members = 1;
  run_team(threads, [&](const Team& team) noexcept {
    team.meet(team.meeting);
    if (team.index == 0) start = Clock::now();
    work(team);
    team.meet(team.meeting);
    if (team.index == 0) {
      end = Clock::now();
      members = team.count;
    }
  });
  return {std::chrono::duration<double>(end - start).count(), members};
}

}  // namespace

double fma_peak(int threads) {
  check_value(threads >= 1, "fma_peak", "threads", "be at least 1", threads);
  const PeakKernels& peak = *kernels().peak;
  const std::ptrdiff_t rounds = 1 << 18;  // a few milliseconds
  std::atomic<float> kept{0};
  double best = 0;
  for (int attempt = 0; attempt < 20; ++attempt) {
    // 0.5 x + 1 stays near 2: no denormals, no infinities
    const Timed timed = time_together(threads, [&](const Team&) noexcept {
      kept.store(peak.run(rounds, 0.5f, 1.0f), std::memory_order_relaxed);
    });
    best = std::max(best, timed.members * static_cast<double>(rounds) * peak.flops / timed.seconds);
  }
  return best;
}

double fma_rate(int threads, double seconds) {
  check_value(threads >= 1, "fma_rate", "threads", "be at least 1", threads);
  check_value(seconds > 0 && seconds <= 3600, "fma_rate", "seconds", "be in (0, 3600]", seconds);
  using Clock = std::chrono::steady_clock;
  const PeakKernels& peak = *kernels().peak;
  const std::ptrdiff_t rounds = 1 << 15;  // a few tenths of a millisecond
  std::atomic<float> kept{0};
  std::atomic<std::int64_t> done{0};
  const Timed timed = time_together(threads, [&](const Team&) noexcept {
    const Clock::time_point end =
        Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
    do {
      kept.store(peak.run(rounds, 0.5f, 1.0f), std::memory_order_relaxed);
      done.fetch_add(rounds, std::memory_order_relaxed);
    } while (Clock::now() < end);
  });
  return static_cast<double>(done.load()) * peak.flops / timed.seconds;
}

double read_peak(int threads, std::int64_t bytes) {
  check_value(threads >= 1, "read_peak", "threads", "be at least 1", threads);
  check_value(bytes >= 4096, "read_peak", "bytes", "be at least 4096", bytes);
  const PeakKernels& peak = *kernels().peak;
  const auto count = static_cast<std::size_t>(bytes) / sizeof(float);
  const std::int64_t passes = (std::int64_t{1} << 26) / bytes + 1;  // about a millisecond
  Arena memory = Arena::borrow(Arena::room<float>(count));
  float* const numbers = memory.take<float>(count);
  std::fill_n(numbers, count, 1.0f);
  std::atomic<float> kept{0};
  double best = 0;
  for (int attempt = 0; attempt < 20; ++attempt) {
    const Timed timed = time_together(threads, [&](const Team& team) noexcept {
      const Share part = share_of(static_cast<std::int64_t>(count), 128, team);
      for (std::int64_t pass = 0; pass < passes; ++pass)
        kept.store(peak.read(numbers + part.begin, part.end - part.begin), std::memory_order_relaxed);
    });
    best = std::max(best, static_cast<double>(passes) * static_cast<double>(bytes) / timed.seconds);
  }
  return best;
}

}  // namespace fastseq
