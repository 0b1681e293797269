#include "ops/gather.h"

#include "cpu/kernels.h"
#include "ops/share.h"

namespace fastseq {

template <class T>
void gather_rows(const char* function, const char* argument, SourceType type, const void* source,
                 std::int64_t source_rows, std::int64_t columns, const Integers& indices, T* out) {
  Arena arena;
  const std::int64_t* rows = checked_indices(function, argument, indices, source_rows, arena);
  const auto kernel = kernels().rowwise->of<T>().gather;
  share_work(indices.count, 1, 5 + 0.2 * static_cast<double>(columns),
             [&](auto begin, auto end) { kernel(type, columns, source, rows, out, begin, end); });
}

template <class T>
void scatter_add(const char* function, const char* argument, const Integers& indices, std::int64_t columns,
                 const T* dy, T* table, std::int64_t table_rows) {
  Arena arena;
  const std::int64_t* rows = checked_indices(function, argument, indices, table_rows, arena);
  const auto kernel = kernels().rowwise->of<T>().scatter_add;
  const double work = (2 + 0.2 * static_cast<double>(columns)) * static_cast<double>(indices.count);
  share_work(table_rows, 1, work / static_cast<double>(table_rows > 0 ? table_rows : 1),
             [&](auto begin, auto end) { kernel(columns, indices.count, rows, dy, table, begin, end); });
}

template <class T>
void dropout(std::uint64_t seed, double rate, std::int64_t n, const T* x, T* y) {
  const auto kernel = kernels().rowwise->of<T>().dropout;
  share_work(n, 1024, 3, [&](auto begin, auto end) { kernel(seed, rate, x, y, begin, end); });
}

#define FASTSEQ_GATHER(T)                                                                                  \
  template void gather_rows(const char*, const char*, SourceType, const void*, std::int64_t, std::int64_t, \
                            const Integers&, T*);                                                          \
  template void scatter_add(const char*, const char*, const Integers&, std::int64_t, const T*, T*,         \
                            std::int64_t);                                                                 \
  template void dropout(std::uint64_t, double, std::int64_t, const T*, T*);

FASTSEQ_GATHER(float)
FASTSEQ_GATHER(double)

}  // namespace fastseq
