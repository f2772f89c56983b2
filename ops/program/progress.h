#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "ops/program/screen.h"

namespace sluice::ops {

// A progress bar on the screen, drawn at most ten times a second, and only where that is a
// terminal: otherwise nothing is printed. Messages meanwhile go through the screen. Not
// thread-safe.
class Progress {
 public:
  // `total` in units of Update(); 0 where it is not known: then only label and note are shown.
  // `screen` must outlive it.
  Progress(Screen& screen, std::string label, uint64_t total);
  // Clears the line.
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void Update(uint64_t done, std::string_view note);

 private:
  Screen& screen_;
  std::string label_;
  uint64_t total_;
  std::chrono::steady_clock::time_point start_;
  std::chrono::steady_clock::time_point drawn_;
};

// What Progress draws: fewer than `columns` columns, the bar shrinking first, then the note.
// `share` of the work is done (0 to 1; below 0: not known), `left` is the time that the rest takes.
[[nodiscard]] std::string ProgressLine(std::string_view label, double share, std::string_view note,
                                       std::chrono::seconds left, size_t columns);

}  // namespace sluice::ops
