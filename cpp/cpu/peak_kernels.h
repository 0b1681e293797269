// How fast a core can multiply and add with its operands in registers, and how fast it can read: what
// benchmarks take shares of.
#pragma once

#include <cstddef>

namespace fastseq {

struct PeakKernels {
  // Multiplies and adds in independent chains, `rounds` times; the result keeps compilers from skipping it.
  float (*run)(std::ptrdiff_t rounds, float a, float b);
  double flops;  // of one round
  // Reads `count` numbers once, in whole groups of eight registers.
  float (*read)(const float* p, std::ptrdiff_t count);
};

}  // namespace fastseq
