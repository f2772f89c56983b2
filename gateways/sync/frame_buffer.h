#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "schemas/release.h"

namespace sluice::gateways {

// Frames on their way to a client: text, and amid it operations that other sessions send, too.
// Not thread-safe.
class FrameBuffer {
 public:
  std::string& text() { return text_; }  // only to append to
  void Add(std::shared_ptr<const std::string> ops) {
    if (ops->size() < kCopiedBytes) {
      text_ += *ops;  // less than another write costs
      return;
    }
    shared_bytes_ += ops->size();
    shared_.emplace_back(text_.size(), std::move(ops));
  }

  size_t size() const { return text_.size() + shared_bytes_; }
  bool empty() const { return size() == 0; }
  // All of it, in order; valid until anything else is called.
  [[nodiscard]] std::vector<std::string_view> Parts() const {
    std::vector<std::string_view> parts;
    size_t at = 0;
    for (const auto& [before, ops] : shared_) {
      parts.push_back(std::string_view(text_).substr(at, before - at));
      parts.push_back(*ops);
      at = before;
    }
    parts.push_back(std::string_view(text_).substr(at));
    return parts;
  }
  void Clear() {
    text_.clear();
    shared_.clear();
    shared_bytes_ = 0;
  }
  // Empties it and lets go of its memory.
  void LetGo() {
    Clear();
    Release(&text_);
    shared_ = {};
  }

 private:
  static constexpr size_t kCopiedBytes = size_t{16} << 10;

  std::string text_;
  std::vector<std::pair<size_t, std::shared_ptr<const std::string>>> shared_;  // and where in it
  size_t shared_bytes_ = 0;
};

}  // namespace sluice::gateways
