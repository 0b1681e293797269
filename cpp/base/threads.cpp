#include "base/threads.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <climits>
#include <cmath>
#include <condition_variable>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "base/checks.h"
#include "base/cpus.h"
#include "base/float_mode.h"
#include "base/quota.h"

#ifdef _OPENMP
#include <omp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#endif

namespace fastseq {
namespace {

constexpr int kMaxThreads = 1024;

void meet_nobody(void*) {}

void work_alone(TeamFunction f, void* context) { f(context, Team{0, 1, nullptr, meet_nobody}); }

// The whole of `text` as a number of threads, or 0. OpenMP's variable may be a list, one entry per nesting
// level.
int parse_threads(const char* text, bool list) {
  if (text == nullptr) return 0;
  char* end = nullptr;
  const long n = std::strtol(text, &end, 10);
  const bool whole = end != text && (*end == '\0' || (list && *end == ','));
  return whole && n >= 1 ? static_cast<int>(std::min<long>(n, kMaxThreads)) : 0;
}

std::atomic<int> chosen{0};      // by set_num_threads; 0 is the default
std::atomic<int> by_default{0};  // 0 is not known yet

}  // namespace

#ifndef _OPENMP

void run_team_erased(int, TeamFunction f, void* context) {
  const FloatMode mode;
  work_alone(f, context);
}

void run_halves_erased(int, TeamFunction first, void* context_of_first, TeamFunction second,
                       void* context_of_second) {
  run_team_erased(1, first, context_of_first);
  run_team_erased(1, second, context_of_second);
}

int num_threads() { return 1; }
bool has_openmp() { return false; }

namespace {
void thread_settings_changed() {}
}  // namespace

#else

namespace {

// How a thread waits: it spins, then gives the core away between looks, then (a member between calls) sleeps.
// The spin covers the Python code between two calls of a training step. Giving away is not free for others:
// Linux still counts the thread as one that wants its share, so numpy's or torch's threads on that core slow
// down. But waking a sleeper costs the caller 50-100 us on a virtual machine.
using Clock = std::chrono::steady_clock;
constexpr Clock::duration kSpin = std::chrono::microseconds(40);
constexpr Clock::duration kYield = std::chrono::microseconds(160);
constexpr Clock::duration kForever = Clock::duration::max();

inline void pause() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Returns true once ready() does, or false after kSpin and `yielding`. `crowded`: more members than CPUs, so
// that spinning only keeps the one waited for from running.
template <class Ready>
bool wait_for(Ready ready, bool crowded, Clock::duration yielding) {
  for (int look = 0; look < 64; ++look) {
    if (ready()) return true;
    pause();
  }
  const auto start = Clock::now();
  for (;;) {
    const auto waited = Clock::now() - start;
    if (waited < kSpin && !crowded) {
      for (int look = 0; look < 32; ++look) {
        if (ready()) return true;
        pause();
      }
    } else {
      if (ready()) return true;
      if (waited - kSpin >= yielding) return false;
      sched_yield();
    }
  }
}

// A barrier for one call's members: the last to come opens it.
struct Meeting {
  alignas(64) std::atomic<int> arrived{0};
  alignas(64) std::atomic<unsigned> opened{0};
  int count = 1;  // written before the members start
  bool crowded = false;
};

void meet(void* meeting) {
  Meeting& m = *static_cast<Meeting*>(meeting);
  const unsigned before = m.opened.load(std::memory_order_relaxed);
  if (m.arrived.fetch_add(1, std::memory_order_acq_rel) + 1 == m.count) {
    m.arrived.store(0, std::memory_order_relaxed);
    m.opened.store(before + 1, std::memory_order_release);
  } else {
    wait_for([&] { return m.opened.load(std::memory_order_acquire) != before; }, m.crowded, kForever);
  }
}

enum State : int { kIdle, kGo, kAsleep, kStop };

// Linux wakes a thread where its waker runs more often than an idle CPU is worth to it, and two threads that
// spin side by side on one CPU stay there for seconds: the call then takes as long as it does alone. So a
// member is woken off its caller's CPU, and one found to have worked there is sent away.

// A member's letter box. The job lies on the same cache line as the state: one transfer starts a member, one
// ends it.
struct alignas(128) Member {
  std::atomic<int> state{kIdle};
  TeamFunction f = nullptr;
  void* context = nullptr;
  Team team{};
  std::atomic<int> cpu{-1};  // where it last worked

  alignas(64) std::mutex mutex;  // for sleeping only
  std::condition_variable wake;
  pthread_t thread{};

  void post(State news) {
    if (state.exchange(news, std::memory_order_acq_rel) == kAsleep) {
      {
        const std::lock_guard<std::mutex> lock(mutex);
      }  // a member about to sleep holds it: let it reach wait()
      const OffCpu apart(thread, current_cpu());
      wake.notify_one();
    }
  }

  int receive(bool crowded) {
    const auto news = [&] { return state.load(std::memory_order_acquire) != kIdle; };
    int idle = kIdle;
    if (!wait_for(news, crowded, kYield) && state.compare_exchange_strong(idle, kAsleep)) {
      std::unique_lock<std::mutex> lock(mutex);
      wake.wait(lock, [&] { return state.load(std::memory_order_acquire) != kAsleep; });
    }
    return state.load(std::memory_order_acquire);
  }

  void serve(bool crowded) {
    const FloatMode mode;
    while (receive(crowded) == kGo) {
      cpu.store(current_cpu(), std::memory_order_relaxed);
      f(context, team);
      state.store(kIdle, std::memory_order_release);
    }
  }

  void wait_until_done(bool crowded) {
    wait_for([&] { return state.load(std::memory_order_acquire) != kGo; }, crowded, kForever);
    if (crowded) return;
    const int here = current_cpu();
    if (cpu.load(std::memory_order_relaxed) == here) const OffCpu apart(thread, here);
  }
};

// Signals are for the threads of Python; a thread started while this lives blocks all but those of its own
// faults.
class SignalsBlocked {
 public:
  SignalsBlocked() {
    sigset_t blocked;
    sigfillset(&blocked);
    for (int own : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT}) sigdelset(&blocked, own);
    pthread_sigmask(SIG_SETMASK, &blocked, &before_);
  }
  ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

 private:
  sigset_t before_;
};

// The persistent members. A helper thread opens one OpenMP region and stays in it as its thread 0, in the
// caller's place (so OMP_PLACES and OMP_PROC_BIND put the others where they would be in a region of the
// caller's); threads 1... serve. Why not a region per call: how libgomp's threads wait between regions is
// fixed when it is loaded, and a forked child of a thread that has opened a region hangs in its next one.
class Crew {
 public:
  // Threads besides the caller; fewer if OpenMP gives fewer. Throws std::system_error if the system has no
  // more threads.
  explicit Crew(int size)
      : wanted_(size), crowded_(size + 1 > omp_get_num_procs()), members_(new Member[size]) {
    const SignalsBlocked blocked;
    try_to_start(size + 1);
    helper_ = std::thread([this] { live(); });
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [this] { return size_ >= 0 && arrived_ == size_; });
  }

  ~Crew() {
    for (int i = 0; i < size_; ++i) members_[i].post(kStop);
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      leaving_ = true;
    }
    changed_.notify_all();
    helper_.join();
  }

  int wanted() const { return wanted_; }
  int size() const { return size_; }

  void run(int count, TeamFunction f, void* context) {
    meeting_.count = count;
    meeting_.crowded = crowded_;
    for (int i = 1; i < count; ++i) {
      Member& member = members_[i - 1];
      member.f = f;
      member.context = context;
      member.team = Team{i, count, &meeting_, meet};
      member.post(kGo);
    }
    f(context, Team{0, count, &meeting_, meet});
    for (int i = 1; i < count; ++i) members_[i - 1].wait_until_done(crowded_);
  }

 private:
  // libgomp ends the process when it cannot start a thread; find that out in a way that can be refused.
  static void try_to_start(int count) {
    std::mutex gate;
    std::vector<std::thread> trial;
    trial.reserve(static_cast<std::size_t>(count));
    std::unique_lock<std::mutex> closed(gate);
    const auto finish = [&] {
      closed.unlock();
      for (std::thread& thread : trial) thread.join();
    };
    try {
      for (int i = 0; i < count; ++i)
        trial.emplace_back([&] { const std::lock_guard<std::mutex> pass(gate); });
    } catch (const std::system_error&) {
      finish();
      throw;
    }
    finish();
  }

  void live() {
#pragma omp parallel num_threads(wanted_ + 1)
    {
      const int index = omp_get_thread_num();
      if (index == 0) {
        std::unique_lock<std::mutex> lock(mutex_);
        size_ = omp_get_num_threads() - 1;
        changed_.notify_all();
        changed_.wait(lock, [this] { return leaving_; });
      } else {
        {
          const std::lock_guard<std::mutex> lock(mutex_);
          members_[index - 1].thread = pthread_self();
          ++arrived_;
        }
        changed_.notify_all();
        members_[index - 1].serve(crowded_);
      }
    }
  }

  const int wanted_;
  const bool crowded_;
  const std::unique_ptr<Member[]> members_;
  Meeting meeting_;
  std::thread helper_;

  std::mutex mutex_;  // guards what follows, while the crew starts and ends
  std::condition_variable changed_;
  int size_ = -1;
  int arrived_ = 0;
  bool leaving_ = false;
};

std::atomic<bool> busy{false};  // who sets it owns `crew`
Crew* crew = nullptr;           // never destroyed at exit: its threads end with the process
std::atomic<int> failed{0};     // the size that could not be started; not tried again
std::mutex changing;            // held while a crew starts or ends, and across a fork

// A forked child has none of the threads: it forgets them, and starts its own when it needs them.
void watch_forks() {
  static const int registered = pthread_atfork([] { changing.lock(); }, [] { changing.unlock(); },
                                               [] {
                                                 crew = nullptr;
                                                 busy = false;
                                                 changing.unlock();
                                               });
  (void)registered;
}

void end_crew() {
  const std::lock_guard<std::mutex> lock(changing);
  delete crew;
  crew = nullptr;
}

// The crew with `size` members besides the caller, or as many as there are. The caller owns `busy`.
Crew* crew_of(int size) {
  if (crew != nullptr && crew->wanted() == size) return crew;
  if (failed == size) return nullptr;
  watch_forks();
  end_crew();
  const std::lock_guard<std::mutex> lock(changing);
  try {
    crew = new Crew(size);
  } catch (const std::exception&) {  // no memory or no threads: the caller works alone
    failed = size;
  }
  return crew;
}

// OpenMP's number for the calling thread when the number of our threads was last chosen. Only what lowers it
// since then is meant for us: torch and others set it for themselves.
std::atomic<int> openmp_then{INT_MAX};

int openmp_limit() {
  const int now = omp_get_max_threads();
  return now < openmp_then.load(std::memory_order_relaxed) ? now : INT_MAX;
}

void thread_settings_changed() {
  openmp_then = omp_get_max_threads();
  failed = 0;
  if (!busy.exchange(true, std::memory_order_acquire)) {
    end_crew();
    busy.store(false, std::memory_order_release);
  }
}

// omp_get_num_procs follows the affinity of the process, also where OMP_PROC_BIND has bound this very thread.
int default_threads() {
  if (const int own = parse_threads(std::getenv("FASTSEQ_NUM_THREADS"), false)) return own;
  const double quota = std::max(1.0, std::round(cpu_quota()));
  double n = std::min<double>(omp_get_num_procs(), quota);
  if (const int openmp = parse_threads(std::getenv("OMP_NUM_THREADS"), true)) n = std::min<double>(n, openmp);
  return static_cast<int>(std::min<double>(n, kMaxThreads));
}

int threads_of_process() {
  if (const int n = chosen.load(std::memory_order_relaxed)) return n;
  if (by_default == 0) by_default = default_threads();
  return by_default;
}

}  // namespace

void run_team_erased(int wanted, TeamFunction f, void* context) {
  const FloatMode mode;
  int count = wanted > 1 ? std::min(wanted, num_threads()) : 1;
  if (count > 1 && !busy.exchange(true, std::memory_order_acquire)) {
    Crew* const members = crew_of(threads_of_process() - 1);
    if (members != nullptr) count = std::min(count, members->size() + 1);
    const bool together = members != nullptr && count > 1;
    if (together) members->run(count, f, context);
    busy.store(false, std::memory_order_release);
    if (together) return;
  }
  work_alone(f, context);
}

void run_halves_erased(int wanted, TeamFunction first, void* context_of_first, TeamFunction second,
                       void* context_of_second) {
  Meeting meetings[2];
  run_team(wanted, [&](const Team& team) noexcept {
    if (team.count == 1) {
      first(context_of_first, team);
      second(context_of_second, team);
      return;
    }
    const int of_first = (team.count + 1) / 2;
    if (team.count > 2) {  // somebody will meet: a half of one never does
      if (team.index == 0) {
        meetings[0].count = of_first;
        meetings[1].count = team.count - of_first;
        for (Meeting& m : meetings) m.crowded = static_cast<Meeting*>(team.meeting)->crowded;
      }
      team.meet(team.meeting);
    }
    if (team.index < of_first)
      first(context_of_first, Team{team.index, of_first, &meetings[0], meet});
    else
      second(context_of_second, Team{team.index - of_first, team.count - of_first, &meetings[1], meet});
  });
}

int num_threads() { return std::max(1, std::min(threads_of_process(), openmp_limit())); }

bool has_openmp() { return true; }

#endif  // _OPENMP

void set_num_threads(int n) {
  check_value(n >= 0, "set_num_threads", "n", "be at least 0", n);
  chosen = std::min(n, kMaxThreads);
  by_default = 0;
  thread_settings_changed();
}

void choose_num_threads() {
  const char* text = std::getenv("FASTSEQ_NUM_THREADS");
  const bool fine = text == nullptr || text[0] == '\0' || parse_threads(text, false) > 0;
  check_runtime(fine, "fastseq", "FASTSEQ_NUM_THREADS", "be a number of at least 1", fine ? "" : text);
  set_num_threads(0);
}

}  // namespace fastseq
