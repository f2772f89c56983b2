#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace sluice {

// Microseconds since 1970-01-01T00:00:00Z of the first and last instant that a datetime can hold:
// 0001-01-01T00:00:00.000000Z and 9999-12-31T23:59:59.999999Z.
inline constexpr int64_t kDatetimeMin = -62'135'596'800'000'000;
inline constexpr int64_t kDatetimeMax = 253'402'300'799'999'999;

// Length of the text that WriteDatetime() writes.
inline constexpr size_t kDatetimeTextSize = 27;

enum class DatetimeForm : uint8_t {
  kStrict,  // of a value that is kept
  // A time that somebody else noted: a blank may stand for the T, ":60" is the next minute's first
  // second, and an offset may lead out of the years that a datetime can hold.
  kNoted,
};

// An RFC 3339 date-time with its offset, as microseconds since 1970 UTC. Digits beyond the sixth of
// a second are cut off, which is the earlier instant, before 1970 too. 24:00, a date alone and a
// time without an offset are refused with code "type_mismatch".
[[nodiscard]] absl::StatusOr<int64_t> ParseDatetime(std::string_view text,
                                                    DatetimeForm form = DatetimeForm::kStrict);

// Writes "2026-01-31T10:00:00.000000Z" (kDatetimeTextSize bytes) to `out`. `micros` must lie within
// kDatetimeMin and kDatetimeMax.
void WriteDatetime(int64_t micros, char* out);
[[nodiscard]] std::string FormatDatetime(int64_t micros);

}  // namespace sluice
