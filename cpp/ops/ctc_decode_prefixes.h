// The prefixes of a beam as a tree, and where their tokens start: both forget what no prefix needs any more,
// so that memory follows the width of the beam and not the number of frames.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "ops/pair_table.h"

namespace fastseq {

class PrefixTree {
 public:
  static constexpr std::int32_t none = -1;
  static constexpr std::int32_t root = 0;  // the empty prefix; always there

  struct Node {
    std::int32_t parent, token;  // none: the root, or forgotten
    std::int32_t children;       // that are in the tree
    std::int32_t place;          // in the beam, or none
  };

  PrefixTree() : nodes_{{none, none, 0, none}} {}

  const Node& operator[](std::int32_t prefix) const { return nodes_[static_cast<std::size_t>(prefix)]; }
  void set_place(std::int32_t prefix, std::int32_t place) { at(prefix).place = place; }

  // The prefix with one token more, made where it is not there. One that has left the beam is there as long
  // as a longer one is: so no prefix is ever there twice.
  std::int32_t child(std::int32_t prefix, std::int32_t token) {
    std::int32_t found = at(prefix).children == 0 ? none : table_.find(prefix, token);
    if (found != none) return found;
    const Node fresh = {prefix, token, 0, none};
    if (free_.empty()) {
      found = static_cast<std::int32_t>(nodes_.size());
      nodes_.push_back(fresh);
    } else {
      found = free_.back();
      free_.pop_back();
      at(found) = fresh;
    }
    table_.insert(prefix, token, found);
    ++at(prefix).children;
    return found;
  }

  // It has left the beam: forgets it, and all before it that only led to it.
  void release(std::int32_t prefix) {
    while (at(prefix).parent != none && at(prefix).children == 0 && at(prefix).place == none) {
      const std::int32_t parent = at(prefix).parent;
      table_.erase(parent, at(prefix).token);
      at(prefix).parent = none;
      free_.push_back(prefix);
      --at(parent).children;
      prefix = parent;
    }
  }

  std::size_t size() const { return nodes_.size() - free_.size(); }

 private:
  Node& at(std::int32_t prefix) { return nodes_[static_cast<std::size_t>(prefix)]; }

  std::vector<Node> nodes_;
  std::vector<std::int32_t> free_;
  PairTable table_;  // (prefix, token) -> the prefix with it
};

// Frames in which the tokens of an alignment start, as chains from the last to the first.
class TokenStarts {
 public:
  static constexpr std::int32_t none = -1;

  struct Start {
    std::int32_t frame, before;
  };

  const Start& operator[](std::int32_t start) const { return starts_[static_cast<std::size_t>(start)]; }

  std::int32_t add(std::int32_t frame, std::int32_t before) {
    starts_.push_back({frame, before});
    return static_cast<std::int32_t>(starts_.size()) - 1;
  }

  // Whether it is time to forget.
  bool full() const { return starts_.size() > 2 * kept_ + 4096; }

  // Forgets all chains but those that end in one of `ends`, and renumbers these. A start lies behind the one
  // before it, so one sweep does.
  void keep(std::vector<std::vector<std::int32_t>*> ends) {
    std::vector<std::int32_t> to(starts_.size(), none);
    for (const std::vector<std::int32_t>* list : ends)
      for (std::int32_t end : *list)
        for (; end != none && to[static_cast<std::size_t>(end)] == none; end = (*this)[end].before)
          to[static_cast<std::size_t>(end)] = end;
    const auto moved = [&](std::int32_t start) {
      return start == none ? none : to[static_cast<std::size_t>(start)];
    };
    kept_ = 0;
    for (std::size_t i = 0; i < starts_.size(); ++i) {
      if (to[i] == none) continue;
      to[i] = static_cast<std::int32_t>(kept_);
      starts_[kept_++] = {starts_[i].frame, moved(starts_[i].before)};
    }
    starts_.resize(kept_);
    for (std::vector<std::int32_t>* list : ends)
      for (std::int32_t& end : *list) end = moved(end);
  }

 private:
  std::vector<Start> starts_;
  std::size_t kept_ = 0;  // when last asked to forget
};

}  // namespace fastseq
