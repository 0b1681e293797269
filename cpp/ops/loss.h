// Losses with their gradients, and what accuracy counts.
#pragma once

#include <cstdint>

#include "cpu/rowwise_kernels.h"
#include "ops/indices.h"

namespace fastseq {

// call.labels is filled in from `labels` where there are any.
template <class T>
void loss(const char* function, LossCall<T> call, std::int64_t rows, const Integers* labels);

// matches[r] is 1 or 0; against `labels` if given, else against the largest of each row of target.
template <class T>
void categorical_matches(const char* function, std::int64_t rows, std::int64_t classes, const T* output,
                         const T* target, const Integers* labels, T* matches);

// matches[r] is the share of columns where (output > threshold) == target.
template <class T>
void binary_matches(std::int64_t rows, std::int64_t columns, const T* output, const T* target, T threshold,
                    T* matches);

}  // namespace fastseq
