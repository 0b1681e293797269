#include "ops/arpa.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <utility>

#include "base/checks.h"

namespace fastseq {
namespace {

constexpr std::int32_t highest_order = 64;
constexpr std::size_t longest_line = 65536;  // bytes
constexpr std::size_t shown = 48;            // bytes of a line in an error's text
constexpr float no_probability = -99;        // how SRILM, and so everyone, writes log10(0)

bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\r'; }

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && is_blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_blank(text.back())) text.remove_suffix(1);
  return text;
}

// The next field of a line, which is left with what follows it; empty at its end.
std::string_view next_field(std::string_view& line) {
  line = trimmed(line);
  std::size_t size = 0;
  while (size < line.size() && !is_blank(line[size])) ++size;
  const std::string_view field = line.substr(0, size);
  line.remove_prefix(size);
  return field;
}

// Bytes of the character of UTF-8 that the text begins with; 0 where it begins with none (Unicode, table
// 3-7).
std::size_t character(std::string_view text) {
  const auto at = [&](std::size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u; };
  const unsigned lead = at(0), second = at(1);
  if (text.empty() || lead < 0x80) return text.empty() ? 0 : 1;
  const std::size_t size = lead < 0xc2 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : lead < 0xf5 ? 4 : 0;
  for (std::size_t i = 1; i < size; ++i)
    if ((at(i) & 0xc0) != 0x80) return 0;
  const bool overlong = (lead == 0xe0 && second < 0xa0) || (lead == 0xf0 && second < 0x90);
  const bool beyond = (lead == 0xed && second >= 0xa0) || (lead == 0xf4 && second >= 0x90);
  return overlong || beyond ? 0 : size;
}

bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    const std::size_t size = character(text);
    if (size == 0) return false;
    text.remove_prefix(size);
  }
  return true;
}

// In quotes; bytes that are no characters, or that would not show, as \x and two digits; no more than
// `shown`.
std::string quoted(std::string_view text) {
  std::string out = "'";
  while (!text.empty() && out.size() <= shown) {
    const std::size_t size = character(text);
    const auto byte = static_cast<unsigned char>(text[0]);
    if (size > 1 || (size == 1 && byte >= 0x20 && byte != 0x7f)) {
      out += text.substr(0, size);
    } else if (byte == '\t') {
      out += "\\t";
    } else {
      constexpr char digits[] = "0123456789abcdef";
      out += {'\\', 'x', digits[byte >> 4], digits[byte & 15]};
    }
    text.remove_prefix(std::max<std::size_t>(size, 1));
  }
  return out + (text.empty() ? "'" : "...'");
}

// A whole number of no more than 18 digits, taken off the text's front; -1 where there is none.
std::int64_t take_whole(std::string_view& text) {
  text = trimmed(text);
  std::int64_t value = 0;
  std::size_t size = 0;
  for (; size < text.size() && text[size] >= '0' && text[size] <= '9'; ++size) {
    if (size == 18) return -1;
    value = 10 * value + (text[size] - '0');
  }
  text = trimmed(text.substr(size));
  return size == 0 ? -1 : value;
}

double power_of_ten(int exponent) {
  constexpr double exact[] = {1,    1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                              1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
  return exponent <= 22 ? exact[exponent] : std::pow(10.0, std::min(exponent, 300));
}

// A decimal number: strtod would ask the locale what a decimal point is, and from_chars of floating-point
// numbers is not everywhere yet. Right to a rounding or two in double, of which single precision is kept.
bool parse_number(std::string_view text, double& value) {
  const bool negative = !text.empty() && text[0] == '-';
  if (!text.empty() && (text[0] == '-' || text[0] == '+')) text.remove_prefix(1);
  if (text == "inf" || text == "Inf" || text == "INF" || text == "infinity") {
    value = negative ? -std::numeric_limits<double>::infinity() : std::numeric_limits<double>::infinity();
    return true;
  }
  std::uint64_t digits = 0;
  int exponent = 0, seen = 0;
  bool point = false;
  for (; !text.empty(); text.remove_prefix(1)) {
    if (text[0] == '.' && !point) {
      point = true;
    } else if (text[0] >= '0' && text[0] <= '9') {
      const bool fits = digits < 100'000'000'000'000'000u;
      if (fits) digits = 10 * digits + static_cast<unsigned>(text[0] - '0');
      exponent += (fits ? 0 : 1) - (point ? 1 : 0);
      ++seen;
    } else {
      break;
    }
  }
  if (seen == 0) return false;
  if (!text.empty()) {
    if (text[0] != 'e' && text[0] != 'E') return false;
    text.remove_prefix(1);
    const bool down = !text.empty() && text[0] == '-';
    if (!text.empty() && (text[0] == '-' || text[0] == '+')) text.remove_prefix(1);
    if (text.empty() || text.size() > 4) return false;
    int given = 0;
    for (const char c : text) {
      if (c < '0' || c > '9') return false;
      given = 10 * given + (c - '0');
    }
    exponent += down ? -given : given;
  }
  const auto whole = static_cast<double>(digits);
  // Beyond 10^300 either way single precision has long ended.
  const double scaled = exponent < 0 ? whole / power_of_ten(-exponent) : whole * power_of_ten(exponent);
  value = negative ? -scaled : scaled;
  return true;
}

std::string section_name(std::int32_t n, std::size_t order) {
  return n > static_cast<std::int32_t>(order) ? "\\end\\" : "\\" + std::to_string(n) + "-grams:";
}

}  // namespace

template <class Rule>
void ArpaReader::refuse(const Rule& rule, std::string_view got) const {
  const std::string line = std::to_string(std::max<std::int64_t>(number_, 1));
  throw std::invalid_argument(
      check_text("NgramModel", "file", to_text(rule), std::string(got) + " at line " + line));
}

bool ArpaReader::feed(std::string_view piece) {
  while (part_ != Part::done && !piece.empty()) {
    const std::size_t size = std::min(piece.find('\n'), piece.size());
    const bool ends = size < piece.size();
    if (begun_.size() + size > longest_line) {
      ++number_;
      refuse("have lines of at most 65536 bytes", "a longer one");
    }
    if (begun_.empty() && ends) {
      line(piece.substr(0, size));
    } else {
      begun_ += piece.substr(0, size);
      if (ends) line(std::exchange(begun_, {}));
    }
    piece.remove_prefix(ends ? size + 1 : size);
  }
  return part_ == Part::done;
}

Ngram ArpaReader::finish() {
  if (part_ != Part::done && !begun_.empty()) line(std::exchange(begun_, {}));
  if (part_ == Part::before) refuse("have a line \\data\\", "its end");
  if (part_ != Part::done) refuse("end with \\end\\", "its end");
  Ngram model = std::move(builder_.front()).build();
  builder_.clear();
  part_ = Part::before;
  return model;
}

void ArpaReader::line(std::string_view text) {
  ++number_;
  if (number_ == 1 && text.substr(0, 3) == "\xef\xbb\xbf") text.remove_prefix(3);
  text = trimmed(text);
  if (part_ == Part::before) {
    if (text == "\\data\\") part_ = Part::counts;
  } else if (text.empty()) {
    return;
  } else if (text[0] == '\\') {
    open_section(text);
  } else if (part_ == Part::counts) {
    count_line(text);
  } else {
    ngram_line(text);
  }
}

// ngram 2=1234
void ArpaReader::count_line(std::string_view text) {
  std::string_view rest = text;
  const bool begins = next_field(rest) == "ngram";
  const std::int64_t n = begins ? take_whole(rest) : -1;
  const bool assigns = !rest.empty() && rest[0] == '=';
  if (assigns) rest.remove_prefix(1);
  const std::int64_t count = assigns ? take_whole(rest) : -1;
  const auto next = static_cast<std::int64_t>(counts_.size()) + 1;
  if (n != next || count < 0 || !rest.empty())
    refuse([&] { return "have 'ngram " + std::to_string(next) + "=' and a count, or \\1-grams:"; },
           quoted(text));
  if (n > highest_order) refuse("be of an order of at most 64", "a higher one");
  if (count > std::numeric_limits<std::int32_t>::max())
    refuse("hold at most 2147483647 n-grams of one order", std::to_string(count));
  counts_.push_back(count);
}

// \2-grams: or \end\, after checking what came before it.
void ArpaReader::open_section(std::string_view text) {
  if (part_ == Part::counts && counts_.empty())
    refuse("have 'ngram 1=' and a count after \\data\\", quoted(text));
  const std::string expected = section_name(n_ + 1, counts_.size());
  if (text != expected) refuse([&] { return "have " + expected + " next"; }, quoted(text));
  if (n_ == 0) {
    part_ = Part::ngrams;
    builder_.emplace_back(static_cast<std::int32_t>(counts_.size()));
    // A line of two words takes six bytes or more.
    std::int64_t total = 0;
    for (std::size_t i = 1; i < counts_.size(); ++i) total += counts_[i];
    builder_.front().reserve(std::min(total, bytes_ / 6));
  } else {
    const std::int64_t wanted = counts_[static_cast<std::size_t>(n_ - 1)];
    const std::int64_t there = builder_.front().size(n_);
    if (there != wanted)
      refuse(
          [&] {
            return "hold as many " + std::to_string(n_) + "-grams as it says, " + std::to_string(wanted);
          },
          std::to_string(there));
  }
  if (++n_ > static_cast<std::int32_t>(counts_.size())) part_ = Part::done;
}

// The number, with SRILM's -99 for log10(0).
float ArpaReader::log10_of(std::string_view text, std::string_view number, const char* name) const {
  double value;
  if (!parse_number(number, value))
    refuse([&] { return std::string("have a number as ") + name; }, quoted(text));
  if (value == -std::numeric_limits<double>::infinity()) return no_probability;
  if (!(std::abs(value) <= 1e30)) refuse([&] { return std::string("have a finite ") + name; }, quoted(text));
  return static_cast<float>(value);
}

// -1.5 some words -0.3
void ArpaReader::ngram_line(std::string_view text) {
  NgramBuilder& builder = builder_.front();
  const auto kind = [&] { return std::to_string(n_) + "-grams"; };
  if (builder.size(n_) == counts_[static_cast<std::size_t>(n_ - 1)])
    refuse([&] { return "hold as many " + kind() + " as it says, " + std::to_string(builder.size(n_)); },
           "more");
  std::string_view rest = text;
  const float log10_p = log10_of(text, next_field(rest), "log10 probability");
  if (log10_p > 0) refuse("have log10 probabilities of at most 0", quoted(text));

  std::int32_t words[highest_order];
  std::string_view word;
  for (std::int32_t k = 0; k < n_; ++k) {
    word = next_field(rest);
    if (word.empty())
      refuse([&] { return "have as many words in a line as its section says, " + std::to_string(n_); },
             quoted(text));
    words[k] = n_ == 1 ? 0 : builder.vocabulary().find(word);
    if (words[k] < 0)
      refuse([&] { return "have every word of its " + kind() + " among its 1-grams"; }, quoted(word));
  }
  float log10_backoff = 0;
  if (const std::string_view last = next_field(rest); !last.empty())
    log10_backoff = log10_of(text, last, "back-off weight");
  if (!trimmed(rest).empty())
    refuse("have no more in a line than a log10 probability, its words and a back-off weight", quoted(text));
  if (n_ == static_cast<std::int32_t>(counts_.size()) && log10_backoff != 0)
    refuse([&] { return "have no back-off weights in its " + kind() + ", the last"; }, quoted(text));
  if (n_ == 1 && !is_utf8(word)) refuse("be text in UTF-8", quoted(word));
  const bool fresh = n_ == 1 ? builder.add_word(word, log10_p, log10_backoff)
                             : builder.add(words, n_, log10_p, log10_backoff);
  if (!fresh) refuse("hold each n-gram once", quoted(text) + " again");
}

}  // namespace fastseq
