// How one source serves every compiler: FASTSEQ_HD marks what CUDA may call too, FASTSEQ_TARGET names the
// namespace of the instruction set this translation unit is compiled for.
#pragma once

#ifndef FASTSEQ_TARGET
#define FASTSEQ_TARGET generic
#endif

#ifdef __CUDACC__
#define FASTSEQ_HD __host__ __device__ __forceinline__
#define FASTSEQ_OUT_OF_LINE __host__ __device__ __noinline__
#else
#define FASTSEQ_HD inline __attribute__((always_inline))
#define FASTSEQ_OUT_OF_LINE __attribute__((noinline))
#endif
