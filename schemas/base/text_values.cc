#include "schemas/base/text_values.h"

#include <fmt/format.h>

#include <charconv>
#include <limits>
#include <span>

#include "schemas/base/status.h"

namespace sluice {
namespace {

struct Unit {
  std::string_view suffix;
  int64_t factor;
};

absl::Status Malformed(std::string_view what, std::string_view text, std::string_view example) {
  return Invalid("invalid_argument", "\"{}\" is not {}: write {}", text.substr(0, 40), what,
                 example);
}

// The number before one of `units`, times its factor; -1 where malformed or out of range.
int64_t ParseWithUnit(std::string_view text, std::span<const Unit> units) {
  int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || number < 0) {
    return -1;
  }
  const std::string_view suffix = text.substr(static_cast<size_t>(end - text.data()));
  for (const Unit& unit : units) {
    if (suffix == unit.suffix) {
      return number > std::numeric_limits<int64_t>::max() / unit.factor ? -1 : number * unit.factor;
    }
  }
  return -1;
}

constexpr Unit kDurations[] = {
    {"ms", 1}, {"s", 1'000}, {"m", 60'000}, {"h", 3'600'000}, {"d", 86'400'000}};
constexpr Unit kSizes[] = {{"", 1}, {"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}};

}  // namespace

absl::StatusOr<std::chrono::milliseconds> ParseDuration(std::string_view text) {
  const int64_t ms = ParseWithUnit(text, kDurations);
  if (ms < 0) {
    return Malformed("a duration", text, "a whole number with ms, s, m, h or d, such as 20s");
  }
  return std::chrono::milliseconds(ms);
}

std::string FormatDuration(std::chrono::milliseconds duration) {
  const int64_t ms = duration.count();
  for (size_t i = std::size(kDurations); i-- > 0;) {
    if (ms != 0 && ms % kDurations[i].factor == 0) {
      return fmt::format("{}{}", ms / kDurations[i].factor, kDurations[i].suffix);
    }
  }
  return fmt::format("{}ms", ms);
}

absl::StatusOr<int64_t> ParseInt64(std::string_view text) {
  int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) {
    return Malformed("a whole number of 64 bits", text, "digits, such as 1000");
  }
  return number;
}

absl::StatusOr<int64_t> ParseBytes(std::string_view text) {
  const int64_t bytes = ParseWithUnit(text, kSizes);
  if (bytes < 0) {
    return Malformed("a size", text,
                     "bytes, or a whole number with KiB, MiB or GiB, such as 64MiB");
  }
  return bytes;
}

absl::StatusOr<ListenAddress> ParseListenAddress(std::string_view text) {
  const size_t colon = text.rfind(':');
  std::string_view host = text.substr(0, colon);
  const std::string_view digits =
      colon == std::string_view::npos ? std::string_view() : text.substr(colon + 1);
  uint16_t port = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
  const bool bracketed = host.size() >= 2 && host.front() == '[' && host.back() == ']';
  if (bracketed) {
    host = host.substr(1, host.size() - 2);
  }
  // "::1" without brackets could be an address without a port.
  const bool ambiguous = !bracketed && host.find(':') != std::string_view::npos;
  if (host.empty() || ambiguous || error != std::errc() || end != digits.data() + digits.size()) {
    return Malformed("an address to listen on", text,
                     "HOST:PORT, such as 127.0.0.1:8470 or [::1]:8470");
  }
  return ListenAddress{std::string(host), port};
}

std::string FormatBytes(uint64_t bytes) {
  if (bytes < 1024) {
    return fmt::format("{} B", bytes);
  }
  double scaled = static_cast<double>(bytes);
  std::string_view unit;
  for (const std::string_view next : {"KiB", "MiB", "GiB", "TiB"}) {
    if (!unit.empty() && scaled < 1024) {
      break;
    }
    scaled /= 1024;
    unit = next;
  }
  return fmt::format("{:.1f} {}", scaled, unit);
}

}  // namespace sluice
