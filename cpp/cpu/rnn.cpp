// The recurrent kernels of one instruction set: every cell, float and double.
#include "cpu/rnn_backward.h"
#include "cpu/rnn_step.h"

namespace fastseq {
namespace FASTSEQ_TARGET {
namespace {

template <template <class, Cell> class Call, class T, class Arguments>
void run(const Arguments& arguments, const Team& team) {
  switch (arguments.call.cell) {
    case Cell::lstm:
      return Call<T, Cell::lstm>(arguments, team).run();
    case Cell::gru_after:
      return Call<T, Cell::gru_after>(arguments, team).run();
    case Cell::gru_before:
      return Call<T, Cell::gru_before>(arguments, team).run();
    case Cell::simple:
      return Call<T, Cell::simple>(arguments, team).run();
  }
}

template <class T>
void forward(const RnnForward<T>& arguments, const Team& team) {
  run<Forward, T>(arguments, team);
}

template <class T>
void backward(const RnnBackward<T>& arguments, const Team& team) {
  run<Backward, T>(arguments, team);
}

template <class T>
void pack(const RnnPacked<T>& packed, const T* kernel, const T* recurrent_kernel, const T* bias) {
  switch (packed.cell) {
    case Cell::lstm:
      return pack_layer<T, Cell::lstm>(packed, kernel, recurrent_kernel, bias);
    case Cell::gru_after:
      return pack_layer<T, Cell::gru_after>(packed, kernel, recurrent_kernel, bias);
    case Cell::gru_before:
      return pack_layer<T, Cell::gru_before>(packed, kernel, recurrent_kernel, bias);
    case Cell::simple:
      return pack_layer<T, Cell::simple>(packed, kernel, recurrent_kernel, bias);
  }
}

template <class T>
void step(const RnnStep<T>& arguments, const Team& team) {
  switch (arguments.packed.cell) {
    case Cell::lstm:
      return SingleStep<T, Cell::lstm>(arguments, team).run();
    case Cell::gru_after:
      return SingleStep<T, Cell::gru_after>(arguments, team).run();
    case Cell::gru_before:
      return SingleStep<T, Cell::gru_before>(arguments, team).run();
    case Cell::simple:
      return SingleStep<T, Cell::simple>(arguments, team).run();
  }
}

}  // namespace

extern const RnnKernels rnn_kernels;
const RnnKernels rnn_kernels = {{forward<float>, backward<float>, pack<float>, step<float>},
                                {forward<double>, backward<double>, pack<double>, step<double>},
                                pair_vectors};

}  // namespace FASTSEQ_TARGET
}  // namespace fastseq
