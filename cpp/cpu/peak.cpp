// The peak kernel of one instruction set.
#include "cpu/peak_kernels.h"

#include "cpu/vec.h"

namespace fastseq {
namespace FASTSEQ_TARGET {
namespace {

// Twelve chains: more than latency times throughput of any CPU we know, and they fit 16 registers with the
// two operands. Flat variables, for compilers that spill arrays.
__attribute__((noinline)) float run(std::ptrdiff_t rounds, float a, float b) {
  using V = Vec<float>;
  const V x(a), y(b);
  V c0(1), c1(2), c2(3), c3(4), c4(5), c5(6), c6(7), c7(8), c8(9), c9(10), c10(11), c11(12);
  for (std::ptrdiff_t i = 0; i < rounds; ++i) {
    c0 = c0 * x + y;
    c1 = c1 * x + y;
    c2 = c2 * x + y;
    c3 = c3 * x + y;
    c4 = c4 * x + y;
    c5 = c5 * x + y;
    c6 = c6 * x + y;
    c7 = c7 * x + y;
    c8 = c8 * x + y;
    c9 = c9 * x + y;
    c10 = c10 * x + y;
    c11 = c11 * x + y;
  }
  return sum(((c0 + c1) + (c2 + c3)) + ((c4 + c5) + (c6 + c7)) + ((c8 + c9) + (c10 + c11)));
}

__attribute__((noinline)) float read(const float* p, std::ptrdiff_t count) {
  using V = Vec<float>;
  constexpr int L = V::lanes;
  V c0(0), c1(0), c2(0), c3(0), c4(0), c5(0), c6(0), c7(0);
  for (const float* end = p + count / (8 * L) * (8 * L); p < end; p += 8 * L) {
    c0 = c0 + V::load(p);
    c1 = c1 + V::load(p + L);
    c2 = c2 + V::load(p + 2 * L);
    c3 = c3 + V::load(p + 3 * L);
    c4 = c4 + V::load(p + 4 * L);
    c5 = c5 + V::load(p + 5 * L);
    c6 = c6 + V::load(p + 6 * L);
    c7 = c7 + V::load(p + 7 * L);
  }
  return sum(((c0 + c1) + (c2 + c3)) + ((c4 + c5) + (c6 + c7)));
}

}  // namespace

extern const PeakKernels peak_kernels;
const PeakKernels peak_kernels = {run, 2.0 * 12 * Vec<float>::lanes, read};

}  // namespace FASTSEQ_TARGET
}  // namespace fastseq
