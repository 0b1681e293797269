// The dense layer on the one matrix product: bias where sums start, activation while a block is in cache.
// N rows, F features, U units. Columns of a product go in panels of a few registers; the last may be
// narrower.
#include "cpu/dense_kernels.h"
#include "cpu/panels.h"

namespace fastseq {
namespace FASTSEQ_TARGET {

constexpr std::ptrdiff_t chunk_rows = 256;  // rows of x and dy that one part of x' da works on
constexpr std::ptrdiff_t few_rows = 16;     // below it, packing the kernel costs more than it saves

template <class T>
std::ptrdiff_t forward_packed_count(const DenseForward<T>& call) {
  return (call.F + 1) * Panels<T>{call.U}.padded();  // and one row of bias
}

// y = activation(bias + x kernel) for some rows and panels.
template <class T>
void forward_part(const DenseForward<T>& call, Part rows, Part some_panels, const T* bias, bool in_place) {
  const Panels<T> panels = {call.U};
  Block<T> block;
  for (std::ptrdiff_t r = rows.begin; r < rows.end; r += block_rows) {
    for (std::ptrdiff_t p = some_panels.begin; p < some_panels.end; ++p) {
      const std::ptrdiff_t first = panels.first(p);
      const bool unpacked = in_place && panels.whole(p);
      Product<T> of = {};
      of.rows = smaller(block_rows, rows.end - r);
      of.depth = call.F;
      of.a = call.x + r * call.F;
      of.a_row = call.F;
      of.b = unpacked ? call.kernel + first : call.packed + first * call.F;
      of.b_row = unpacked ? call.U : 0;
      of.init = bias != nullptr ? bias + first : nullptr;
      T* y = call.y + r * call.U + first;
      product_into(of, {y, call.U, panels.columns_of(p), panels.padded_of(p), false, call.activation},
                   block.buffer);
    }
  }
}

template <class T>
void dense_forward(const DenseForward<T>& call, const Team& team) {
  const Panels<T> panels = {call.U};
  const bool in_place = call.N < few_rows;
  const bool by_rows = call.N >= 8 * team.count;
  const Part mine = part_of(panels.count(), 1, team);
  T* bias = call.bias != nullptr ? call.packed + call.F * panels.padded() : nullptr;
  for (std::ptrdiff_t p = mine.begin; p < mine.end; ++p) {
    if (!in_place || !panels.whole(p))
      pack_panel(panels, p, call.F, call.kernel, call.packed + panels.first(p) * call.F);
    if (bias != nullptr) pack_panel(panels, p, 1, call.bias, bias + panels.first(p));
  }
  team.meet(team.meeting);
  const Part rows = by_rows ? part_of(call.N, 8, team) : Part{0, call.N};
  forward_part(call, rows, by_rows ? Part{0, panels.count()} : mine, bias, in_place);
}

// x' da for some features and panels, and with `bias` the sums of da. One panel of da is packed at a time.
template <class T>
void backward_kernel(const DenseBackward<T>& call, Part features, Part some_panels, bool bias, T* packed) {
  const Panels<T> panels = {call.U};
  Block<T> block;
  for (std::ptrdiff_t p = some_panels.begin; p < some_panels.end; ++p) {
    const std::ptrdiff_t first = panels.first(p), columns = panels.columns_of(p),
                         padded = panels.padded_of(p);
    for (std::ptrdiff_t r = 0; r == 0 || r < call.N; r += chunk_rows) {
      const std::ptrdiff_t rows = smaller(chunk_rows, call.N - r);
      gradient_of_sums(call.activation, call.dy + r * call.U + first, call.y + r * call.U + first, call.U,
                       rows, columns, padded, packed);
      if (bias && call.dbias != nullptr)
        add_rows(packed, padded, rows,
                 {call.dbias + first, 0, columns, padded, call.add_bias || r > 0, Activation::linear});
      if (call.dkernel == nullptr) continue;
      for (std::ptrdiff_t f = features.begin; f < features.end; f += block_rows) {
        Product<T> of = {};
        of.rows = smaller(block_rows, features.end - f);
        of.depth = rows;
        of.a = call.x + r * call.F + f;
        of.a_row = call.F;
        of.a_transposed = true;
        of.b = packed;
        T* to = call.dkernel + f * call.U + first;
        product_into(of, {to, call.U, columns, padded, call.add_kernel || r > 0, Activation::linear},
                     block.buffer);
      }
    }
  }
}

// dx = da kernel' for some rows.
template <class T>
void backward_input(const DenseBackward<T>& call, Part rows, T* da) {
  const Panels<T> panels = {call.F};
  const std::ptrdiff_t da_row = Panels<T>{call.U}.padded();
  Block<T> block;
  for (std::ptrdiff_t r = rows.begin; r < rows.end; r += block_rows) {
    const std::ptrdiff_t count = smaller(block_rows, rows.end - r);
    gradient_of_sums(call.activation, call.dy + r * call.U, call.y + r * call.U, call.U, count, call.U,
                     da_row, da);
    for (std::ptrdiff_t p = 0; p < panels.count(); ++p) {
      const std::ptrdiff_t first = panels.first(p);
      Product<T> of = {};
      of.rows = count;
      of.depth = call.U;
      of.a = da;
      of.a_row = da_row;
      of.b = call.packed + first * call.U;
      T* to = call.dx + r * call.F + first;
      product_into(of, {to, call.F, panels.columns_of(p), panels.padded_of(p), false, Activation::linear},
                   block.buffer);
    }
  }
}

template <class T>
std::ptrdiff_t backward_packed_count(const DenseBackward<T>& call) {
  return call.dx != nullptr ? call.U * Panels<T>{call.F}.padded() : 0;
}

template <class T>
std::ptrdiff_t backward_member_count(const DenseBackward<T>& call) {
  const std::ptrdiff_t for_kernel = chunk_rows * Panels<T>::width;
  const std::ptrdiff_t for_input = block_rows * Panels<T>{call.U}.padded();
  return for_kernel > for_input ? for_kernel : for_input;
}

template <class T>
void dense_backward(const DenseBackward<T>& call, const Team& team) {
  T* mine = call.member + team.index * backward_member_count(call);
  if (call.dkernel != nullptr || call.dbias != nullptr) {
    const Panels<T> panels = {call.U};
    if (panels.count() >= team.count || call.dkernel == nullptr) {
      backward_kernel(call, {0, call.F}, part_of(panels.count(), 1, team), true, mine);
    } else {
      backward_kernel(call, part_of(call.F, 8, team), {0, panels.count()}, team.index == 0, mine);
    }
  }
  if (call.dx == nullptr) return;
  const Panels<T> panels = {call.F};
  const Part to_pack = part_of(panels.count(), 1, team);
  for (std::ptrdiff_t p = to_pack.begin; p < to_pack.end; ++p)
    pack_panel_transposed(panels, p, call.U, call.kernel, call.packed + panels.first(p) * call.U);
  team.meet(team.meeting);
  backward_input(call, part_of(call.N, 8, team), mine);
}

#define FASTSEQ_DENSE_TABLE(T)                                                                    \
  {forward_packed_count<T>, backward_packed_count<T>, backward_member_count<T>, dense_forward<T>, \
   dense_backward<T>}

extern const DenseKernels dense_kernels;
const DenseKernels dense_kernels = {FASTSEQ_DENSE_TABLE(float), FASTSEQ_DENSE_TABLE(double)};

}  // namespace FASTSEQ_TARGET
}  // namespace fastseq
