// The speed of light of this machine, for benchmarks.
#pragma once

#include <cstdint>

namespace fastseq {

// float32 multiplications and additions per second that `threads` threads reach from registers, the best of
// several tries, in the instruction set in use.
double fma_peak(int threads);

// The same over about so many seconds on end, all threads' operations together: what is left of the best
// where other processes share the cores.
double fma_rate(int threads, double seconds);

// Bytes per second at which `threads` threads together read `bytes` of memory again and again, each its own
// part: the speed of the cache that holds so much. The best of several tries.
double read_peak(int threads, std::int64_t bytes);

}  // namespace fastseq
