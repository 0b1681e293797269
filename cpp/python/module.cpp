// The module fastseq._core: how C++ errors become Python's, and every binding.
#include "base/checks.h"
#include "python/bind.h"

namespace py = pybind11;

PYBIND11_MODULE(_core, m) {
  m.doc() = "fastseq's compiled kernels. Private: use the functions of fastseq and fastseq.ops.";
  m.attr("__version__") = FASTSEQ_VERSION;

  // std::invalid_argument and std::runtime_error are already ValueError and RuntimeError.
  py::register_local_exception_translator([](std::exception_ptr p) {
    try {
      if (p) std::rethrow_exception(p);
    } catch (const fastseq::type_error& e) {
      PyErr_SetString(PyExc_TypeError, e.what());
    }
  });

  fastseq::bind_activation(m);
  fastseq::bind_arrays(m);
  fastseq::bind_batch_norm(m);
  fastseq::bind_conv(m);
  fastseq::bind_ctc(m);
  fastseq::bind_ctc_align(m);
  fastseq::bind_ctc_decode(m);
  fastseq::bind_dense(m);
  fastseq::bind_gather(m);
  fastseq::bind_info(m);
  fastseq::bind_loss(m);
  fastseq::bind_ngram(m);
  fastseq::bind_optimizer(m);
  fastseq::bind_rnn(m);
  fastseq::bind_probe(m);
  fastseq::bind_stepper(m);
}
