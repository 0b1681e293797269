#include "ops/dense.h"

#include "base/workspace.h"
#include "cpu/kernels.h"
#include "ops/share.h"

namespace fastseq {
namespace {

constexpr double nanoseconds_per_product = 0.03;  // of one multiply-add, one thread

template <class Call>
double multiply_adds(const Call& call) {
  return static_cast<double>(call.N) * static_cast<double>(call.F) * static_cast<double>(call.U);
}

}  // namespace

template <class T>
void dense_forward(DenseForward<T> call) {
  if (call.N == 0 || call.U == 0) return;
  const DenseTable<T>& table = kernels().dense->of<T>();
  const auto count = static_cast<std::size_t>(table.forward_packed_count(call));
  Arena arena = Arena::borrow(Arena::room<T>(count));
  call.packed = arena.take<T>(count);
  run_team(members_for(nanoseconds_per_product * multiply_adds(call)),
           [&](const Team& team) noexcept { table.forward(call, team); });
}

template <class T>
void dense_backward(DenseBackward<T> call) {
  const DenseTable<T>& table = kernels().dense->of<T>();
  const int products = (call.dx != nullptr) + (call.dkernel != nullptr);
  const int members = members_for(nanoseconds_per_product * products * multiply_adds(call));
  const auto packed = static_cast<std::size_t>(table.backward_packed_count(call));
  const auto member = static_cast<std::size_t>(table.backward_member_count(call));
  Arena arena =
      Arena::borrow(Arena::room<T>(packed) + Arena::room<T>(member * static_cast<std::size_t>(members)));
  call.packed = arena.take<T>(packed);
  call.member = arena.take<T>(member * static_cast<std::size_t>(members));
  run_team(members, [&](const Team& team) noexcept { table.backward(call, team); });
}

template void dense_forward(DenseForward<float>);
template void dense_forward(DenseForward<double>);
template void dense_backward(DenseBackward<float>);
template void dense_backward(DenseBackward<double>);

}  // namespace fastseq
