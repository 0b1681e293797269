// How much of the team a row-wise call deserves, and which part each member takes.
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/threads.h"

namespace fastseq {

// Below this much work for each, fewer members are as fast: meeting the others costs microseconds.
constexpr double nanoseconds_per_member = 10000;

inline int members_for(double nanoseconds) {
  if (nanoseconds < 2 * nanoseconds_per_member) return 1;
  const double most = nanoseconds / nanoseconds_per_member;
  return static_cast<int>(std::min<double>(num_threads(), most));
}

struct Share {
  std::int64_t begin, end;
};

// The member's part of `items`, in whole multiples of `grain` but for the last.
inline Share share_of(std::int64_t items, std::int64_t grain, const Team& team) {
  const std::int64_t grains = (items + grain - 1) / grain;
  const auto cut = [&](std::int64_t k) { return std::min(items, grains * k / team.count * grain); };
  return {cut(team.index), cut(team.index + 1)};
}

// f(begin, end) on every member's share of `items`, each of which takes about `nanoseconds` alone. A caller
// who works alone is a team too: that sets the floating-point mode.
template <class F>
void share_work(std::int64_t items, std::int64_t grain, double nanoseconds, const F& f) {
  run_team(members_for(nanoseconds * static_cast<double>(items)), [&](const Team& team) noexcept {
    const Share share = share_of(items, grain, team);
    if (share.begin < share.end) f(share.begin, share.end);
  });
}

}  // namespace fastseq
