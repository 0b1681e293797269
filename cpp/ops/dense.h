// y = activation(x kernel + bias) and its gradients.
#pragma once

#include "cpu/dense_kernels.h"

namespace fastseq {

// Fills in the work space, so `packed` and `member` of the call may be anything.
template <class T>
void dense_forward(DenseForward<T> call);
template <class T>
void dense_backward(DenseBackward<T> call);

}  // namespace fastseq
