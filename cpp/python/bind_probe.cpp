// What tests and benchmarks see of the team of threads: who takes part, in which floating-point mode, how
// fast.
#include <pybind11/stl.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <tuple>
#include <vector>

#include "base/checks.h"
#include "base/cpus.h"
#include "base/float_mode.h"
#include "base/threads.h"
#include "base/workspace.h"
#include "ops/peak.h"
#include "python/bind.h"

namespace py = pybind11;

namespace fastseq {
namespace {

using Clock = std::chrono::steady_clock;
using Seconds = std::chrono::duration<double>;
using MemberSeen = std::tuple<int, int, int, std::uint64_t, std::uint64_t>;

// One per thread: its address tells threads apart.
thread_local char thread_mark = 0;

std::vector<MemberSeen> probe_team(int wanted) {
  check_value(wanted >= 1, "probe_team", "wanted", "be at least 1", wanted);
  std::vector<MemberSeen> seen(static_cast<std::size_t>(wanted));
  int count = 0;
  run_team(wanted, [&](const Team& team) noexcept {
    if (team.index == 0) count = team.count;
    seen[team.index] = {team.index, team.count, current_cpu(), reinterpret_cast<std::uintptr_t>(&thread_mark),
                        FloatMode::read()};
  });
  seen.resize(static_cast<std::size_t>(count));
  return seen;
}

// How often, in `meetings` meetings, a member came out of one that another had not come into.
int probe_meetings(int wanted, int meetings) {
  check_value(wanted >= 1, "probe_meetings", "wanted", "be at least 1", wanted);
  std::vector<std::atomic<int>> came(static_cast<std::size_t>(wanted));
  std::atomic<int> failures{0};
  run_team(wanted, [&](const Team& team) noexcept {
    for (int i = 1; i <= meetings; ++i) {
      came[team.index] = i;
      team.meet(team.meeting);
      for (int other = 0; other < team.count; ++other) failures += came[other] < i || came[other] > i + 1;
    }
  });
  return failures;
}

// Seconds for `calls` calls in which every member works for `work` seconds and meets the others `meetings`
// times.
double time_team(int wanted, int calls, int meetings, double work) {
  const auto start = Clock::now();
  for (int call = 0; call < calls; ++call) {
    run_team(wanted, [&](const Team& team) noexcept {
      for (int i = 0; i < meetings; ++i) team.meet(team.meeting);
      if (work > 0) {
        for (const auto began = Clock::now(); Seconds(Clock::now() - began).count() < work;) continue;
      }
    });
  }
  return Seconds(Clock::now() - start).count();
}

// Borrows an arena of each size, all at once; true if no two of them overlapped and every piece was aligned.
bool probe_arenas(const std::vector<std::size_t>& sizes) {
  std::vector<Arena> arenas;
  std::vector<char*> pieces;
  for (std::size_t size : sizes) {
    arenas.push_back(Arena::borrow(Arena::room<char>(size)));
    pieces.push_back(arenas.back().take<char>(size));
    std::memset(pieces.back(), static_cast<int>(pieces.size()), size);
  }
  bool right = true;
  for (std::size_t n = 0; n < sizes.size(); ++n) {
    right = right && reinterpret_cast<std::uintptr_t>(pieces[n]) % Arena::kAlignment == 0;
    for (std::size_t i = 0; i < sizes[n]; ++i) right = right && pieces[n][i] == static_cast<char>(n + 1);
  }
  return right;
}

}  // namespace

void bind_probe(py::module_& m) {
  const py::call_guard<py::gil_scoped_release> no_gil;
  m.def("probe_team", &probe_team, py::arg("wanted"), no_gil,
        "Per member: index, count, CPU (-1 where unknown), thread, floating-point mode.");
  m.def("probe_meetings", &probe_meetings, py::arg("wanted"), py::arg("meetings"), no_gil);
  m.def("time_team", &time_team, py::arg("wanted"), py::arg("calls"), py::arg("meetings") = 0,
        py::arg("work") = 0.0, no_gil);
  m.def("fma_peak", &fma_peak, py::arg("threads"), no_gil,
        "float32 operations per second from registers alone.");
  m.def("fma_rate", &fma_rate, py::arg("threads"), py::arg("seconds"), no_gil,
        "The same over so many seconds on end.");
  m.def("read_peak", &read_peak, py::arg("threads"), py::arg("bytes"), no_gil,
        "Bytes per second from the cache that holds so many.");
  m.def("probe_arenas", &probe_arenas, py::arg("sizes"), no_gil);
  m.def("float_mode", &FloatMode::read, "The calling thread's floating-point control register.");
  m.def("set_float_mode", &FloatMode::write, py::arg("mode"));
  m.def("work_float_mode", [] { return FloatMode::kMode; });
}

}  // namespace fastseq
