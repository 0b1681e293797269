#include "cpu/dispatch.h"

#include <atomic>
#include <cstdlib>
#include <stdexcept>

#include "base/checks.h"
#include "cpu/kernels.h"

#if defined(__x86_64__)
#include <cpuid.h>
#define FASTSEQ_X86 1
#endif

namespace fastseq {

#define FASTSEQ_DECLARE(name, Struct) extern const Struct name##_kernels;
#define FASTSEQ_ADDRESS(name, Struct) &name##_kernels,
#define FASTSEQ_TABLE(target, bytes)                                                \
  namespace target {                                                                \
  FASTSEQ_KERNEL_FAMILIES(FASTSEQ_DECLARE)                                          \
  const Kernels table = {#target, bytes, FASTSEQ_KERNEL_FAMILIES(FASTSEQ_ADDRESS)}; \
  }

FASTSEQ_TABLE(baseline, 16)
#ifdef FASTSEQ_X86
FASTSEQ_TABLE(avx2, 32)
FASTSEQ_TABLE(avx512, 64)
#ifdef FASTSEQ_HAVE_WIDE
FASTSEQ_TABLE(wide, 64)
#endif
#endif

namespace {

struct Choice {
  const Kernels* table;
  bool (*supported)();
  bool automatic;  // false: only when asked for by name
};

bool always() { return true; }

#ifdef FASTSEQ_X86
// __builtin_cpu_supports also asks whether the operating system saves the registers; the rest are plain bits.
// popcnt: compilers take it for granted with AVX, a virtual machine need not show it.
bool has_avx2() {
  unsigned a, b, c = 0, d;
  const bool f16c = __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & (1u << 29)) != 0;
  return f16c && __builtin_cpu_supports("popcnt") && __builtin_cpu_supports("avx2") &&
         __builtin_cpu_supports("fma");
}

bool has_avx512() {
  unsigned a, b, c = 0, d, c80 = 0;
  const bool movbe = __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & (1u << 22)) != 0;
  const bool lzcnt = __get_cpuid(0x80000001, &a, &b, &c80, &d) != 0 && (c80 & (1u << 5)) != 0;
  return has_avx2() && movbe && lzcnt && __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2") &&
         __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vl");
}
#endif

const Choice choices[] = {
    {&baseline::table, always, true},
#ifdef FASTSEQ_X86
#ifdef FASTSEQ_HAVE_WIDE
    {&wide::table, has_avx2, false},
#endif
    {&avx2::table, has_avx2, true},
    {&avx512::table, has_avx512, true},
#endif
};

std::atomic<const Kernels*> current{&baseline::table};

const Kernels* find(const std::string& name) {
  for (const Choice& choice : choices) {
    if (name == choice.table->isa && choice.supported()) return choice.table;
  }
  return nullptr;
}

std::string one_of_available() {
  std::string text = "be one of ";
  const char* separator = "";
  for (const std::string& name : available_isas()) {
    text += separator + name;
    separator = ", ";
  }
  return text + " on this CPU";
}

}  // namespace

const Kernels& kernels() { return *current.load(std::memory_order_relaxed); }

std::string isa() { return kernels().isa; }
int vector_bytes() { return kernels().vector_bytes; }

std::vector<std::string> available_isas() {
  std::vector<std::string> names;
  for (const Choice& choice : choices) {
    if (choice.supported()) names.push_back(choice.table->isa);
  }
  return names;
}

void set_isa(const std::string& name) {
  const Kernels* table = find(name);
  check_value(table != nullptr, "set_isa", "name", one_of_available, name);
  current = table;
}

void choose_isa() {
  const char* forced = std::getenv("FASTSEQ_ISA");
  if (forced != nullptr && forced[0] != '\0') {
    const Kernels* table = find(forced);
    check_runtime(table != nullptr, "fastseq", "FASTSEQ_ISA", one_of_available, forced);
    current = table;
    return;
  }
  for (const Choice& choice : choices) {
    if (choice.automatic && choice.supported()) current = choice.table;
  }
}

}  // namespace fastseq
