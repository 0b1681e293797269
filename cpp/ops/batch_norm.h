// Batch normalization over rows, and its gradients.
#pragma once

#include "cpu/batch_norm_kernels.h"

namespace fastseq {

// These fill in `work` of the call.
template <class T>
void norm_forward(NormForward<T> call);
template <class T>
void norm_backward(NormBackward<T> call);

}  // namespace fastseq
