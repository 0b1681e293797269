// The team of threads: run_team(n, f) calls f on up to n members at once, the caller among them.
// threads.cpp is the only place of the project that knows OpenMP.
#pragma once

#include <type_traits>
#include <utility>

#include "base/team.h"

namespace fastseq {

using TeamFunction = void (*)(void* context, const Team& team) noexcept;

// Calls f(context, team) on every member, the caller being member 0, and returns when all are done. The team
// may be smaller than wanted: the caller alone when the team is busy with another call, or in a build without
// OpenMP.
void run_team_erased(int wanted, TeamFunction f, void* context);

// f(const Team&) must be noexcept: there is nobody to catch what a member throws.
template <class F>
void run_team(int wanted, F&& f) {
  using Function = std::remove_reference_t<F>;
  static_assert(noexcept(f(std::declval<const Team&>())), "what runs on a team must be noexcept");
  run_team_erased(
      wanted, [](void* context, const Team& team) noexcept { (*static_cast<Function*>(context))(team); },
      const_cast<void*>(static_cast<const void*>(&f)));
}

// Calls first(context of the first, team) on one half of up to `wanted` members and second on the other, each
// half a team of its own; one after the other where there is nobody but the caller.
void run_halves_erased(int wanted, TeamFunction first, void* context_of_first, TeamFunction second,
                       void* context_of_second);

template <class F, class G>
void run_halves(int wanted, F&& first, G&& second) {
  using First = std::remove_reference_t<F>;
  using Second = std::remove_reference_t<G>;
  static_assert(noexcept(first(std::declval<const Team&>())) && noexcept(second(std::declval<const Team&>())),
                "what runs on a team must be noexcept");
  run_halves_erased(
      wanted, [](void* context, const Team& team) noexcept { (*static_cast<First*>(context))(team); },
      const_cast<void*>(static_cast<const void*>(&first)),
      [](void* context, const Team& team) noexcept { (*static_cast<Second*>(context))(team); },
      const_cast<void*>(static_cast<const void*>(&second)));
}

// Members that a call from this thread may have: what set_num_threads said, else FASTSEQ_NUM_THREADS, else
// the CPUs that affinity and control groups leave to this process, at most OMP_NUM_THREADS. Less if
// omp_set_num_threads (threadpoolctl calls it) has lowered OpenMP's own number in this thread since import or
// since the last set_num_threads.
int num_threads();
void set_num_threads(int n);  // n >= 1; 0 goes back to the default

// Reads FASTSEQ_NUM_THREADS once, at import. Throws std::runtime_error if it is not a number of threads.
void choose_num_threads();

bool has_openmp();

}  // namespace fastseq
