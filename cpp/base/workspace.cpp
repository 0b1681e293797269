#include "base/workspace.h"

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <new>
#include <utility>

namespace fastseq {
namespace {

// Blocks at rest. Taking one out is a single exchange, so there is no lock that a fork could leave locked.
struct Slot {
  std::atomic<void*> block{nullptr};
  std::atomic<std::size_t> capacity{0};  // of `block`; a hint, checked again after the block has been taken
};

constexpr int kSlots = 64;  // more than a step of a large model has results: none is freed in between
constexpr std::size_t kPoolBytes = std::size_t{1}
                                   << 30;           // kept at rest, at most; more is given back to the system
constexpr std::size_t kHeader = Arena::kAlignment;  // before data(): the capacity
constexpr std::size_t kLooseFit = 2;                // a block this many times too large is left for others

Slot slots[kSlots];
std::atomic<std::size_t> bytes_at_rest{0};

std::size_t& capacity_of(void* block) { return *static_cast<std::size_t*>(block); }

// Large blocks are asked to lie on huge pages: kernels walk through them with long strides, and where the
// machine is a virtual one, a translation that is missed costs a walk through two sets of page tables. A
// block that fills most of a huge page gets a whole one.
#ifdef MADV_HUGEPAGE
constexpr std::size_t kHugePage = std::size_t{2} << 20;
constexpr std::size_t kWorthHugePages = kHugePage / 2;
#else
constexpr std::size_t kHugePage = Arena::kAlignment;
constexpr std::size_t kWorthHugePages = SIZE_MAX;
#endif

std::align_val_t alignment_of(std::size_t capacity) {
  return std::align_val_t{capacity >= kWorthHugePages ? kHugePage : Arena::kAlignment};
}

void* allocate(std::size_t capacity) {
  if (capacity > SIZE_MAX / 2) throw std::bad_alloc();
  if (capacity >= kWorthHugePages) capacity = std::max(capacity, kHugePage - kHeader);
  void* block = ::operator new(kHeader + capacity, alignment_of(capacity));
#ifdef MADV_HUGEPAGE
  if (capacity >= kWorthHugePages) madvise(block, kHeader + capacity, MADV_HUGEPAGE);  // a wish; may fail
#endif
  capacity_of(block) = capacity;
  return block;
}

void free_block(void* block) { ::operator delete(block, alignment_of(capacity_of(block))); }

void give_back(void* block) {
  const std::size_t capacity = capacity_of(block);
  if (bytes_at_rest.fetch_add(capacity) + capacity <= kPoolBytes) {
    for (Slot& slot : slots) {
      void* empty = nullptr;
      if (slot.block.compare_exchange_strong(empty, block)) {
        slot.capacity = capacity;
        return;
      }
    }
  }
  bytes_at_rest -= capacity;
  free_block(block);
}

// The smallest block at rest that holds `bytes` without being much too large, or nullptr.
void* find(std::size_t bytes) {
  for (int attempt = 0; attempt < kSlots; ++attempt) {
    Slot* best = nullptr;
    std::size_t best_capacity = SIZE_MAX;
    for (Slot& slot : slots) {
      const std::size_t capacity = slot.capacity.load();
      if (slot.block.load() == nullptr || capacity < bytes || capacity / kLooseFit > bytes) continue;
      if (capacity < best_capacity) {
        best = &slot;
        best_capacity = capacity;
      }
    }
    if (best == nullptr) return nullptr;
    void* block = best->block.exchange(nullptr);
    if (block == nullptr) continue;
    bytes_at_rest -= capacity_of(block);
    if (capacity_of(block) >= bytes) return block;
    give_back(block);
  }
  return nullptr;
}

}  // namespace

Arena Arena::borrow(std::size_t bytes) {
  // Whole pages, so that slightly different sizes find each other's blocks.
  const std::size_t wanted = std::max<std::size_t>(4096, (bytes + 4095) / 4096 * 4096);
  if (wanted < bytes) throw std::bad_alloc();
  void* block = find(wanted);
  if (block == nullptr) block = allocate(wanted);
  Arena arena;
  arena.data_ = static_cast<char*>(block) + kHeader;
  arena.capacity_ = capacity_of(block);
  return arena;
}

Arena::~Arena() {
  if (data_ != nullptr) give_back(static_cast<char*>(data_) - kHeader);
}

void* Arena::take_bytes(std::size_t bytes) {
  if (bytes > capacity_ - used_) throw std::bad_alloc();
  void* p = static_cast<char*>(data_) + used_;
  used_ += bytes;
  return p;
}

void Arena::swap(Arena& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(capacity_, other.capacity_);
  std::swap(used_, other.used_);
}

}  // namespace fastseq
