#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

namespace sluice::gateways {

// A secret in memory, such as a password or a key. It can be moved, not copied; Reveal() is the one
// way out, so that a reader finds every place that uses one; and its bytes are overwritten when it
// goes. Nothing prints it: it has no operator<< and no formatter. Not thread-safe, as a string.
class SecretText {
 public:
  SecretText() = default;
  // Takes the secret out of `text`, which is overwritten.
  explicit SecretText(std::string&& text);

  // What it holds, for as long as this lives.
  [[nodiscard]] std::string_view Reveal() const;
  [[nodiscard]] bool empty() const { return Reveal().empty(); }

 private:
  struct Wipe {
    size_t size;
    void operator()(char* bytes) const;
  };
  // Not a string: a short one lies within the object, so that moving it leaves the bytes behind.
  std::unique_ptr<char[], Wipe> bytes_;
};

}  // namespace sluice::gateways
