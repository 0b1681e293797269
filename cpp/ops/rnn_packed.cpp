#include "ops/rnn_packed.h"

#include "ops/rnn_layout.h"

namespace fastseq {

template <class T>
PackedRnn<T>::PackedRnn(Cell cell, Activation activation, Activation recurrent_activation,
                        std::ptrdiff_t features, std::ptrdiff_t units, const T* kernel,
                        const T* recurrent_kernel, const T* bias)
    : compiled_(&kernels()) {
  const RnnSizes<T> size(cell, units, *compiled_);
  view_.cell = cell;
  view_.activation = activation;
  view_.recurrent_activation = recurrent_activation;
  view_.features = features;
  view_.units = units;
  view_.panels = size.panels;
  memory_ = Workspace::deal([&](Workspace& w) { take_weights(w, view_.weights, size, features, units); });
  rnn_table<T>(*compiled_).pack(view_, kernel, recurrent_kernel, bias);
}

template class PackedRnn<float>;
template class PackedRnn<double>;

}  // namespace fastseq
