// A table from pairs of whole numbers, neither negative, to a third: open addressing, linear probing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace fastseq {

class PairTable {
 public:
  static constexpr std::int32_t none = -1;

  std::int32_t find(std::int32_t a, std::int32_t b) const {
    if (count_ == 0) return none;
    const std::uint64_t key = key_of(a, b);
    for (std::size_t i = home(key);; i = after(i)) {
      if (slots_[i].value == none) return none;
      if (slots_[i].key == key) return slots_[i].value;
    }
  }

  // The pair is not there yet; value >= 0.
  void insert(std::int32_t a, std::int32_t b, std::int32_t value) {
    if (2 * (count_ + 1) > slots_.size()) grow();
    put(key_of(a, b), value);
    ++count_;
  }

  // The pair is there. What was pushed past it moves back, so that no marks of the dead remain.
  void erase(std::int32_t a, std::int32_t b) {
    const std::uint64_t key = key_of(a, b);
    std::size_t hole = home(key);
    while (slots_[hole].key != key || slots_[hole].value == none) hole = after(hole);
    for (std::size_t i = after(hole); slots_[i].value != none; i = after(i)) {
      const std::size_t wanted = home(slots_[i].key), mask = slots_.size() - 1;
      if (((i - wanted) & mask) < ((i - hole) & mask)) continue;
      slots_[hole] = slots_[i];
      hole = i;
    }
    slots_[hole].value = none;
    --count_;
  }

 private:
  struct Slot {
    std::uint64_t key = 0;
    std::int32_t value = none;
  };

  static std::uint64_t key_of(std::int32_t a, std::int32_t b) {
    return static_cast<std::uint64_t>(static_cast<std::uint32_t>(a)) << 32 | static_cast<std::uint32_t>(b);
  }
  std::size_t home(std::uint64_t key) const {  // the upper bits of a product: Fibonacci hashing
    return static_cast<std::size_t>(key * 0x9e3779b97f4a7c15 >> shift_);
  }
  std::size_t after(std::size_t i) const { return (i + 1) & (slots_.size() - 1); }

  void put(std::uint64_t key, std::int32_t value) {
    std::size_t i = home(key);
    while (slots_[i].value != none) i = after(i);
    slots_[i].key = key;
    slots_[i].value = value;
  }

  void grow() {
    std::vector<Slot> old(slots_.empty() ? 64 : 2 * slots_.size());
    old.swap(slots_);
    for (shift_ = 64; slots_.size() >> (64 - shift_) > 1;) --shift_;
    for (const Slot& slot : old)
      if (slot.value != none) put(slot.key, slot.value);
  }

  std::vector<Slot> slots_;  // a power of two of them
  std::size_t count_ = 0;
  int shift_ = 64;
};

}  // namespace fastseq
