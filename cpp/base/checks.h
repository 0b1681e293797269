// Checks whose message reads `<function>: <argument> must <rule>, got <what came>`.
// The text is built only when a check fails, so checks cost next to nothing.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

namespace fastseq {

// Becomes Python's TypeError; std::invalid_argument becomes ValueError, std::runtime_error RuntimeError.
struct type_error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

std::string to_text(double x);
std::string to_text(bool x);
// "(2, 3)", "(4,)", "()": as Python writes a tuple.
std::string shape_text(const std::int64_t* shape, std::size_t rank);
inline std::string shape_text(const std::vector<std::int64_t>& shape) {
  return shape_text(shape.data(), shape.size());
}

// What `rule` and `got` of a check may be: text, a number, a shape, or a function that makes the text.
template <class T>
std::string to_text(const T& x) {
  if constexpr (std::is_invocable_v<T>) {
    return x();
  } else if constexpr (std::is_same_v<T, std::vector<std::int64_t>>) {
    return shape_text(x);
  } else if constexpr (std::is_integral_v<T>) {
    return std::to_string(x);
  } else if constexpr (std::is_floating_point_v<T>) {
    return to_text(static_cast<double>(x));
  } else {
    return std::string(x);
  }
}

std::string check_text(const char* function, const char* argument, const std::string& rule,
                       const std::string& got);

template <class Rule, class Got>
void check_value(bool ok, const char* function, const char* argument, const Rule& rule, const Got& got) {
  if (!ok) throw std::invalid_argument(check_text(function, argument, to_text(rule), to_text(got)));
}

template <class Rule, class Got>
void check_type(bool ok, const char* function, const char* argument, const Rule& rule, const Got& got) {
  if (!ok) throw type_error(check_text(function, argument, to_text(rule), to_text(got)));
}

template <class Rule, class Got>
void check_runtime(bool ok, const char* function, const char* argument, const Rule& rule, const Got& got) {
  if (!ok) throw std::runtime_error(check_text(function, argument, to_text(rule), to_text(got)));
}

}  // namespace fastseq
