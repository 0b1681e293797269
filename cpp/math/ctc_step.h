// One step of the recursions of CTC over the states of a label: blank_0 label_0 blank_1 ... label_{L-1}
// blank_L. Graves et al. (2006), https://doi.org/10.1145/1143844.1143891, equations 6 and 10. N is a kind of
// number.
#pragma once

#include "target.h"

namespace fastseq {
namespace FASTSEQ_TARGET {

// What reaches blank_k: forward from itself and label_{k-1}, backward from itself and label_k.
template <class N>
FASTSEQ_HD N ctc_blank(const N& blank, const N& label) {
  return sum(blank, label);
}

// What reaches label_k: forward from itself, blank_k and label_{k-1}, backward from itself, blank_{k+1} and
// label_{k+1}. `other` is that label, or zero where it is the same one: between equals there is a blank.
template <class N>
FASTSEQ_HD N ctc_label(const N& label, const N& blank, const N& other) {
  return sum(label, blank, other);
}

}  // namespace FASTSEQ_TARGET
}  // namespace fastseq
