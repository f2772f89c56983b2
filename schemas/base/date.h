#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace sluice {

// Days since 1970-01-01 of the first and last date: 0001-01-01 and 9999-12-31.
inline constexpr int64_t kDateMin = -719'162;
inline constexpr int64_t kDateMax = 2'932'896;

// Length of the text that WriteDate() writes.
inline constexpr size_t kDateTextSize = 10;

// "2026-01-31", and nothing behind it, as days since 1970-01-01. Code "type_mismatch" for what is
// of another form, no day of the calendar, or of the year 0000.
[[nodiscard]] absl::StatusOr<int64_t> ParseDate(std::string_view text);

// What `text` begins with, of the years 0000 to 9999: ok() says whether there is such a day.
// nullopt where it does not begin with a date.
[[nodiscard]] std::optional<std::chrono::year_month_day> ReadDate(std::string_view text);

// Writes "2026-01-31" (kDateTextSize bytes) to `out`. `days` must lie within kDateMin and kDateMax.
void WriteDate(int64_t days, char* out);
[[nodiscard]] std::string FormatDate(int64_t days);

}  // namespace sluice
