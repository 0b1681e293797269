#include "base/checks.h"

#include <cstdio>

namespace fastseq {

std::string to_text(double x) {
  char text[32];
  std::snprintf(text, sizeof text, "%g", x);
  return text;
}

std::string to_text(bool x) { return x ? "True" : "False"; }

std::string shape_text(const std::int64_t* shape, std::size_t rank) {
  std::string text = "(";
  for (std::size_t i = 0; i < rank; ++i) {
    if (i > 0) text += ", ";
    text += std::to_string(shape[i]);
  }
  if (rank == 1) text += ",";
  return text + ")";
}

std::string check_text(const char* function, const char* argument, const std::string& rule,
                       const std::string& got) {
  return std::string(function) + ": " + argument + " must " + rule + ", got " + got;
}

}  // namespace fastseq
