#include "ops/activation.h"

#include <cstring>
#include <string>

#include "base/checks.h"
#include "cpu/kernels.h"
#include "ops/share.h"

namespace fastseq {
namespace {

struct Named {
  const char* name;
  bool of_input;
  int code;
};

constexpr Named of_output(const char* name, Activation code) { return {name, false, static_cast<int>(code)}; }
constexpr Named of_input(const char* name, InputActivation code) {
  return {name, true, static_cast<int>(code)};
}

constexpr Named activations[] = {
    of_output("linear", Activation::linear),
    of_output("tanh", Activation::tanh),
    of_output("sigmoid", Activation::sigmoid),
    of_output("relu", Activation::relu),
    of_output("hard_sigmoid", Activation::hard_sigmoid),
    of_output("relu6", Activation::relu6),
    of_output("softsign", Activation::softsign),
    of_output("softplus", Activation::softplus),
    of_output("elu", Activation::elu),
    of_output("selu", Activation::selu),
    of_output("exponential", Activation::exponential),
    of_output("leaky_relu", Activation::leaky_relu),
    of_input("gelu", InputActivation::gelu),
    of_input("gelu_tanh", InputActivation::gelu_tanh),
    of_input("silu", InputActivation::silu),
    of_input("swish", InputActivation::silu),
    of_input("hard_silu", InputActivation::hard_silu),
    of_input("hard_swish", InputActivation::hard_silu),
    of_input("mish", InputActivation::mish),
    of_input("log_sigmoid", InputActivation::log_sigmoid),
    of_input("hard_tanh", InputActivation::hard_tanh),
};

// A name as Python writes it; the text is made only when it is needed.
auto quoted(const char* name) {
  return [name] { return "'" + std::string(name) + "'"; };
}

std::string one_of(bool also_of_input) {
  std::string text = "be one of ";
  const char* separator = "";
  for (const Named& each : activations) {
    if (each.of_input && !also_of_input) continue;
    text += std::string(separator) + each.name;
    separator = ", ";
  }
  return text;
}

const Named* find(const char* name) {
  for (const Named& each : activations)
    if (std::strcmp(each.name, name) == 0) return &each;
  return nullptr;
}

constexpr std::int64_t grain = 1024;  // elements; a share is whole cache lines
constexpr double element_nanoseconds = 0.5;
constexpr double softmax_nanoseconds = 1.0;

}  // namespace

ActivationChoice activation_choice(const char* function, const char* argument, const char* name,
                                   const double* parameters) {
  const Named* found = find(name);
  check_value(found != nullptr, function, argument, [] { return one_of(true); }, quoted(name));
  if (parameters == nullptr) return {found->of_input, found->code, 0, 0, 0};
  const bool relu = std::strcmp(name, "relu") == 0;
  check_value(relu || std::strcmp(name, "elu") == 0, function, argument, "be relu or elu to have parameters",
              quoted(name));
  const InputActivation code = relu ? InputActivation::piecewise : InputActivation::exponential;
  return {true, static_cast<int>(code), parameters[0], parameters[1], parameters[2]};
}

bool is_output_activation(const char* name) {
  const Named* found = find(name);
  return found != nullptr && !found->of_input;
}

Activation output_activation(const char* function, const char* argument, const char* name) {
  const Named* found = find(name);
  check_value(
      found != nullptr && !found->of_input, function, argument, [] { return one_of(false); }, quoted(name));
  return static_cast<Activation>(found->code);
}

template <class T>
void activate(const ActivationChoice& choice, std::int64_t n, const T* x, T* y) {
  const auto kernel = kernels().rowwise->of<T>().activate;
  share_work(n, grain, element_nanoseconds, [&](auto begin, auto end) { kernel(choice, x, y, begin, end); });
}

template <class T>
void activate_backward(const ActivationChoice& choice, std::int64_t n, const T* saved, const T* dy, T* dx) {
  const auto kernel = kernels().rowwise->of<T>().activate_backward;
  share_work(n, grain, element_nanoseconds,
             [&](auto begin, auto end) { kernel(choice, saved, dy, dx, begin, end); });
}

template <class T>
void softmax(bool logarithm, std::int64_t rows, std::int64_t classes, const T* x, T* y) {
  if (classes == 0) return;
  const auto kernel = kernels().rowwise->of<T>().softmax;
  share_work(rows, 16, 20 + softmax_nanoseconds * static_cast<double>(classes),
             [&](auto begin, auto end) { kernel(logarithm, classes, x, y, begin, end); });
}

template <class T>
void softmax_backward(bool logarithm, std::int64_t rows, std::int64_t classes, const T* y, const T* dy,
                      T* dx) {
  if (classes == 0) return;
  const auto kernel = kernels().rowwise->of<T>().softmax_backward;
  share_work(rows, 16, 10 + element_nanoseconds * static_cast<double>(classes),
             [&](auto begin, auto end) { kernel(logarithm, classes, y, dy, dx, begin, end); });
}

#define FASTSEQ_ACTIVATION(T)                                                                     \
  template void activate(const ActivationChoice&, std::int64_t, const T*, T*);                    \
  template void activate_backward(const ActivationChoice&, std::int64_t, const T*, const T*, T*); \
  template void softmax(bool, std::int64_t, std::int64_t, const T*, T*);                          \
  template void softmax_backward(bool, std::int64_t, std::int64_t, const T*, const T*, T*);

FASTSEQ_ACTIVATION(float)
FASTSEQ_ACTIVATION(double)

}  // namespace fastseq
