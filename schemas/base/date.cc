#include "schemas/base/date.h"

#include "schemas/base/digits.h"
#include "schemas/base/status.h"

namespace sluice {

std::optional<std::chrono::year_month_day> ReadDate(std::string_view text) {
  const int year = ReadDigits(text, 0, 4);
  const int month = ReadDigits(text, 5, 2);
  const int day = ReadDigits(text, 8, 2);
  if (year < 0 || month < 0 || day < 0 || text[4] != '-' || text[7] != '-') {
    return std::nullopt;
  }
  return std::chrono::year_month_day{std::chrono::year(year),
                                     std::chrono::month(static_cast<unsigned>(month)),
                                     std::chrono::day(static_cast<unsigned>(day))};
}

absl::StatusOr<int64_t> ParseDate(std::string_view text) {
  const auto date = ReadDate(text);
  if (!date.has_value() || text.size() != kDateTextSize) {
    return TypeMismatch("is not a date, as 2026-01-31 is");
  }
  if (!date->ok()) {
    return TypeMismatch("names a day that does not exist");
  }
  const int64_t days = std::chrono::sys_days(*date).time_since_epoch().count();
  if (days < kDateMin) {
    return TypeMismatch("lies outside the years 0001 to 9999");
  }
  return days;
}

void WriteDate(int64_t days, char* out) {
  const std::chrono::year_month_day date{
      std::chrono::sys_days(std::chrono::days(static_cast<int>(days)))};
  const auto year = static_cast<unsigned>(static_cast<int>(date.year()));
  WriteTwoDigits(year / 100, out);
  WriteTwoDigits(year % 100, out + 2);
  out[4] = '-';
  WriteTwoDigits(static_cast<unsigned>(date.month()), out + 5);
  out[7] = '-';
  WriteTwoDigits(static_cast<unsigned>(date.day()), out + 8);
}

std::string FormatDate(int64_t days) {
  std::string text(kDateTextSize, ' ');
  WriteDate(days, text.data());
  return text;
}

}  // namespace sluice
