// Rows picked from a table (batches, embeddings), their gradient, and dropout.
#pragma once

#include <cstdint>

#include "cpu/rowwise_kernels.h"
#include "ops/indices.h"

namespace fastseq {

// out[r] = source[indices[r]] for rows of `columns` elements; indices must lie in [0, source_rows).
template <class T>
void gather_rows(const char* function, const char* argument, SourceType type, const void* source,
                 std::int64_t source_rows, std::int64_t columns, const Integers& indices, T* out);

// table[indices[i]] += dy[i], each row of the table in the order of i.
template <class T>
void scatter_add(const char* function, const char* argument, const Integers& indices, std::int64_t columns,
                 const T* dy, T* table, std::int64_t table_rows);

// x times 0 with probability `rate`, else 1 / (1 - rate); the same element of the same seed is always the
// same.
template <class T>
void dropout(std::uint64_t seed, double rate, std::int64_t n, const T* x, T* y);

}  // namespace fastseq
