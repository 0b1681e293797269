// What a language model, a list of words and hotwords add to the rank of a prefix, token by token.
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "ops/ctc_decode_prefixes.h"
#include "ops/ngram.h"
#include "ops/pair_table.h"

namespace fastseq {

struct CtcScorerOptions {
  std::vector<std::string> tokens;  // the text of each class
  std::string delimiter;            // a token that begins with it ends the word before
  std::shared_ptr<const Ngram> language_model;
  bool by_token = false;  // the model's words are tokens
  double lm_weight = 0, unknown_score = 0, token_bonus = 0, word_bonus = 0;
  std::vector<std::pair<std::string, double>> hotwords;
  bool closed = false;  // only these words may be
  std::vector<std::string> words;
};

// Words by their bytes, from the root, 0.
class WordTrie {
 public:
  static constexpr std::int32_t none = PairTable::none;

  WordTrie() : complete_(1, false) {}
  // Calls visit(place, letters so far) for every place on the way.
  template <class Visit>
  void add(std::string_view word, const Visit& visit);
  std::int32_t after(std::int32_t place, char byte) const {
    return place == none ? none : next_.find(place, static_cast<unsigned char>(byte));
  }
  bool is_complete(std::int32_t place) const {
    return place != none && complete_[static_cast<std::size_t>(place)];
  }
  std::size_t size() const { return complete_.size(); }

 private:
  PairTable next_;
  std::vector<bool> complete_;
};

// What a prefix has earned, and where it stands.
struct CtcContext {
  double settled = 0;  // of its tokens and complete words
  double pending = 0;  // of a hotword that has begun; taken back where it does not become one
  Ngram::State state = 0;
  std::int32_t length = 0;         // bytes of the word begun
  std::int32_t word = 0, hot = 0;  // its places among the words and the hotwords
  bool knows_end = false;          // what ending it adds has been asked for:
  Ngram::State end_state = 0;      // the model's state after it
  double end_gain = 0;             // -inf where it must not end

  double added() const { return settled + pending; }
};

class CtcScorer {
 public:
  // Throws std::invalid_argument where a text cannot be one of a token, a word or a hotword.
  CtcScorer(const char* function, const CtcScorerOptions& options);

  std::int64_t classes() const { return static_cast<std::int64_t>(tokens_.size()); }
  double most_gain() const { return most_gain_; }  // of any token after any prefix, at least 0
  CtcContext start() const;

  // `prefix` stands at `from`; false, and -inf, where the token must not follow.
  bool extend(CtcContext& from, std::int32_t token, const PrefixTree& tree, std::int32_t prefix,
              CtcContext& to) const;
  double added(CtcContext& from, std::int32_t token, const PrefixTree& tree, std::int32_t prefix) const {
    CtcContext to;
    return extend(from, token, tree, prefix, to) ? to.added() : -std::numeric_limits<double>::infinity();
  }

  // What the end adds to a prefix that stands at `context`; -inf where it must not end there.
  double finish(CtcContext context, const PrefixTree& tree, std::int32_t prefix) const;

 private:
  struct Token {
    std::string text;   // without the delimiter
    bool ends_word;     // the one before
    std::int32_t word;  // of the language model, by token
    bool known;
  };

  double lm_step(Ngram::State from, std::int32_t word, bool known, Ngram::State& to) const;
  void end_word(CtcContext& context, const PrefixTree& tree, std::int32_t prefix) const;
  std::string word_of(const PrefixTree& tree, std::int32_t prefix) const;

  CtcScorerOptions options_;
  std::vector<Token> tokens_;
  WordTrie words_, hotwords_;
  std::vector<double> promised_, boosts_;  // by place among the hotwords: on the way there, and of that word
  double most_gain_;
};

}  // namespace fastseq
