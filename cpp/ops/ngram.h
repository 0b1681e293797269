// A back-off n-gram language model: log P(word | history), where the history is one number, its state.
//
// N is the order, V the number of words. A context is a sequence of 1 to N - 1 words that the model knows;
// they form a tree in which every context leads to its suffix, as in an Aho-Corasick automaton. A state is
// the longest suffix of the history that is a context and can matter to what follows: histories that no
// continuation tells apart have the same state.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace fastseq {

// Distinct words, numbered in the order in which they came.
class Vocabulary {
 public:
  std::int32_t size() const { return static_cast<std::int32_t>(ends_.size()); }
  std::int32_t find(std::string_view word) const;  // -1 where it is not there
  bool add(std::string_view word);                 // false where it is there already
  std::string_view operator[](std::int32_t word) const;

 private:
  struct Slot {
    std::uint32_t tag;  // of the hash: most other words are told apart without reading them
    std::int32_t word;  // -1: free
  };
  std::size_t slot_of(std::string_view word, std::uint64_t hash) const;
  void grow();

  std::string text_;               // all words, one after the other
  std::vector<std::size_t> ends_;  // in text_
  std::vector<Slot> slots_;        // open addressing, a power of two
};

// Immutable: any number of threads may ask. Numbers are kept as in the file, log10 in single precision.
class Ngram {
 public:
  using State = std::int32_t;  // in [0, states())

  State start() const { return start_; }  // after <s>; empty() where the model has no <s>
  State empty() const { return 0; }       // after nothing
  State states() const { return static_cast<State>(contexts_.size()); }

  // The natural logarithm of P(word | from), and the state after it. Any number that is no word's is a word
  // that a model without <unk> does not know: its probability is 1e-100, as in KenLM, times back-off weights.
  double step(State from, std::int32_t word, State& to) const;
  double finish(State from) const;  // of P(</s> | from); 0 where the model has no </s>

  std::int32_t index(std::string_view word) const;  // <unk>'s where it is not known; -1 without <unk>
  const Vocabulary& vocabulary() const { return vocabulary_; }
  std::int32_t order() const { return static_cast<std::int32_t>(sizes_.size()); }
  std::int64_t size(std::int32_t n) const { return sizes_[static_cast<std::size_t>(n - 1)]; }  // n-grams

 private:
  friend class NgramBuilder;

  struct Context {        // 0 is the empty one, 1 to V are the words, longer ones follow
    float backoff;        // log10
    std::int32_t packed;  // the state of its suffix, its bits turned over where no word is known after it

    bool is_extended() const { return packed >= 0; }
    State suffix() const { return packed < 0 ? ~packed : packed; }
  };
  struct Unigram {
    float log10_p;
    State to;
  };
  struct Entry {  // one n-gram of two words or more: a word after a context
    State from;   // -1: free
    std::int32_t word;
    float log10_p;  // absent: only longer n-grams that begin with it are in the file
    State to;
  };
  static constexpr float absent = 1;  // no logarithm of a probability

  std::size_t slot_of(State from, std::int32_t word) const;
  const Entry* find(State from, std::int32_t word) const;

  Vocabulary vocabulary_;
  std::vector<Unigram> unigrams_;
  std::vector<Context> contexts_;
  std::vector<Entry> entries_;  // open addressing by (from, word), never full
  std::vector<std::int64_t> sizes_;
  State start_ = 0;
  std::int32_t end_ = -1, unknown_ = -1;  // </s>, <unk>
};

// Takes the n-grams, shorter ones first, and makes the model.
class NgramBuilder {
 public:
  explicit NgramBuilder(std::int32_t order);

  // How many n-grams of two words or more may come: spares the table from growing. Not a limit.
  void reserve(std::int64_t ngrams);
  // Both return false where the n-gram is there already. Words of add() are indices of the vocabulary; a
  // prefix that is missing is put in as a context with no probability of its own.
  bool add_word(std::string_view word, float log10_p, float log10_backoff);
  bool add(const std::int32_t* words, std::int32_t n, float log10_p, float log10_backoff);
  const Vocabulary& vocabulary() const { return model_.vocabulary_; }
  std::int64_t size(std::int32_t n) const { return model_.size(n); }
  Ngram build() &&;

 private:
  using State = Ngram::State;
  using Entry = Ngram::Entry;
  struct Key {
    State from;
    std::int32_t word;
  };

  State new_context(State from, std::int32_t word, float log10_backoff);
  State prefix(State from, std::int32_t word);
  Entry& insert(State from, std::int32_t word);
  void resize(std::size_t slots);
  State suffix(State from, std::int32_t word) const;
  std::vector<State> by_length() const;

  Ngram model_;                       // until build(): `to` is the context itself, -1 for n-grams of N words
  std::vector<Key> keys_;             // of every context: the one it extends, and by which word
  std::vector<bool> extended_;        // contexts with a word after them
  std::vector<std::int32_t> prefix_;  // of the n-gram before: in most files many that follow share it
  State prefix_context_ = 0;
  std::size_t used_ = 0;  // entries
};

}  // namespace fastseq
