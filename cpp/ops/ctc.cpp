// Checks a batch, then shares its sequences out, the longest first.
#include "ops/ctc.h"

#include <algorithm>
#include <atomic>
#include <limits>
#include <vector>

#include "base/threads.h"
#include "base/workspace.h"
#include "cpu/kernels.h"
#include "ops/share.h"

namespace fastseq {
namespace {

// About the nanoseconds of one sequence.
template <class T>
double work_of(const CtcCall<T>& call, std::int64_t n) {
  const double states = 4.0 * static_cast<double>(call.label_lengths[n] + 8);
  const double classes = (call.input == CtcInput::logits ? 1.0 : 0.1) * static_cast<double>(call.classes);
  return static_cast<double>(call.input_lengths[n]) * (states + classes + 40);
}

template <class T>
std::size_t room_of(const CtcSequence<T>& s) {
  return Arena::room<T>(static_cast<std::size_t>(kernels().ctc->of<T>().work_count(s)));
}

// Whoever is free takes the next sequence, the longest first; each member has work space for any.
template <class T>
void share_sequences(std::vector<CtcSequence<T>>& sequences, int members) {
  const auto size = [](const CtcSequence<T>& s) { return s.frames * (s.labels + 20); };
  std::stable_sort(sequences.begin(), sequences.end(),
                   [&](const auto& a, const auto& b) { return size(a) > size(b); });
  const CtcTable<T>& kernel = kernels().ctc->of<T>();
  std::size_t room = 0;
  for (const CtcSequence<T>& s : sequences) room = std::max(room, room_of(s));
  Arena arena = Arena::borrow(room * static_cast<std::size_t>(members));
  std::vector<T*> space;
  for (int member = 0; member < members; ++member) space.push_back(arena.take<T>(room / sizeof(T)));
  std::atomic<std::size_t> next{0};
  run_team(members, [&](const Team& team) noexcept {
    for (std::size_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < sequences.size();) {
      sequences[i].work = space[static_cast<std::size_t>(team.index)];
      kernel.sequence(sequences[i]);
    }
  });
}

// Fewer sequences than members: frames' probabilities are shared, then each sequence's way forward goes
// beside its way back.
template <class T>
void share_within(std::vector<CtcSequence<T>>& sequences, int members) {
  std::size_t room = 0;
  for (const CtcSequence<T>& s : sequences) room += room_of(s);
  Arena arena = Arena::borrow(room);
  for (CtcSequence<T>& s : sequences) s.work = arena.take<T>(room_of(s) / sizeof(T));
  const CtcTable<T>& kernel = kernels().ctc->of<T>();
  run_team(members, [&](const Team& team) noexcept {
    const std::size_t index = static_cast<std::size_t>(team.index),
                      count = static_cast<std::size_t>(team.count);
    const auto each_way = [&](auto go) {
      for (std::size_t i = index; i < 2 * sequences.size(); i += count)
        go(sequences[i / 2], i % 2 == 0 ? CtcWay::forward : CtcWay::back);
      team.meet(team.meeting);
    };
    const auto each = [&](auto go) {
      for (std::size_t i = index; i < sequences.size(); i += count) go(sequences[i]);
    };
    each(kernel.prepare);
    for (const CtcSequence<T>& s : sequences) {
      const Share share = share_of(s.frames, 1, team);
      kernel.emit(s, share.begin, share.end);
    }
    team.meet(team.meeting);
    each_way(kernel.half);
    each(kernel.join);
    team.meet(team.meeting);
    each_way(kernel.cross);
  });
}

}  // namespace

template <class T>
void ctc(const char* function, const CtcCall<T>& call) {
  check_batch(function, call);
  if (call.infeasible == Infeasible::raise) check_fits(function, call);

  const auto weight_of = [&](std::int64_t n) { return call.weights != nullptr ? call.weights[n] : T(1); };
  std::vector<CtcSequence<T>> sequences;
  double work = 0;
  for (std::int64_t n = 0; n < call.batch; ++n) {
    const bool fitting = fits(call, n), counts = fitting && weight_of(n) != T(0);
    const std::int64_t first = call.skipped * call.classes, row = first + call.frames * call.classes,
                       used = first + (counts ? call.input_lengths[n] * call.classes : 0);
    T* const gradient = call.gradient != nullptr ? call.gradient + n * row : nullptr;
    if (gradient != nullptr) {
      std::fill_n(gradient, first, T(0));
      std::fill_n(gradient + used, row - used, T(0));
    }
    if (!counts) {
      call.losses[n] = fitting ? T(0) : std::numeric_limits<T>::infinity();
      continue;
    }
    work += work_of(call, n);
    sequences.push_back({call.input, call.input_lengths[n], call.classes, call.label_lengths[n], call.blank,
                         call.label_of(n), call.inputs + n * row + first,
                         gradient != nullptr ? gradient + first : nullptr, weight_of(n), call.losses + n,
                         nullptr});
  }
  const int members = members_for(work);
  if (call.gradient != nullptr && static_cast<std::size_t>(members) > sequences.size())
    share_within(sequences, members);
  else
    share_sequences(sequences, members);

  for (std::int64_t n = 0; n < call.batch; ++n) {
    T& loss = call.losses[n];
    if (loss == std::numeric_limits<T>::infinity()) {
      check_possible(call.infeasible != Infeasible::raise, function, n);
      if (call.infeasible == Infeasible::zero) loss = T(0);
    }
    loss = weight_of(n) == T(0) ? T(0) : loss * weight_of(n);
  }
}

template void ctc<float>(const char*, const CtcCall<float>&);
template void ctc<double>(const char*, const CtcCall<double>&);

}  // namespace fastseq
