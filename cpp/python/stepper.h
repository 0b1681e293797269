// What Python holds of a recurrent layer whose weights stay packed: a capsule.
#pragma once

#include "ops/stepper.h"

#include <memory>
#include <string>
#include <variant>

#include "python/arrays.h"

namespace fastseq {

constexpr const char* stepper_capsule = "fastseq.stepper";

struct PyStepper {
  std::variant<std::unique_ptr<RnnStepper<float>>, std::unique_ptr<RnnStepper<double>>> stepper;
  std::string function;  // for messages
};

inline const PyStepper& stepper_of(const py::capsule& capsule) {
  void* const pointer = PyCapsule_GetPointer(capsule.ptr(), stepper_capsule);
  if (pointer == nullptr) throw py::error_already_set();
  return *static_cast<const PyStepper*>(pointer);
}

}  // namespace fastseq
