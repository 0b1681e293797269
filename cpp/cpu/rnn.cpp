// The recurrent kernels of one instruction set: every cell, float and double.
#include "cpu/rnn_backward.h"

namespace fastseq {
namespace FASTSEQ_TARGET {
namespace {

template <template <class, Cell> class Loop, class T, class Arguments>
void run(const Arguments& arguments, const Team& team) {
  switch (arguments.call.cell) {
    case Cell::lstm:
      return Loop<T, Cell::lstm>(arguments, team).run();
    case Cell::gru_after:
      return Loop<T, Cell::gru_after>(arguments, team).run();
    case Cell::gru_before:
      return Loop<T, Cell::gru_before>(arguments, team).run();
    case Cell::simple:
      return Loop<T, Cell::simple>(arguments, team).run();
  }
}

template <class T>
void forward(const RnnForward<T>& arguments, const Team& team) {
  run<ForwardLoop, T>(arguments, team);
}

template <class T>
void backward(const RnnBackward<T>& arguments, const Team& team) {
  run<BackwardLoop, T>(arguments, team);
}

}  // namespace

extern const RnnKernels rnn_kernels;
const RnnKernels rnn_kernels = {
    {forward<float>, backward<float>}, {forward<double>, backward<double>}, wide_vectors};

}  // namespace FASTSEQ_TARGET
}  // namespace fastseq
