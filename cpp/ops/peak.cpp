#include "ops/peak.h"

#include <atomic>
#include <chrono>

#include "base/checks.h"
#include "base/threads.h"
#include "cpu/kernels.h"
#include "cpu/peak_kernels.h"

namespace fastseq {

double fma_peak(int threads) {
  check_value(threads >= 1, "fma_peak", "threads", "be at least 1", threads);
  const PeakKernels& peak = *kernels().peak;
  const std::ptrdiff_t rounds = 1 << 18;  // a few milliseconds
  std::atomic<float> kept{0};
  double best = 0;
  for (int attempt = 0; attempt < 20; ++attempt) {
    using Clock = std::chrono::steady_clock;
    Clock::time_point start, end;
    int members = 1;
    run_team(threads, [&](const Team& team) noexcept {
      team.meet(team.meeting);
      if (team.index == 0) start = Clock::now();
      // 0.5 x + 1 stays near 2: no denormals, no infinities
      kept.store(peak.run(rounds, 0.5f, 1.0f), std::memory_order_relaxed);
      team.meet(team.meeting);
      if (team.index == 0) {
        end = Clock::now();
        members = team.count;
      }
    });
    const double seconds = std::chrono::duration<double>(end - start).count();
    const double speed = members * static_cast<double>(rounds) * peak.flops / seconds;
    best = speed > best ? speed : best;
  }
  return best;
}

}  // namespace fastseq
