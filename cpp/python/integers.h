// Integer arrays at the border: labels, ids, row numbers.
#pragma once

#include "ops/indices.h"
#include "python/arrays.h"

namespace fastseq {

inline Integers integers(const char* function, const char* argument, const py::array& a) {
  const bool is_int64 = has_type<std::int64_t>(a);
  check_type((is_int64 || has_type<std::int32_t>(a)) && is_laid_out(a), function, argument,
             "be a C-contiguous array of int32 or int64",
             [&] { return array_text(a) + (is_laid_out(a) ? "" : ", not contiguous"); });
  return {a.data(), is_int64, a.size()};
}

}  // namespace fastseq
