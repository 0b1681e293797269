// The table of all kernels of one instruction set; dispatch.h chooses between the tables.
// To add a family: one line in FASTSEQ_KERNEL_FAMILIES, one word in CMakeLists.txt.
#pragma once

// X(name, Struct): cpp/cpu/<name>.cpp defines `extern const Struct name_kernels` in namespace
// fastseq::FASTSEQ_TARGET, constant-initialised; cpp/cpu/<name>_kernels.h declares Struct in namespace
// fastseq.
#define FASTSEQ_KERNEL_FAMILIES(X) \
  X(batch_norm, BatchNormKernels)  \
  X(conv, ConvKernels)             \
  X(ctc, CtcKernels)               \
  X(ctc_align, CtcAlignKernels)    \
  X(ctc_decode, CtcDecodeKernels)  \
  X(dense, DenseKernels)           \
  X(optimizer, OptimizerKernels) X(peak, PeakKernels) X(rnn, RnnKernels) X(rowwise, RowwiseKernels)

namespace fastseq {

#define FASTSEQ_FORWARD(name, Struct) struct Struct;
FASTSEQ_KERNEL_FAMILIES(FASTSEQ_FORWARD)
#undef FASTSEQ_FORWARD

struct Kernels {
  const char* isa;   // "baseline", "avx2", "avx512"
  int vector_bytes;  // of one register
#define FASTSEQ_MEMBER(name, Struct) const Struct* name;
  FASTSEQ_KERNEL_FAMILIES(FASTSEQ_MEMBER)
#undef FASTSEQ_MEMBER
};

// The table in use. Read it once per call: a test may switch it between calls.
const Kernels& kernels();

}  // namespace fastseq
