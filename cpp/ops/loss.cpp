#include "ops/loss.h"

#include "cpu/kernels.h"
#include "ops/share.h"

namespace fastseq {
namespace {

constexpr std::int64_t grain = 16;  // rows

double row_nanoseconds(Loss loss, std::int64_t columns) {
  const bool plain = loss == Loss::squared_error || loss == Loss::absolute_error;
  return 30 + (plain ? 0.4 : 1.5) * static_cast<double>(columns);
}

}  // namespace

template <class T>
void loss(const char* function, LossCall<T> call, std::int64_t rows, const Integers* labels) {
  Arena arena;
  if (labels != nullptr) call.labels = checked_indices(function, "target", *labels, call.columns, arena);
  const auto kernel = kernels().rowwise->of<T>().loss;
  share_work(rows, grain, row_nanoseconds(call.loss, call.columns),
             [&](auto begin, auto end) { kernel(call, begin, end); });
}

template <class T>
void categorical_matches(const char* function, std::int64_t rows, std::int64_t classes, const T* output,
                         const T* target, const Integers* labels, T* matches) {
  Arena arena;
  const std::int64_t* truth =
      labels != nullptr ? checked_indices(function, "target", *labels, classes, arena) : nullptr;
  const auto kernel = kernels().rowwise->of<T>().categorical_matches;
  share_work(rows, grain, 5 + 1.0 * static_cast<double>(classes),
             [&](auto begin, auto end) { kernel(classes, output, target, truth, matches, begin, end); });
}

template <class T>
void binary_matches(std::int64_t rows, std::int64_t columns, const T* output, const T* target, T threshold,
                    T* matches) {
  const auto kernel = kernels().rowwise->of<T>().binary_matches;
  share_work(rows, grain, 5 + 0.5 * static_cast<double>(columns),
             [&](auto begin, auto end) { kernel(columns, output, target, threshold, matches, begin, end); });
}

#define FASTSEQ_LOSS(T)                                                                          \
  template void loss(const char*, LossCall<T>, std::int64_t, const Integers*);                   \
  template void categorical_matches(const char*, std::int64_t, std::int64_t, const T*, const T*, \
                                    const Integers*, T*);                                        \
  template void binary_matches(std::int64_t, std::int64_t, const T*, const T*, T, T*);

FASTSEQ_LOSS(float)
FASTSEQ_LOSS(double)

}  // namespace fastseq
