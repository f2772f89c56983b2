#include "ops/program/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

namespace sluice::ops {

Progress::Progress(std::string label, uint64_t total)
    : label_(std::move(label)),
      total_(total),
      terminal_(isatty(STDERR_FILENO) == 1),
      start_(std::chrono::steady_clock::now()) {}

Progress::~Progress() {
  if (terminal_) {
    fmt::print(stderr, "\r\033[K");
  }
}

void Progress::Update(uint64_t done, std::string_view note) {
  const auto now = std::chrono::steady_clock::now();
  if (!terminal_ || now - drawn_ < std::chrono::milliseconds(100)) {
    return;
  }
  drawn_ = now;
  if (total_ == 0) {
    fmt::print(stderr, "\r\033[K{}  {}", label_, note);
    std::fflush(stderr);
    return;
  }
  constexpr size_t kWidth = 30;
  const double share = std::min(1.0, static_cast<double>(done) / static_cast<double>(total_));
  const auto filled = static_cast<size_t>(share * kWidth);
  const double elapsed = std::chrono::duration<double>(now - start_).count();
  const double left = share > 0 ? elapsed * (1 - share) / share : 0;
  fmt::print(stderr, "\r\033[K{}  [{:=<{}}{: <{}}] {:3.0f}%  {}  {:.0f} s left", label_, "", filled,
             "", kWidth - filled, share * 100, note, left);
  std::fflush(stderr);
}

}  // namespace sluice::ops
