// Labels, ids and row numbers: integers that must lie in [0, limit), as int64.
#pragma once

#include <cstdint>

#include "base/workspace.h"

namespace fastseq {

struct Integers {
  const void* data;
  bool is_int64;  // else int32
  std::int64_t count;
};

// The same numbers as int64, in `arena` where they were int32. Throws std::invalid_argument that names the
// first one outside [0, limit) with its place.
const std::int64_t* checked_indices(const char* function, const char* argument, const Integers& numbers,
                                    std::int64_t limit, Arena& arena);

}  // namespace fastseq
