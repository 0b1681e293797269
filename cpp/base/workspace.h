// Memory for the length of one call, or of what an object keeps: an Arena borrows one block from a
// process-wide pool and gives it back when it is destroyed. Nothing handed to a user may point into it, but
// an array may own one.
#pragma once

#include <cstddef>

namespace fastseq {

class Arena {
 public:
  static constexpr std::size_t kAlignment = 64;  // one cache line, one AVX-512 register

  // At least `bytes`, aligned; the contents are whatever an earlier call left. Throws std::bad_alloc.
  static Arena borrow(std::size_t bytes);

  // What take<T>(count) uses up; sum these for borrow().
  template <class T>
  static constexpr std::size_t room(std::size_t count) {
    return (count * sizeof(T) + kAlignment - 1) / kAlignment * kAlignment;
  }

  Arena() = default;
  Arena(Arena&& other) noexcept { swap(other); }
  Arena& operator=(Arena&& other) noexcept {
    swap(other);
    return *this;
  }
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;
  ~Arena();

  void* data() const { return data_; }
  std::size_t capacity() const { return capacity_; }

  // The next `count` elements, 64-byte aligned. Asking for more than was borrowed throws std::bad_alloc.
  template <class T>
  T* take(std::size_t count) {
    return static_cast<T*>(take_bytes(room<T>(count)));
  }

 private:
  void* take_bytes(std::size_t bytes);
  void swap(Arena& other) noexcept;

  void* data_ = nullptr;
  std::size_t capacity_ = 0;
  std::size_t used_ = 0;
};

}  // namespace fastseq
