// The table of convolution and pooling.
#include "cpu/conv.h"

namespace fastseq {
namespace FASTSEQ_TARGET {

#define FASTSEQ_CONV_TABLE(T)       \
  {conv_forward_packed_count<T>,    \
   conv_forward_member_count<T>,    \
   conv_forward<T>,                 \
   conv_backward_packed_count<T>,   \
   conv_backward_gradient_count<T>, \
   conv_backward_sums_count<T>,     \
   conv_backward_member_count<T>,   \
   conv_backward<T>,                \
   pool<T>,                         \
   pool_backward<T>}

extern const ConvKernels conv_kernels;
const ConvKernels conv_kernels = {FASTSEQ_CONV_TABLE(float), FASTSEQ_CONV_TABLE(double)};

}  // namespace FASTSEQ_TARGET
}  // namespace fastseq
