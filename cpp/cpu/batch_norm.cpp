// Batch normalization. Sums over rows are made in groups of rows, whose number no team decides, and the
// groups added up in order; everything else treats a row, or a channel, by itself.
#include "cpu/batch_norm_kernels.h"
#include "cpu/panels.h"

namespace fastseq {
namespace FASTSEQ_TARGET {

constexpr std::ptrdiff_t norm_groups = 32, least_group_rows = 64;

FASTSEQ_INLINE std::ptrdiff_t groups_of(std::ptrdiff_t R) {
  const std::ptrdiff_t groups = R / least_group_rows;
  return groups < 1 ? 1 : smaller(groups, norm_groups);
}

template <class T>
std::ptrdiff_t padded_channels(std::ptrdiff_t C) {
  return (C + Vec<T>::lanes - 1) / Vec<T>::lanes * Vec<T>::lanes;
}

// Two sums for every group, and three rows of what all rows of x share.
template <class T>
std::ptrdiff_t norm_work_count(std::ptrdiff_t R, std::ptrdiff_t C) {
  return (2 * groups_of(R) + 3) * padded_channels<T>(C);
}

// sums[group][c] = the sum over the group's rows of f(r, c, part), for the member's groups. A few registers
// of channels at a time, two rows each: an addition waits for the one before it.
template <class T, class F>
FASTSEQ_INLINE void sum_rows(std::ptrdiff_t R, std::ptrdiff_t C, const Team& team, T* sums, F f) {
  using V = Vec<T>;
  const std::ptrdiff_t groups = groups_of(R), padded = padded_channels<T>(C);
  const Part mine = part_of(groups, 1, team);
  for (std::ptrdiff_t g = mine.begin; g < mine.end; ++g) {
    const std::ptrdiff_t begin = R * g / groups, end = R * (g + 1) / groups;
    for_columns<T>(C, [&](auto c, auto part) {
      V even(T(0)), odd(T(0));
      std::ptrdiff_t r = begin;
      for (; r + 2 <= end; r += 2) {
        even += f(r, c, part);
        odd += f(r + 1, c, part);
      }
      if (r < end) even += f(r, c, part);
      (even + odd).store(sums + g * padded + c);
    });
  }
}

// f(c, part, total) for the member's channels: total is the sum over all groups.
template <class T, class F>
FASTSEQ_INLINE void for_totals(std::ptrdiff_t R, std::ptrdiff_t C, const Team& team, const T* sums, F f) {
  using V = Vec<T>;
  const std::ptrdiff_t padded = padded_channels<T>(C), groups = groups_of(R);
  const Part mine = part_of(C, V::lanes, team);
  for (std::ptrdiff_t c = mine.begin; c < mine.end; c += V::lanes) {
    V total(T(0));
    for (std::ptrdiff_t g = 0; g < groups; ++g) total += V::load(sums + g * padded + c);
    f(c, C - c, total);
  }
}

// x of a row that counts, else 0, whatever it holds.
template <class T>
FASTSEQ_INLINE Vec<T> counted(const bool* mask, std::ptrdiff_t r, Vec<T> x) {
  return mask == nullptr || mask[r] ? x : Vec<T>(T(0));
}

// gamma / sqrt(variance + epsilon)
template <class T, class Call>
FASTSEQ_INLINE Vec<T> norm_scale(const Call& call, std::ptrdiff_t c, std::ptrdiff_t part) {
  using V = Vec<T>;
  const V deviation = sqrt(V::load_part(call.variance + c, part) + V(call.epsilon));
  return (call.gamma != nullptr ? V::load_part(call.gamma + c, part) : V(T(1))) / deviation;
}

template <class T>
void norm_forward(const NormForward<T>& call, const Team& team) {
  using V = Vec<T>;
  const std::ptrdiff_t C = call.C;
  if (call.measure) {
    sum_rows<T>(call.R, C, team, call.work, [&](auto r, auto c, auto part) FASTSEQ_INLINED {
      return counted(call.mask, r, V::load_part(call.x + r * C + c, part));
    });
    team.meet(team.meeting);
    for_totals<T>(call.R, C, team, call.work, [&](auto c, auto part, V total) FASTSEQ_INLINED {
      (total / V(call.total)).store_part(call.mean + c, part);
    });
    team.meet(team.meeting);
    sum_rows<T>(call.R, C, team, call.work, [&](auto r, auto c, auto part) FASTSEQ_INLINED {
      const V apart = V::load_part(call.x + r * C + c, part) - V::load_part(call.mean + c, part);
      return counted(call.mask, r, apart * apart);
    });
    team.meet(team.meeting);
    for_totals<T>(call.R, C, team, call.work, [&](auto c, auto part, V total) FASTSEQ_INLINED {
      (total / V(call.total)).store_part(call.variance + c, part);
    });
    team.meet(team.meeting);
  }
  T* const scale = call.work;
  const Part channels = part_of(C, V::lanes, team);
  for (std::ptrdiff_t c = channels.begin; c < channels.end; c += V::lanes)
    norm_scale<T>(call, c, C - c).store(scale + c);
  team.meet(team.meeting);
  const Part rows = part_of(call.R, 1, team);
  for (std::ptrdiff_t r = rows.begin; r < rows.end; ++r) {
    for_columns<T>(C, [&](auto c, auto part) FASTSEQ_INLINED {
      const V apart = V::load_part(call.x + r * C + c, part) - V::load_part(call.mean + c, part);
      const V y = apart * V::load(scale + c);
      (call.beta != nullptr ? y + V::load_part(call.beta + c, part) : y).store_part(call.y + r * C + c, part);
    });
  }
}

// With A = the sum of dy and B = that of dy (x - mean), s = gamma / sqrt(variance + epsilon):
// dbeta = A, dgamma = B / sqrt(variance + epsilon), dvariance = -s B / (2 (variance + epsilon)),
// dmean = -s A - 2 dvariance mean excess / total,
// dx = s dy + (dmean + 2 dvariance (x - mean)) / total, the last only of rows that count, where both were
// measured.
template <class T>
void norm_backward(const NormBackward<T>& call, const Team& team) {
  using V = Vec<T>;
  const std::ptrdiff_t C = call.C, padded = padded_channels<T>(C), half = groups_of(call.R) * padded;
  T *const sums = call.work, *const products = sums + half;
  T *const scale = products + half, *const constant = scale + padded, *const slope = constant + padded;
  sum_rows<T>(call.R, C, team, sums, [&](auto r, auto c, auto part) FASTSEQ_INLINED {
    return V::load_part(call.dy + r * C + c, part);
  });
  sum_rows<T>(call.R, C, team, products, [&](auto r, auto c, auto part) FASTSEQ_INLINED {
    return V::load_part(call.dy + r * C + c, part) *
           (V::load_part(call.x + r * C + c, part) - V::load_part(call.mean + c, part));
  });
  team.meet(team.meeting);
  for_totals<T>(call.R, C, team, sums, [&](auto c, auto part, V a) FASTSEQ_INLINED {
    V b(T(0));
    for (std::ptrdiff_t g = 0; g < groups_of(call.R); ++g) b += V::load(products + g * padded + c);
    const V variance = V::load_part(call.variance + c, part) + V(call.epsilon);
    const V s = norm_scale<T>(call, c, part);
    const V dvariance_twice = -(s * b) / variance;
    const V dmean =
        -(s * a) - dvariance_twice * V::load_part(call.mean + c, part) * V(call.excess / call.total);
    s.store(scale + c);
    (dmean / V(call.total)).store(constant + c);
    (dvariance_twice / V(call.total)).store(slope + c);
    if (call.dbeta != nullptr)
      (call.add_beta ? V::load_part(call.dbeta + c, part) + a : a).store_part(call.dbeta + c, part);
    if (call.dgamma != nullptr) {
      const V d = b / sqrt(variance);
      (call.add_gamma ? V::load_part(call.dgamma + c, part) + d : d).store_part(call.dgamma + c, part);
    }
  });
  if (call.dx == nullptr) return;
  team.meet(team.meeting);
  const Part rows = part_of(call.R, 1, team);
  for (std::ptrdiff_t r = rows.begin; r < rows.end; ++r) {
    for_columns<T>(C, [&](auto c, auto part) FASTSEQ_INLINED {
      const std::ptrdiff_t at = r * C + c;
      V d = V::load(scale + c) * V::load_part(call.dy + at, part);
      if (call.measured) {
        const V apart = V::load_part(call.x + at, part) - V::load_part(call.mean + c, part);
        d += counted(call.mask, r, V::load(constant + c) + V::load(slope + c) * apart);
      }
      d.store_part(call.dx + at, part);
    });
  }
}

#define FASTSEQ_NORM_TABLE(T) {norm_work_count<T>, norm_forward<T>, norm_backward<T>}

extern const BatchNormKernels batch_norm_kernels;
const BatchNormKernels batch_norm_kernels = {FASTSEQ_NORM_TABLE(float), FASTSEQ_NORM_TABLE(double)};

}  // namespace FASTSEQ_TARGET
}  // namespace fastseq
