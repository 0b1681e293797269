// The table of CTC kernels of one instruction set.
#include "cpu/ctc.h"

namespace fastseq {
namespace FASTSEQ_TARGET {

extern const CtcKernels ctc_kernels;
const CtcKernels ctc_kernels = {ctc_table<float>(), ctc_table<double>()};

}  // namespace FASTSEQ_TARGET
}  // namespace fastseq
