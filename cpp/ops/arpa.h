// The text form of n-gram models, ARPA, read in pieces of any size.
//
// Any text before \data\, then `ngram n=count` lines, then for n = 1 to N a line \n-grams: and lines of
// log10 probability, n words and, unless n = N, a back-off weight if there is one, between tabs or spaces;
// then \end\. Blank lines and CRLF are fine. Throws std::invalid_argument that names the rule and the line.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "ops/ngram.h"

namespace fastseq {

class ArpaReader {
 public:
  // `bytes`: about how many will come; what the file says of itself is trusted with no more memory than that.
  explicit ArpaReader(std::int64_t bytes) : bytes_(bytes) {}

  bool feed(std::string_view piece);  // whether \end\ has come: what follows it is not read
  Ngram finish();                     // once, after the last piece

 private:
  enum class Part { before, counts, ngrams, done };

  template <class Rule>
  [[noreturn]] void refuse(const Rule& rule, std::string_view got) const;
  void line(std::string_view text);
  void count_line(std::string_view text);
  void ngram_line(std::string_view text);
  void open_section(std::string_view text);
  float log10_of(std::string_view text, std::string_view number, const char* name) const;

  std::int64_t bytes_;
  std::string begun_;        // a line whose end has not come yet
  std::int64_t number_ = 0;  // of the line
  Part part_ = Part::before;
  std::vector<std::int64_t> counts_;   // as the file says
  std::int32_t n_ = 0;                 // of the section
  std::vector<NgramBuilder> builder_;  // one, as soon as the order is known
};

}  // namespace fastseq
