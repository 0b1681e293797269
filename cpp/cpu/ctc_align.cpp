// The table of kernels for the best alignment, of one instruction set.
#include "cpu/ctc_align.h"

namespace fastseq {
namespace FASTSEQ_TARGET {

extern const CtcAlignKernels ctc_align_kernels;
const CtcAlignKernels ctc_align_kernels = {ctc_align_table<float>(), ctc_align_table<double>()};

}  // namespace FASTSEQ_TARGET
}  // namespace fastseq
