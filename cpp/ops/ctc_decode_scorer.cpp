#include "ops/ctc_decode_scorer.h"

#include <algorithm>

#include "base/checks.h"

namespace fastseq {
namespace {

constexpr double forbidden = -std::numeric_limits<double>::infinity();

std::string quoted(const std::string& text) { return "'" + text + "'"; }

void check_word(const char* function, const char* argument, const CtcScorerOptions& options,
                const std::string& word) {
  check_value(!word.empty(), function, argument, "be words of at least one letter", "''");
  check_value(
      options.delimiter.empty() || word.find(options.delimiter) == std::string::npos, function, argument,
      [&] { return "be words without the delimiter, " + quoted(options.delimiter); }, quoted(word));
}

// Letters, not bytes: in UTF-8 all bytes of a letter but its first begin with the bits 10.
bool begins_letter(char byte) { return (static_cast<unsigned char>(byte) & 0xc0) != 0x80; }

std::int32_t letters_of(const std::string& text) {
  return static_cast<std::int32_t>(std::count_if(text.begin(), text.end(), begins_letter));
}

}  // namespace

template <class Visit>
void WordTrie::add(std::string_view word, const Visit& visit) {
  std::int32_t place = 0, letters = 0;
  for (const char byte : word) {
    std::int32_t next = after(place, byte);
    if (next == none) {
      next = static_cast<std::int32_t>(complete_.size());
      complete_.push_back(false);
      next_.insert(place, static_cast<unsigned char>(byte), next);
    }
    place = next;
    letters += begins_letter(byte);
    visit(place, letters);
  }
  complete_[static_cast<std::size_t>(place)] = true;
}

CtcScorer::CtcScorer(const char* function, const CtcScorerOptions& options) : options_(options) {
  const std::string& delimiter = options.delimiter;
  for (const std::string& token : options.tokens) {
    const bool ends = !delimiter.empty() && token.compare(0, delimiter.size(), delimiter) == 0;
    Token made = {ends ? token.substr(delimiter.size()) : token, ends, -1, true};
    check_value(
        delimiter.empty() || made.text.find(delimiter) == std::string::npos, function, "tokens",
        [&] { return "have the delimiter, " + quoted(delimiter) + ", only at their beginning"; },
        quoted(token));
    if (options.language_model && options.by_token) {
      made.word = options.language_model->index(token);
      made.known = options.language_model->vocabulary().find(token) >= 0;
    }
    tokens_.push_back(std::move(made));
  }
  for (const std::string& word : options.words) {
    check_word(function, "words", options, word);
    words_.add(word, [](std::int32_t, std::int32_t) {});
  }
  double highest = 0;
  promised_ = boosts_ = {0};
  for (const auto& [word, boost] : options.hotwords) {
    check_word(function, "hotwords", options, word);
    highest = std::max(highest, boost);
    hotwords_.add(word, [&, boost = boost, all = letters_of(word)](std::int32_t place, std::int32_t letters) {
      promised_.resize(hotwords_.size());
      boosts_.resize(hotwords_.size());
      double& promised = promised_[static_cast<std::size_t>(place)];
      promised = std::max(promised, boost * letters / all);
      if (letters == all) boosts_[static_cast<std::size_t>(place)] = boost;
    });
  }
  most_gain_ = highest + std::max(options.token_bonus, 0.0) + std::max(options.word_bonus, 0.0);
}

CtcContext CtcScorer::start() const {
  CtcContext context;
  if (options_.language_model) context.state = options_.language_model->start();
  return context;
}

double CtcScorer::lm_step(Ngram::State from, std::int32_t word, bool known, Ngram::State& to) const {
  const double log_prob = options_.language_model->step(from, word, to);
  return options_.lm_weight * (known ? log_prob : log_prob + options_.unknown_score);
}

// The word that the prefix is in: its tokens back to the one that began it.
std::string CtcScorer::word_of(const PrefixTree& tree, std::int32_t prefix) const {
  std::vector<const Token*> pieces;
  for (; prefix != PrefixTree::root; prefix = tree[prefix].parent) {
    pieces.push_back(&tokens_[static_cast<std::size_t>(tree[prefix].token)]);
    if (pieces.back()->ends_word) break;
  }
  std::string word;
  for (auto piece = pieces.rbegin(); piece != pieces.rend(); ++piece) word += (*piece)->text;
  return word;
}

// Asked once of a prefix: it stays in the beam for many frames.
void CtcScorer::end_word(CtcContext& context, const PrefixTree& tree, std::int32_t prefix) const {
  if (context.knows_end) return;
  context.knows_end = true;
  context.end_state = context.state;
  context.end_gain = 0;
  if (context.length == 0) return;
  if (options_.closed && !words_.is_complete(context.word)) {
    context.end_gain = forbidden;
    return;
  }
  context.end_gain = options_.word_bonus;
  if (hotwords_.is_complete(context.hot)) context.end_gain += boosts_[static_cast<std::size_t>(context.hot)];
  if (!options_.language_model || options_.by_token) return;
  const std::string word = word_of(tree, prefix);
  const Ngram& model = *options_.language_model;
  context.end_gain +=
      lm_step(context.state, model.index(word), model.vocabulary().find(word) >= 0, context.end_state);
}

bool CtcScorer::extend(CtcContext& from, std::int32_t token, const PrefixTree& tree, std::int32_t prefix,
                       CtcContext& to) const {
  const Token& piece = tokens_[static_cast<std::size_t>(token)];
  if (piece.ends_word) {
    end_word(from, tree, prefix);
    if (from.end_gain == forbidden) return false;
    to = CtcContext();
    to.settled = from.settled + from.end_gain;
    to.state = from.end_state;
  } else {
    to = from;
    to.knows_end = false;
  }
  to.settled += options_.token_bonus;
  if (options_.language_model && options_.by_token)
    to.settled += lm_step(to.state, piece.word, piece.known, to.state);
  for (const char byte : piece.text) {
    if (options_.closed) {
      to.word = words_.after(to.word, byte);
      if (to.word == WordTrie::none) return false;
    }
    to.hot = hotwords_.after(to.hot, byte);
  }
  to.length += static_cast<std::int32_t>(piece.text.size());
  to.pending = to.hot == WordTrie::none ? 0 : promised_[static_cast<std::size_t>(to.hot)];
  return true;
}

double CtcScorer::finish(CtcContext context, const PrefixTree& tree, std::int32_t prefix) const {
  end_word(context, tree, prefix);
  if (context.end_gain == forbidden) return forbidden;
  double gain = context.end_gain - context.pending;
  if (options_.language_model)
    gain += options_.lm_weight * options_.language_model->finish(context.end_state);
  return gain;
}

}  // namespace fastseq
