#pragma once

#include <cstddef>
#include <cstdio>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

namespace spdlog::sinks {
class sink;
}

namespace sluice::ops {

// Standard error as a person sees it: messages on lines of their own, and below them at most one
// line that is drawn over itself, such as a progress bar. A message never writes into that line.
// Thread-safe.
class Screen {
 public:
  // Draws the line below only where standard error is a terminal.
  Screen();
  // For tests: `out` must outlive it.
  Screen(std::FILE* out, bool terminal);
  // Clears the line below.
  ~Screen();
  Screen(const Screen&) = delete;
  Screen& operator=(const Screen&) = delete;

  // One line; control characters in it are shown as escapes (printable.h).
  void Say(std::string_view message);

  // Draws `line`, which should be shorter than columns(); empty: takes it away.
  void Draw(std::string line);

  [[nodiscard]] bool terminal() const { return terminal_; }
  // Of the terminal as it is now; 80 where it does not tell.
  [[nodiscard]] size_t columns() const;

 private:
  std::FILE* out_;
  const bool terminal_;
  std::mutex mutex_;
  std::string drawn_;  // guarded by mutex_
};

// Where the program's log goes: each entry is said on `screen`.
[[nodiscard]] std::shared_ptr<spdlog::sinks::sink> LogTo(std::shared_ptr<Screen> screen);

}  // namespace sluice::ops
