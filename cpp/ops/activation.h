// Activations by name, and softmax.
#pragma once

#include <cstdint>

#include "cpu/rowwise_kernels.h"

namespace fastseq {

// The activation called `name`; std::invalid_argument lists the names there are. With parameters (a, b, c)
// "relu" is x above c, a (x - c) below, at most b, and "elu" is x above 0, a (exp(b x) - 1) below.
ActivationChoice activation_choice(const char* function, const char* argument, const char* name,
                                   const double* parameters = nullptr);

// The same among those whose derivative follows from the output: the ones that can run inside other kernels.
Activation output_activation(const char* function, const char* argument, const char* name);
bool is_output_activation(const char* name);

template <class T>
void activate(const ActivationChoice& choice, std::int64_t n, const T* x, T* y);
template <class T>
void activate_backward(const ActivationChoice& choice, std::int64_t n, const T* saved, const T* dy, T* dx);

template <class T>
void softmax(bool logarithm, std::int64_t rows, std::int64_t classes, const T* x, T* y);
template <class T>
void softmax_backward(bool logarithm, std::int64_t rows, std::int64_t classes, const T* y, const T* dy,
                      T* dx);

}  // namespace fastseq
