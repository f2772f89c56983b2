#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

// The text forms of values that people write in settings, query parameters and flags.
namespace sluice {

// "500ms", "20s", "10m", "2h", "7d": a whole number and a unit. kInvalidArgument otherwise.
[[nodiscard]] absl::StatusOr<std::chrono::milliseconds> ParseDuration(std::string_view text);
[[nodiscard]] std::string FormatDuration(std::chrono::milliseconds duration);

// A decimal int64, nothing around it.
[[nodiscard]] absl::StatusOr<int64_t> ParseInt64(std::string_view text);

// "4096", "64KiB", "8MiB", "2GiB": bytes.
[[nodiscard]] absl::StatusOr<int64_t> ParseBytes(std::string_view text);
// The shortest such text with at most one decimal, for people: "1.5 MiB".
[[nodiscard]] std::string FormatBytes(uint64_t bytes);

// Where to listen: a name or an IP address, and a port, of which 0 takes a free one.
struct ListenAddress {
  std::string host;  // without brackets
  uint16_t port = 0;
};
// "host:port", "[v6]:port". kInvalidArgument otherwise.
[[nodiscard]] absl::StatusOr<ListenAddress> ParseListenAddress(std::string_view text);

}  // namespace sluice
