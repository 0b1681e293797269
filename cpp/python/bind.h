// One bind_<stem>(module) per file bind_<stem>.cpp; module.cpp calls them all.
#pragma once

#include <pybind11/pybind11.h>

namespace fastseq {

void bind_activation(pybind11::module_& m);
void bind_arrays(pybind11::module_& m);
void bind_batch_norm(pybind11::module_& m);
void bind_conv(pybind11::module_& m);
void bind_ctc(pybind11::module_& m);
void bind_ctc_align(pybind11::module_& m);
void bind_ctc_decode(pybind11::module_& m);
void bind_dense(pybind11::module_& m);
void bind_gather(pybind11::module_& m);
void bind_info(pybind11::module_& m);
void bind_loss(pybind11::module_& m);
void bind_ngram(pybind11::module_& m);
void bind_optimizer(pybind11::module_& m);
void bind_rnn(pybind11::module_& m);
void bind_probe(pybind11::module_& m);
void bind_stepper(pybind11::module_& m);

}  // namespace fastseq
