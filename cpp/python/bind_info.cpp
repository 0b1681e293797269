// What this build and this machine have: instruction sets, threads, OpenMP, CUDA.
#include <pybind11/stl.h>

#include "base/quota.h"
#include "base/threads.h"
#include "cpu/dispatch.h"
#include "python/bind.h"

namespace py = pybind11;

namespace fastseq {

void bind_info(py::module_& m) {
  m.def(
      "read_environment",
      [] {
        choose_isa();
        choose_num_threads();
      },
      "Take FASTSEQ_ISA and FASTSEQ_NUM_THREADS, or what suits this machine.");
  m.def("isa", &isa, "The instruction set in use.");
  m.def("set_isa", &set_isa, py::arg("name"), "Use this instruction set from the next call on.");
  m.def("available_isas", &available_isas,
        "The instruction sets of this build that this CPU has, worst first.");
  m.def("vector_bytes", &vector_bytes, "Bytes of one register of the set in use.");

  m.def("get_num_threads", &num_threads);
  m.def("set_num_threads", &set_num_threads, py::arg("n"));
  m.def("cpu_quota", &cpu_quota, py::arg("root") = "", "CPUs' worth of time that control groups allow.");
  m.def("has_openmp", &has_openmp);
  m.def("has_cuda", [] { return false; });
}

}  // namespace fastseq
