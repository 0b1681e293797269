// The table of decoding's kernels of one instruction set.
#include "cpu/ctc_decode.h"

namespace fastseq {
namespace FASTSEQ_TARGET {

extern const CtcDecodeKernels ctc_decode_kernels;
const CtcDecodeKernels ctc_decode_kernels = {ctc_decode_table<float>(), ctc_decode_table<double>(),
                                             stay_in_beam};

}  // namespace FASTSEQ_TARGET
}  // namespace fastseq
