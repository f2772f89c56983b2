#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

namespace sluice::ops {

// A progress bar on standard error, drawn at most ten times a second, and only where that is a
// terminal: otherwise nothing is printed. Not thread-safe.
class Progress {
 public:
  // `total` in units of Update(); 0 where it is not known: then only the count and rate are shown.
  Progress(std::string label, uint64_t total);
  // Clears the line.
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void Update(uint64_t done, std::string_view note);

 private:
  std::string label_;
  uint64_t total_;
  bool terminal_;
  std::chrono::steady_clock::time_point start_;
  std::chrono::steady_clock::time_point drawn_;
};

}  // namespace sluice::ops
