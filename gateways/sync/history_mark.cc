#include "gateways/sync/history_mark.h"

#include <fmt/format.h>

#include <charconv>

namespace sluice::gateways {
namespace {

constexpr std::string_view kVersion = "1.";

}  // namespace

std::string HistoryMark::Text() const {
  return fmt::format("{}{}.{:016x}", kVersion, position.value(), hash);
}

std::optional<HistoryMark> HistoryMark::Parse(std::string_view text) {
  const size_t dot = text.rfind('.');
  if (!text.starts_with(kVersion) || dot < kVersion.size()) {
    return std::nullopt;
  }
  HistoryMark mark;
  int64_t position = 0;
  (void)std::from_chars(text.data() + kVersion.size(), text.data() + dot, position);
  (void)std::from_chars(text.data() + dot + 1, text.data() + text.size(), mark.hash, 16);
  mark.position = Offset(position);
  return position >= 0 && mark.Text() == text ? std::optional(mark) : std::nullopt;
}

}  // namespace sluice::gateways
