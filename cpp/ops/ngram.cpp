#include "ops/ngram.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <utility>

#include "base/checks.h"

namespace fastseq {
namespace {

constexpr double ln_10 = 2.302585092994045684;
constexpr double unknown_log10 = -100;  // KenLM's, for a word that a model without <unk> does not know

std::uint64_t mix(std::uint64_t x) {  // Stafford's variant 13 of MurmurHash3's finaliser
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

// Open addressing is at its best at two thirds: the slots for so many entries, one always free.
std::size_t slots_for(std::size_t entries) { return entries + entries / 2 + 2; }

}  // namespace

// --- Vocabulary ---

std::string_view Vocabulary::operator[](std::int32_t word) const {
  const auto i = static_cast<std::size_t>(word);
  const std::size_t begin = i == 0 ? 0 : ends_[i - 1];
  return std::string_view(text_).substr(begin, ends_[i] - begin);
}

// Where the word is, or where it would be put.
std::size_t Vocabulary::slot_of(std::string_view word, std::uint64_t hash) const {
  const std::size_t mask = slots_.size() - 1;
  const auto tag = static_cast<std::uint32_t>(hash >> 32);
  std::size_t i = hash & mask;
  while (slots_[i].word >= 0 && !(slots_[i].tag == tag && (*this)[slots_[i].word] == word))
    i = (i + 1) & mask;
  return i;
}

std::int32_t Vocabulary::find(std::string_view word) const {
  if (slots_.empty()) return -1;
  return slots_[slot_of(word, mix(std::hash<std::string_view>()(word)))].word;
}

bool Vocabulary::add(std::string_view word) {
  if (slots_.size() <= 2 * ends_.size()) grow();
  const std::uint64_t hash = mix(std::hash<std::string_view>()(word));
  Slot& slot = slots_[slot_of(word, hash)];
  if (slot.word >= 0) return false;
  slot = {static_cast<std::uint32_t>(hash >> 32), size()};
  text_ += word;
  ends_.push_back(text_.size());
  return true;
}

void Vocabulary::grow() {
  slots_.assign(std::max<std::size_t>(16, 2 * slots_.size()), Slot{0, -1});
  for (std::int32_t word = 0; word < size(); ++word) {
    const std::uint64_t hash = mix(std::hash<std::string_view>()((*this)[word]));
    slots_[slot_of((*this)[word], hash)] = {static_cast<std::uint32_t>(hash >> 32), word};
  }
}

// --- Ngram ---

std::size_t Ngram::slot_of(State from, std::int32_t word) const {
  const auto key =
      static_cast<std::uint64_t>(static_cast<std::uint32_t>(from)) << 32 | static_cast<std::uint32_t>(word);
  return static_cast<std::size_t>((mix(key) >> 32) * entries_.size() >> 32);
}

const Ngram::Entry* Ngram::find(State from, std::int32_t word) const {
  for (std::size_t i = slot_of(from, word);;) {
    const Entry& entry = entries_[i];
    if (entry.from == from && entry.word == word) return &entry;
    if (entry.from < 0) return nullptr;
    if (++i == entries_.size()) i = 0;
  }
}

// P(w | h) = p(h w) where the model has h w, else backoff(h) P(w | h without its first word).
// Katz (1987), https://doi.org/10.1109/TASSP.1987.1165125
double Ngram::step(State from, std::int32_t word, State& to) const {
  double log10_p = 0;
  const bool known = word >= 0 && word < vocabulary_.size();
  State reached = -1;
  for (State context = from; context > 0;) {
    const Context& at = contexts_[static_cast<std::size_t>(context)];
    if (const Entry* entry = known && at.is_extended() ? find(context, word) : nullptr) {
      if (reached < 0) reached = entry->to;
      if (entry->log10_p != absent) {
        to = reached;
        return ln_10 * (log10_p + static_cast<double>(entry->log10_p));
      }
    }
    log10_p += static_cast<double>(at.backoff);
    context = at.suffix();
  }
  if (!known) {
    to = 0;
    return ln_10 * (log10_p + unknown_log10);
  }
  const Unigram& unigram = unigrams_[static_cast<std::size_t>(word)];
  to = reached < 0 ? unigram.to : reached;
  return ln_10 * (log10_p + static_cast<double>(unigram.log10_p));
}

double Ngram::finish(State from) const {
  State ignored;
  return end_ < 0 ? 0 : step(from, end_, ignored);
}

std::int32_t Ngram::index(std::string_view word) const {
  const std::int32_t found = vocabulary_.find(word);
  return found < 0 ? unknown_ : found;
}

// --- NgramBuilder ---

NgramBuilder::NgramBuilder(std::int32_t order) {
  model_.sizes_.resize(static_cast<std::size_t>(order));
  resize(slots_for(0));
  new_context(0, -1, 0);
}

void NgramBuilder::reserve(std::int64_t ngrams) { resize(slots_for(static_cast<std::size_t>(ngrams))); }

void NgramBuilder::resize(std::size_t slots) {
  std::vector<Entry> old(slots, Entry{-1, -1, Ngram::absent, -1});
  old.swap(model_.entries_);
  used_ = 0;
  for (const Entry& entry : old)
    if (entry.from >= 0) insert(entry.from, entry.word) = entry;
}

// The entry, put in.
NgramBuilder::Entry& NgramBuilder::insert(State from, std::int32_t word) {
  if (slots_for(used_ + 1) > model_.entries_.size()) resize(slots_for(2 * used_ + 8));
  std::vector<Entry>& entries = model_.entries_;
  std::size_t i = model_.slot_of(from, word);
  while (entries[i].from >= 0)
    if (++i == entries.size()) i = 0;
  ++used_;
  entries[i] = {from, word, Ngram::absent, -1};
  return entries[i];
}

NgramBuilder::State NgramBuilder::new_context(State from, std::int32_t word, float log10_backoff) {
  const std::size_t count = model_.contexts_.size();
  check_runtime(count < std::numeric_limits<State>::max(), "NgramModel", "file",
                "have fewer than 2147483647 contexts", "more");
  model_.contexts_.push_back({log10_backoff, 0});
  keys_.push_back({from, word});
  extended_.push_back(false);
  return static_cast<State>(count);
}

bool NgramBuilder::add_word(std::string_view word, float log10_p, float log10_backoff) {
  if (!model_.vocabulary_.add(word)) return false;
  State context = 0;
  if (model_.order() > 1) context = new_context(0, vocabulary().size() - 1, log10_backoff);
  model_.unigrams_.push_back({log10_p, context});
  ++model_.sizes_[0];
  return true;
}

// The context that `word` after `from` is, put in where it is missing.
NgramBuilder::State NgramBuilder::prefix(State from, std::int32_t word) {
  if (from == 0) return word + 1;
  if (const Entry* entry = model_.find(from, word)) return entry->to;
  extended_[static_cast<std::size_t>(from)] = true;
  const State context = new_context(from, word, 0);
  insert(from, word).to = context;
  return context;
}

bool NgramBuilder::add(const std::int32_t* words, std::int32_t n, float log10_p, float log10_backoff) {
  const std::int32_t* const last = words + n - 1;
  if (!std::equal(words, last, prefix_.begin(), prefix_.end())) {
    prefix_.assign(words, last);
    prefix_context_ = 0;
    for (const std::int32_t each : prefix_) prefix_context_ = prefix(prefix_context_, each);
  }
  const State from = prefix_context_;
  const std::int32_t word = *last;
  if (model_.find(from, word)) return false;
  extended_[static_cast<std::size_t>(from)] = true;
  const State context = n < model_.order() ? new_context(from, word, log10_backoff) : -1;
  Entry& entry = insert(from, word);
  entry.log10_p = log10_p;
  entry.to = context;
  ++model_.sizes_[static_cast<std::size_t>(n - 1)];
  return true;
}

// The longest context that `word` after `from` ends with, itself left out. Needs the suffixes of shorter
// ones.
NgramBuilder::State NgramBuilder::suffix(State from, std::int32_t word) const {
  while ((from = model_.contexts_[static_cast<std::size_t>(from)].suffix()) > 0)
    if (const Entry* entry = model_.find(from, word)) return entry->to;
  return word + 1;
}

// All contexts, shorter ones first.
std::vector<NgramBuilder::State> NgramBuilder::by_length() const {
  std::vector<std::uint8_t> lengths(keys_.size(), 0);  // the order is at most 64
  std::vector<std::size_t> begins(static_cast<std::size_t>(model_.order()) + 1, 0);
  for (std::size_t i = 1; i < keys_.size(); ++i) {  // what a context extends came before it
    lengths[i] = static_cast<std::uint8_t>(lengths[static_cast<std::size_t>(keys_[i].from)] + 1);
    ++begins[lengths[i]];
  }
  std::size_t at = 1;
  for (std::size_t& begin : begins) at += std::exchange(begin, at);
  std::vector<State> sorted(keys_.size(), 0);
  for (std::size_t i = 1; i < keys_.size(); ++i) sorted[begins[lengths[i]]++] = static_cast<State>(i);
  return sorted;
}

Ngram NgramBuilder::build() && {
  std::vector<Ngram::Context>& contexts = model_.contexts_;
  std::vector<State> state(contexts.size(), 0);  // of a history that ends with this context
  for (const State context : by_length()) {
    if (context == 0) continue;
    const auto i = static_cast<std::size_t>(context);
    const Key key = keys_[i];
    contexts[i].packed = key.from == 0 ? 0 : suffix(key.from, key.word);
    const bool matters = extended_[i] || contexts[i].backoff != 0;
    state[i] = matters ? context : state[static_cast<std::size_t>(contexts[i].suffix())];
  }
  const auto to_state = [&](State& context) { context = state[static_cast<std::size_t>(context)]; };
  for (Entry& entry : model_.entries_)
    if (entry.from >= 0 && entry.to < 0) entry.to = suffix(entry.from, entry.word);
  for (Entry& entry : model_.entries_)
    if (entry.from >= 0) to_state(entry.to);
  for (std::size_t i = 0; i < contexts.size(); ++i) {
    to_state(contexts[i].packed);
    if (!extended_[i]) contexts[i].packed = ~contexts[i].packed;
  }
  for (Ngram::Unigram& unigram : model_.unigrams_) to_state(unigram.to);

  const std::int32_t begin = vocabulary().find("<s>");
  if (begin >= 0) model_.start_ = model_.unigrams_[static_cast<std::size_t>(begin)].to;
  model_.end_ = vocabulary().find("</s>");
  model_.unknown_ = vocabulary().find("<unk>");
  if (model_.unknown_ < 0) model_.unknown_ = vocabulary().find("<UNK>");

  if (model_.entries_.size() > slots_for(used_ + used_ / 8)) resize(slots_for(used_));
  contexts.shrink_to_fit();
  model_.unigrams_.shrink_to_fit();
  return std::move(model_);
}

}  // namespace fastseq
