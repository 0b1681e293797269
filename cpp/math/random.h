// Counter-based random numbers: the same element of the same stream is the same number on every thread.
// Philox4x32-10, Salmon et al. (2011), https://doi.org/10.1145/2063384.2063405
#pragma once

#include <cstdint>

#include "target.h"

namespace fastseq {
namespace FASTSEQ_TARGET {

struct Philox {
  std::uint32_t word[4];
};

// Four words for block `index` of `stream` under `seed`.
FASTSEQ_HD Philox philox(std::uint64_t seed, std::uint32_t stream, std::uint64_t index) {
  std::uint32_t c0 = static_cast<std::uint32_t>(index), c1 = static_cast<std::uint32_t>(index >> 32),
                c2 = stream, c3 = 0;
  std::uint32_t k0 = static_cast<std::uint32_t>(seed), k1 = static_cast<std::uint32_t>(seed >> 32);
#pragma GCC unroll 10
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t p0 = std::uint64_t(0xD2511F53u) * c0, p1 = std::uint64_t(0xCD9E8D57u) * c2;
    const std::uint32_t n0 = static_cast<std::uint32_t>(p1 >> 32) ^ c1 ^ k0,
                        n2 = static_cast<std::uint32_t>(p0 >> 32) ^ c3 ^ k1;
    c1 = static_cast<std::uint32_t>(p1);
    c3 = static_cast<std::uint32_t>(p0);
    c0 = n0;
    c2 = n2;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return {{c0, c1, c2, c3}};
}

// An element whose word is below this is dropped. rate < 1, so it fits.
FASTSEQ_HD std::uint32_t dropout_threshold(double rate) {
  return static_cast<std::uint32_t>(rate * 4294967296.0);
}

// The dropout factor of element `index`: 0 with probability `rate`, else 1 / (1 - rate).
template <class T>
FASTSEQ_HD T dropout_factor(std::uint64_t seed, std::uint32_t stream, std::uint64_t index, double rate) {
  const std::uint32_t word = philox(seed, stream, index / 4).word[index % 4];
  return word < dropout_threshold(rate) ? T(0) : T(1.0 / (1.0 - rate));
}

}  // namespace FASTSEQ_TARGET
}  // namespace fastseq
