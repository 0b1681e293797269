// The speed of light of this machine, for benchmarks.
#pragma once

namespace fastseq {

// float32 multiplications and additions per second that `threads` threads reach from registers, the best of
// several tries, in the instruction set in use.
double fma_peak(int threads);

}  // namespace fastseq
