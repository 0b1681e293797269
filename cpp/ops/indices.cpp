#include "ops/indices.h"

#include <string>

#include "base/checks.h"

namespace fastseq {
namespace {

template <class I>
void check_range(const char* function, const char* argument, const I* numbers, std::int64_t count,
                 std::int64_t limit) {
  std::uint64_t largest = 0;  // negative ones are huge
  for (std::int64_t i = 0; i < count; ++i) {
    const auto each = static_cast<std::uint64_t>(static_cast<std::int64_t>(numbers[i]));
    largest = each > largest ? each : largest;
  }
  if (count == 0 || largest < static_cast<std::uint64_t>(limit)) return;
  for (std::int64_t i = 0; i < count; ++i) {
    const auto each = static_cast<std::int64_t>(numbers[i]);
    check_value(
        each >= 0 && each < limit, function, argument,
        [&] { return "be in [0, " + std::to_string(limit) + ")"; },
        [&] { return std::to_string(each) + " at index " + std::to_string(i); });
  }
}

}  // namespace

const std::int64_t* checked_indices(const char* function, const char* argument, const Integers& numbers,
                                    std::int64_t limit, Arena& arena) {
  if (numbers.is_int64) {
    const auto* data = static_cast<const std::int64_t*>(numbers.data);
    check_range(function, argument, data, numbers.count, limit);
    return data;
  }
  const auto* data = static_cast<const std::int32_t*>(numbers.data);
  check_range(function, argument, data, numbers.count, limit);
  const auto count = static_cast<std::size_t>(numbers.count);
  arena = Arena::borrow(Arena::room<std::int64_t>(count));
  auto* wide = arena.take<std::int64_t>(count);
  for (std::size_t i = 0; i < count; ++i) wide[i] = data[i];
  return wide;
}

}  // namespace fastseq
