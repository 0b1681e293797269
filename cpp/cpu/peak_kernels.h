// How fast a core can multiply and add with its operands in registers: what benchmarks take shares of.
#pragma once

#include <cstddef>

namespace fastseq {

struct PeakKernels {
  // Multiplies and adds in independent chains, `rounds` times; the result keeps compilers from skipping it.
  float (*run)(std::ptrdiff_t rounds, float a, float b);
  double flops;  // of one round
};

}  // namespace fastseq
