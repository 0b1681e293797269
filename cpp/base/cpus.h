// Which CPU a thread runs on, and getting a thread off one.
#pragma once

#if defined(__linux__)
#include <pthread.h>
#include <sched.h>
#endif

namespace fastseq {

#if defined(__linux__)

inline int current_cpu() { return sched_getcpu(); }

// While one lives, `thread` may not run on `cpu`: one that runs or waits there moves at once, one that is
// woken wakes elsewhere. Nothing happens where it has no other CPU.
class OffCpu {
 public:
  OffCpu(pthread_t thread, int cpu) : thread_(thread) {
    cpu_set_t others;
    if (cpu < 0 || pthread_getaffinity_np(thread, sizeof before_, &before_) != 0) return;
    if (!CPU_ISSET(cpu, &before_) || CPU_COUNT(&before_) < 2) return;
    others = before_;
    CPU_CLR(cpu, &others);
    moved_ = pthread_setaffinity_np(thread, sizeof others, &others) == 0;
  }
  ~OffCpu() {
    if (moved_) pthread_setaffinity_np(thread_, sizeof before_, &before_);
  }
  OffCpu(const OffCpu&) = delete;
  OffCpu& operator=(const OffCpu&) = delete;

 private:
  const pthread_t thread_;
  cpu_set_t before_;
  bool moved_ = false;
};

#else

inline int current_cpu() { return -1; }

class OffCpu {
 public:
  template <class Thread>
  OffCpu(Thread, int) {}
};

#endif

}  // namespace fastseq
