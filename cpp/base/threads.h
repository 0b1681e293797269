// The team of threads: run_team(n, f) calls f on up to n members at once, the caller among them.
// The only place of the project that knows OpenMP.
#pragma once

#include <type_traits>
#include <utility>

#include "base/team.h"

namespace fastseq {

using TeamFunction = void (*)(void* context, const Team& team) noexcept;

// Calls f(context, team) on every member, the caller being member 0, and returns when all are done. The team
// may be smaller than wanted: the caller alone when the team is busy with another call.
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

int num_threads();            // members that a call may have
void set_num_threads(int n);  // n >= 1; 0 goes back to the default
bool has_openmp();

}  // namespace fastseq
