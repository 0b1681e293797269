#include "base/threads.h"

#include <atomic>

#include "base/checks.h"

namespace fastseq {
namespace {

std::atomic<int> chosen{0};

void meet_nobody(void*) {}

}  // namespace

void run_team_erased(int, TeamFunction f, void* context) { f(context, Team{0, 1, nullptr, meet_nobody}); }

int num_threads() {
  const int n = chosen.load();
  return n > 0 ? n : 1;
}

void set_num_threads(int n) {
  check_value(n >= 0, "set_num_threads", "n", "be at least 0", n);
  chosen = n;
}

bool has_openmp() {
#ifdef _OPENMP
  return true;
#else
  return false;
#endif
}

}  // namespace fastseq
