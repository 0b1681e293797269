// Convolution and pooling over images, and their gradients.
#pragma once

#include "cpu/conv_kernels.h"

namespace fastseq {

// These fill in the work space of the call.
template <class T>
void conv_forward(ConvForward<T> call);
template <class T>
void conv_backward(ConvBackward<T> call);

template <class T>
void pool_forward(const PoolCall<T>& call);
template <class T>
void pool_backward(const PoolBackward<T>& call);

}  // namespace fastseq
