#include "ops/conv.h"

#include "base/workspace.h"
#include "cpu/kernels.h"
#include "ops/share.h"

namespace fastseq {
namespace {

constexpr double conv_product_nanoseconds = 0.03;  // of one multiply-add, one thread
constexpr double pool_element_nanoseconds = 0.5;

double conv_products(const ConvShape& s) {
  return static_cast<double>(s.N * s.h.output * s.w.output) * static_cast<double>(s.h.taps * s.w.taps) *
         static_cast<double>(s.C * s.U);
}

// A window of one pixel knows no rows: the image becomes one, of which long strips can be made.
void merge_rows(ConvShape& s) {
  const auto is_plain = [](const ConvAxis& axis) {
    return axis.taps == 1 && axis.stride == 1 && axis.before == 0 && axis.output == axis.input;
  };
  if (!is_plain(s.h) || !is_plain(s.w) || s.pool_h * s.pool_w > 1) return;
  s.w.input = s.w.output = s.w.input * s.h.input;
  s.h.input = s.h.output = 1;
}

// A count of elements in whole cache lines, whatever their type.
std::size_t padded_count(std::ptrdiff_t count) { return (static_cast<std::size_t>(count) + 15) / 16 * 16; }

}  // namespace

template <class T>
void conv_forward(ConvForward<T> call) {
  merge_rows(call.shape);
  const ConvShape& s = call.shape;
  if (s.N * s.h.output * s.w.output * s.U == 0) return;
  const ConvTable<T>& table = kernels().conv->of<T>();
  const int members = members_for(conv_product_nanoseconds * conv_products(s));
  const std::size_t packed = padded_count(table.forward_packed_count(s));
  const std::size_t member = padded_count(table.forward_member_count(s));
  const std::size_t all = member * static_cast<std::size_t>(members);
  Arena arena = Arena::borrow(Arena::room<T>(packed) + Arena::room<T>(all));
  call.packed = arena.take<T>(packed);
  call.member = arena.take<T>(all);
  call.member_count = static_cast<std::ptrdiff_t>(member);
  run_team(members, [&](const Team& team) noexcept { table.forward(call, team); });
}

template <class T>
void conv_backward(ConvBackward<T> call) {
  merge_rows(call.shape);
  const ConvTable<T>& table = kernels().conv->of<T>();
  const int products = (call.dx != nullptr) + (call.dkernel != nullptr);
  const int members = members_for(conv_product_nanoseconds * products * conv_products(call.shape));
  const std::size_t packed = padded_count(table.backward_packed_count(call));
  const std::size_t gradient = padded_count(table.backward_gradient_count(call));
  const std::size_t sums = padded_count(table.backward_sums_count(call));
  const std::size_t member = padded_count(table.backward_member_count(call));
  const std::size_t all = member * static_cast<std::size_t>(members);
  Arena arena = Arena::borrow(Arena::room<T>(packed) + Arena::room<T>(gradient) + Arena::room<T>(sums) +
                              Arena::room<T>(all));
  call.packed = arena.take<T>(packed);
  call.gradient = arena.take<T>(gradient);
  call.sums = arena.take<T>(sums);
  call.member = arena.take<T>(all);
  call.member_count = static_cast<std::ptrdiff_t>(member);
  run_team(members, [&](const Team& team) noexcept { table.backward(call, team); });
}

template <class T>
void pool_forward(const PoolCall<T>& call) {
  const ConvShape& s = call.shape;
  const auto kernel = kernels().conv->of<T>().pool;
  const double row = static_cast<double>(s.w.output * s.C * s.h.taps * s.w.taps);
  share_work(s.N * s.h.output, 1, pool_element_nanoseconds * row,
             [&](auto begin, auto end) { kernel(call, begin, end); });
}

template <class T>
void pool_backward(const PoolBackward<T>& call) {
  const ConvShape& s = call.shape;
  const auto kernel = kernels().conv->of<T>().pool_backward;
  share_work(s.N * s.h.input, 1, pool_element_nanoseconds * static_cast<double>(s.w.input * s.C),
             [&](auto begin, auto end) { kernel(call, begin, end); });
}

template void conv_forward(ConvForward<float>);
template void conv_forward(ConvForward<double>);
template void conv_backward(ConvBackward<float>);
template void conv_backward(ConvBackward<double>);
template void pool_forward(const PoolCall<float>&);
template void pool_forward(const PoolCall<double>&);
template void pool_backward(const PoolBackward<float>&);
template void pool_backward(const PoolBackward<double>&);

}  // namespace fastseq
