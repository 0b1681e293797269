// The table of row-wise kernels of one instruction set.
#include "cpu/rowwise_activation.h"
#include "cpu/rowwise_copy.h"
#include "cpu/rowwise_kernels.h"
#include "cpu/rowwise_loss.h"

namespace fastseq {
namespace FASTSEQ_TARGET {

#define FASTSEQ_ROWWISE_TABLE(T)                        \
  {activate_elements<T>, activate_elements_backward<T>, \
   softmax_rows<T>,      softmax_rows_backward<T>,      \
   loss_rows<T>,         categorical_matches_of<T>,     \
   binary_matches_of<T>, gather_rows<T>,                \
   scatter_add_rows<T>,  dropout_elements<T>}

extern const RowwiseKernels rowwise_kernels;
const RowwiseKernels rowwise_kernels = {FASTSEQ_ROWWISE_TABLE(float), FASTSEQ_ROWWISE_TABLE(double)};

}  // namespace FASTSEQ_TARGET
}  // namespace fastseq
