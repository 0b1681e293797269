#include "ops/batch_norm.h"

#include "base/workspace.h"
#include "cpu/kernels.h"
#include "ops/share.h"

namespace fastseq {
namespace {

constexpr double norm_element_nanoseconds = 0.5;

// kernel(call, team) on as many members as the call deserves, with work space.
template <class T, class Call>
void run_norm(Call call, void (*kernel)(const Call&, const Team&)) {
  const NormTable<T>& table = kernels().batch_norm->of<T>();
  const auto count = static_cast<std::size_t>(table.work_count(call.R, call.C));
  Arena arena = Arena::borrow(Arena::room<T>(count));
  call.work = arena.take<T>(count);
  const double elements = static_cast<double>(call.R) * static_cast<double>(call.C);
  run_team(members_for(norm_element_nanoseconds * elements),
           [&](const Team& team) noexcept { kernel(call, team); });
}

}  // namespace

template <class T>
void norm_forward(NormForward<T> call) {
  run_norm<T>(call, kernels().batch_norm->of<T>().forward);
}

template <class T>
void norm_backward(NormBackward<T> call) {
  run_norm<T>(call, kernels().batch_norm->of<T>().backward);
}

template void norm_forward(NormForward<float>);
template void norm_forward(NormForward<double>);
template void norm_backward(NormBackward<float>);
template void norm_backward(NormBackward<double>);

}  // namespace fastseq
