#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace sluice {

// Microseconds since midnight of the last time of a day: 23:59:59.999999.
inline constexpr int64_t kTimeOfDayMax = 86'399'999'999;

// Length of the text that WriteTimeOfDay() writes.
inline constexpr size_t kTimeOfDayTextSize = 15;

// "10:00:00" or "10:00:00.5", and nothing behind it, as microseconds since midnight; digits beyond
// the sixth of a second are cut off. 24:00, ":60" and an offset are refused with code
// "type_mismatch".
[[nodiscard]] absl::StatusOr<int64_t> ParseTimeOfDay(std::string_view text);

// A time that a text begins with.
struct LeadingTimeOfDay {
  int64_t micros = 0;
  size_t size = 0;  // of its text
};
// nullopt where `text` does not begin with a time, or its second is above `second_max`.
[[nodiscard]] std::optional<LeadingTimeOfDay> ReadTimeOfDay(std::string_view text, int second_max);

// Writes "10:00:00.500000" (kTimeOfDayTextSize bytes) to `out`. `micros` must lie within 0 and
// kTimeOfDayMax.
void WriteTimeOfDay(int64_t micros, char* out);
[[nodiscard]] std::string FormatTimeOfDay(int64_t micros);

}  // namespace sluice
