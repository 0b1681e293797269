#include "ops/optimizer.h"

#include <cmath>
#include <limits>

#include "base/workspace.h"
#include "cpu/kernels.h"
#include "ops/share.h"

namespace fastseq {
namespace {

constexpr std::int64_t norm_block = 8192;  // elements of one variable whose squares are summed at once
constexpr std::int64_t line = 64;          // elements that members do not share
constexpr double element_nanoseconds = 0.6;

std::int64_t blocks_of(const Segment& segment) { return (segment.count + norm_block - 1) / norm_block; }

template <class T>
UpdateCall<T> update_call(const Segment& segment, const StepSettings& s, double scale) {
  UpdateCall<T> call = {};
  call.rule = s.rule;
  call.value = static_cast<T*>(segment.value);
  call.gradient = static_cast<T*>(segment.gradient);
  call.slot_1 = static_cast<T*>(segment.slot_1);
  call.slot_2 = static_cast<T*>(segment.slot_2);
  call.slot_3 = static_cast<T*>(segment.slot_3);
  call.rate = static_cast<T>(s.rate);
  call.momentum = static_cast<T>(s.momentum);
  call.beta_1 = static_cast<T>(s.beta_1);
  call.beta_2 = static_cast<T>(s.beta_2);
  call.one_minus_beta_1 = static_cast<T>(1 - s.beta_1);
  call.one_minus_beta_2 = static_cast<T>(1 - s.beta_2);
  call.epsilon = static_cast<T>(s.epsilon);
  call.of_mean = static_cast<T>(s.of_mean);
  call.of_gradient = static_cast<T>(s.of_gradient);
  call.of_squares = static_cast<T>(s.of_squares);
  call.nesterov = s.nesterov;
  call.scale = static_cast<T>(scale);
  call.limit = s.clipvalue > 0 ? static_cast<T>(s.clipvalue) : std::numeric_limits<T>::infinity();
  call.decay = segment.decays ? static_cast<T>(s.learning_rate * s.weight_decay) : T(0);
  call.clear = s.clear_gradients;
  return call;
}

// Calls f(segment, block of it among all, begin, end) for the blocks that are this member's.
template <class F>
void for_blocks(const std::vector<Segment>& segments, const Share& share, const F& f) {
  std::int64_t first = 0;
  for (const Segment& segment : segments) {
    const std::int64_t count = blocks_of(segment);
    for (std::int64_t k = std::max(first, share.begin); k < std::min(first + count, share.end); ++k) {
      const std::int64_t begin = (k - first) * norm_block;
      f(segment, k, begin, std::min(segment.count, begin + norm_block));
    }
    first += count;
  }
}

// Calls f(segment, its first block among all, begin, end) for this member's part of each segment: of a
// recurrent layer's weights about the rows that it will pack, and whose gradients it added up where those of
// groups are, so that they stay with its core. Where two cores are far from each other, a step takes up to a
// fifth less.
template <class F>
void for_parts(const std::vector<Segment>& segments, const Team& team, const F& f) {
  std::int64_t first = 0;
  for (const Segment& segment : segments) {
    const Share part = share_of(segment.count, line, team);
    if (part.begin < part.end) f(segment, first, part.begin, part.end);
    first += blocks_of(segment);
  }
}

// 1, or what makes a gradient of this norm no longer than `limit`; NaN for a norm of NaN.
double shrink(double squares, double limit) {
  const double norm = std::sqrt(squares);
  return norm <= limit ? 1 : limit / norm;
}

struct Work {
  std::int64_t blocks = 0, elements = 0;
};

Work work_of(const std::vector<Segment>& segments) {
  Work work;
  for (const Segment& segment : segments) {
    work.blocks += blocks_of(segment);
    work.elements += segment.count;
  }
  return work;
}

class Step {
 public:
  Step(const std::vector<Segment>& segments, const StepSettings& settings, std::int64_t blocks,
       double* squares)
      : segments_(segments),
        settings_(settings),
        table_(*kernels().optimizer),
        squares_(squares),
        blocks_(blocks) {}

  void run(const Team& team) const noexcept {
    if (squares_ != nullptr) {
      for_blocks(
          segments_, share_of(blocks_, 1, team), [&](const Segment& segment, auto k, auto begin, auto end) {
            squares_[k] = segment.is_float64
                              ? table_.f64.square_sum(static_cast<double*>(segment.gradient), begin, end)
                              : static_cast<double>(
                                    table_.f32.square_sum(static_cast<float*>(segment.gradient), begin, end));
          });
      team.meet(team.meeting);
    }
    const double all = settings_.global_clipnorm > 0 ? shrink(sum(0, blocks_), settings_.global_clipnorm) : 1;
    for_parts(segments_, team, [&](const Segment& segment, auto first, auto begin, auto end) {
      double scale = all;
      if (settings_.clipnorm > 0) scale = shrink(sum(first, first + blocks_of(segment)), settings_.clipnorm);
      if (segment.is_float64) {
        table_.f64.update(update_call<double>(segment, settings_, scale), begin, end);
      } else {
        table_.f32.update(update_call<float>(segment, settings_, scale), begin, end);
      }
    });
  }

 private:
  double sum(std::int64_t begin, std::int64_t end) const {
    double total = 0;
    for (std::int64_t k = begin; k < end; ++k) total += squares_[k];
    return total;
  }

  const std::vector<Segment>& segments_;
  const StepSettings& settings_;
  const OptimizerKernels& table_;
  double* squares_;  // of each block, where a norm is wanted
  std::int64_t blocks_;
};

template <class T>
void average(const Segment& segment, double momentum, bool overwrite, std::int64_t begin, std::int64_t end) {
  kernels().optimizer->of<T>().average(static_cast<T*>(segment.value), static_cast<T*>(segment.slot_1),
                                       static_cast<T>(momentum), static_cast<T>(1 - momentum), overwrite,
                                       begin, end);
}

}  // namespace

void optimizer_step(const std::vector<Segment>& segments, const StepSettings& settings) {
  const Work work = work_of(segments);
  Arena arena;
  double* squares = nullptr;
  if (settings.clipnorm > 0 || settings.global_clipnorm > 0) {
    arena = Arena::borrow(Arena::room<double>(static_cast<std::size_t>(work.blocks)));
    squares = arena.take<double>(static_cast<std::size_t>(work.blocks));
  }
  const Step step(segments, settings, work.blocks, squares);
  run_team(members_for(element_nanoseconds * static_cast<double>(work.elements)),
           [&](const Team& team) noexcept { step.run(team); });
}

void optimizer_average(const std::vector<Segment>& segments, double momentum, bool overwrite) {
  const Work work = work_of(segments);
  run_team(members_for(element_nanoseconds * static_cast<double>(work.elements)),
           [&](const Team& team) noexcept {
             for_parts(segments, team, [&](const Segment& segment, auto, auto begin, auto end) {
               const auto each = segment.is_float64 ? average<double> : average<float>;
               each(segment, momentum, overwrite, begin, end);
             });
           });
}

}  // namespace fastseq
