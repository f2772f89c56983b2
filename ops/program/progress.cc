#include "ops/program/progress.h"

#include <fmt/format.h>

#include <algorithm>

#include "schemas/base/printable.h"

namespace sluice::ops {
namespace {

constexpr size_t kBarMax = 30;
constexpr size_t kBarMin = 5;

std::string FormatLeft(std::chrono::seconds left) {
  const auto seconds = left.count();
  if (seconds < 100) {
    return fmt::format("{} s left", seconds);
  }
  if (seconds < 100 * 60) {
    return fmt::format("{} min left", seconds / 60);
  }
  return seconds < 100 * 3600 ? fmt::format("{} h left", seconds / 3600) : "days left";
}

// As much of `text` as takes fewer columns than `columns`.
std::string Cut(std::string text, size_t columns) {
  while (!text.empty() && DisplayWidth(text) >= columns) {
    // A whole character: its last byte, and what leads to it.
    while (text.size() > 1 && (static_cast<unsigned char>(text.back()) & 0xC0U) == 0x80U) {
      text.pop_back();
    }
    text.pop_back();
  }
  return text;
}

}  // namespace

std::string ProgressLine(std::string_view label, double share, std::string_view note,
                         std::chrono::seconds left, size_t columns) {
  const std::string shown_note = Printable(note);
  if (share < 0) {
    return Cut(fmt::format("{}  {}", label, shown_note), columns);
  }
  share = std::min(1.0, share);
  const std::string tail =
      fmt::format("{:3.0f}%  {}  {}", share * 100, shown_note, FormatLeft(left));
  // The label, two blanks, the brackets, a blank, and the last column, in which a terminal may
  // wrap.
  const size_t taken = DisplayWidth(label) + DisplayWidth(tail) + 6;
  const size_t bar = std::min(kBarMax, columns - std::min(columns, taken));
  if (bar < kBarMin) {
    return Cut(fmt::format("{} {}", label, tail), columns);
  }
  const auto filled = static_cast<size_t>(share * static_cast<double>(bar));
  return fmt::format("{}  [{:=<{}}{: <{}}] {}", label, "", filled, "", bar - filled, tail);
}

Progress::Progress(Screen& screen, std::string label, uint64_t total)
    : screen_(screen),
      label_(std::move(label)),
      total_(total),
      start_(std::chrono::steady_clock::now()) {}

Progress::~Progress() { screen_.Draw(""); }

void Progress::Update(uint64_t done, std::string_view note) {
  const auto now = std::chrono::steady_clock::now();
  if (!screen_.terminal() || now - drawn_ < std::chrono::milliseconds(100)) {
    return;
  }
  drawn_ = now;
  const double share =
      total_ == 0 ? -1 : std::min(1.0, static_cast<double>(done) / static_cast<double>(total_));
  const double elapsed = std::chrono::duration<double>(now - start_).count();
  constexpr double kLongest = 1e9;  // seconds
  const double left = share > 0 ? std::min(kLongest, elapsed * (1 - share) / share) : 0;
  screen_.Draw(ProgressLine(label_, share, note, std::chrono::seconds(static_cast<int64_t>(left)),
                            screen_.columns()));
}

}  // namespace sluice::ops
