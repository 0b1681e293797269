// The floating-point mode in which all work is done, on every member of a team alike: round to nearest,
// numbers too small for the normal range are zero (they cost a hundred times more and mean nothing to
// training).
#pragma once

#include <cstdint>

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace fastseq {

// Sets the mode where it is made, puts the thread's own mode back where it ends.
class FloatMode {
 public:
  FloatMode() : before_(read()) { write(kMode); }
  ~FloatMode() { write(before_); }
  FloatMode(const FloatMode&) = delete;
  FloatMode& operator=(const FloatMode&) = delete;

#if defined(__x86_64__)
  static constexpr std::uint64_t kMode =
      0x1f80 | 0x8000 | 0x0040;  // MXCSR: all masked | flush to zero | denormals are zero
  static std::uint64_t read() { return _mm_getcsr(); }

  static void write(std::uint64_t mode) { _mm_setcsr(static_cast<unsigned>(mode)); }
#elif defined(__aarch64__)
  static constexpr std::uint64_t kMode = std::uint64_t{1} << 24;  // FPCR: FZ, of results and operands
  static std::uint64_t read() {
    std::uint64_t mode;
    asm volatile("mrs %0, fpcr" : "=r"(mode));
    return mode;
  }

  static void write(std::uint64_t mode) { asm volatile("msr fpcr, %0" : : "r"(mode)); }
#else
  static constexpr std::uint64_t kMode = 0;
  static std::uint64_t read() { return 0; }

  static void write(std::uint64_t) {}
#endif

 private:
  std::uint64_t before_;
};

}  // namespace fastseq
