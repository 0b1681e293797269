// Checks a batch, then shares out its sequences, or, where they are fewer than members, the states of each.
#include "ops/ctc_align.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <vector>

#include "base/threads.h"
#include "base/workspace.h"
#include "cpu/ctc_align_kernels.h"
#include "cpu/kernels.h"
#include "ops/share.h"

namespace fastseq {
namespace {

// Up to here the way back of a sequence is kept whole: that much stays in a core's own cache.
constexpr std::int64_t whole_states = 512 * 1024;
// Labels that are worth a member: between two blocks of frames it meets the others.
constexpr std::ptrdiff_t labels_per_member = 128;

// About the nanoseconds of one sequence.
template <class T>
double alignment_work(const CtcAlignCall<T>& call, std::int64_t n) {
  const double classes = call.input == CtcInput::logits ? static_cast<double>(call.classes) : 0;
  return static_cast<double>(call.input_lengths[n]) *
         (static_cast<double>(call.label_lengths[n]) + classes + 60);
}

template <class T>
std::size_t alignment_room(const CtcPath<T>& path) {
  return Arena::room<char>(static_cast<std::size_t>(kernels().ctc_align->of<T>().work_bytes(path)));
}

// Whoever is free takes the next sequence, the longest first; each member has work space for any.
template <class T>
void share_paths(std::vector<CtcPath<T>>& paths, int members) {
  std::stable_sort(paths.begin(), paths.end(), [](const auto& a, const auto& b) {
    return a.frames * (a.labels + 40) > b.frames * (b.labels + 40);
  });
  std::size_t room = 0;
  for (const CtcPath<T>& path : paths) room = std::max(room, alignment_room(path));
  Arena arena = Arena::borrow(room * static_cast<std::size_t>(members));
  std::vector<char*> space;
  for (int member = 0; member < members; ++member) space.push_back(arena.take<char>(room));
  const CtcAlignTable<T>& kernel = kernels().ctc_align->of<T>();
  std::atomic<std::size_t> next{0};
  run_team(members, [&](const Team& team) noexcept {
    for (std::size_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < paths.size();) {
      paths[i].work = space[static_cast<std::size_t>(team.index)];
      kernel.sequence(paths[i]);
    }
  });
}

// Fewer sequences than members: the frames' sums are shared, then the states. Each chunk of them goes a block
// of frames behind the chunk below, whose last label it needs.
template <class T>
void share_states(std::vector<CtcPath<T>>& paths, int members) {
  std::size_t room = 0;
  for (const CtcPath<T>& path : paths) room += alignment_room(path);
  Arena arena = Arena::borrow(room);
  for (CtcPath<T>& path : paths) path.work = arena.take<char>(alignment_room(path));
  const CtcAlignTable<T>& kernel = kernels().ctc_align->of<T>();
  run_team(members, [&](const Team& team) noexcept {
    const auto mine = [&](std::size_t i) {
      return static_cast<int>(i % static_cast<std::size_t>(team.count)) == team.index;
    };
    for (std::size_t i = 0; i < paths.size(); ++i)
      if (mine(i)) kernel.prepare(paths[i]);
    for (const CtcPath<T>& path : paths) {
      const Share share = share_of(path.frames, 1, team);
      kernel.log_sums(path, share.begin, share.end);
    }
    team.meet(team.meeting);
    for (std::size_t i = 0; i < paths.size(); ++i) {
      const CtcPath<T>& path = paths[i];
      const std::ptrdiff_t blocks = (path.frames - 1) / path.block;
      for (std::ptrdiff_t turn = 0; turn < blocks + path.chunks - 1; ++turn) {
        for (std::ptrdiff_t chunk = team.index; chunk < path.chunks; chunk += team.count)
          if (turn - chunk >= 0 && turn - chunk < blocks) kernel.advance(path, chunk, turn - chunk);
        team.meet(team.meeting);
      }
      if (mine(i)) kernel.trace(path);
    }
  });
}

// How many frames lie between states that are kept. Nothing of the result depends on it.
template <class T>
std::ptrdiff_t block_of(const CtcPath<T>& path) {
  if (path.chunks == 1 && path.frames * (path.labels + 1) <= whole_states)
    return std::max<std::ptrdiff_t>(path.frames, 1);
  const double root = std::sqrt(static_cast<double>(path.frames));
  return std::max<std::ptrdiff_t>(static_cast<std::ptrdiff_t>(root), 32);
}

}  // namespace

template <class T>
void ctc_align(const char* function, const CtcAlignCall<T>& call) {
  check_batch(function, call);
  if (call.raises) check_fits(function, call);
  const std::int64_t tokens = call.batch * call.longest, frames = call.batch * call.frames;
  std::fill_n(call.starts, tokens, -1);
  std::fill_n(call.ends, tokens, -1);
  std::fill_n(call.confidences, tokens, T(0));
  std::fill_n(call.path, frames, -1);
  std::fill_n(call.log_probs, frames, T(0));
  std::fill_n(call.scores, call.batch, -std::numeric_limits<T>::infinity());

  std::vector<CtcPath<T>> paths;
  double work = 0;
  for (std::int64_t n = 0; n < call.batch; ++n) {
    if (!fits(call, n)) continue;
    work += alignment_work(call, n);
    const std::int64_t token = n * call.longest, frame = n * call.frames;
    paths.push_back({call.input, call.input_lengths[n], call.classes, call.label_lengths[n], call.blank,
                     call.label_of(n), call.inputs + frame * call.classes,
                     call.gaps != nullptr ? call.gaps + token + n : nullptr, call.gap_score, 1, 1,
                     call.starts + token, call.ends + token, call.confidences + token, call.path + frame,
                     call.log_probs + frame, call.scores + n, nullptr});
  }
  const int members = members_for(work);
  const bool within = static_cast<std::size_t>(members) > paths.size();
  for (CtcPath<T>& path : paths) {
    const std::ptrdiff_t most = std::min(kernels().ctc_align->of<T>().max_chunks(path),
                                         std::max<std::ptrdiff_t>(path.labels / labels_per_member, 1));
    path.chunks = within ? std::min<std::ptrdiff_t>(most, members) : 1;
    path.block = block_of(path);
  }
  if (within)
    share_states(paths, members);
  else
    share_paths(paths, members);

  for (std::int64_t n = 0; n < call.batch && call.raises; ++n)
    check_possible(call.scores[n] != -std::numeric_limits<T>::infinity(), function, n);
}

template void ctc_align<float>(const char*, const CtcAlignCall<float>&);
template void ctc_align<double>(const char*, const CtcAlignCall<double>&);

}  // namespace fastseq
