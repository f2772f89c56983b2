#include "schemas/base/datetime.h"

#include <chrono>

#include "schemas/base/date.h"
#include "schemas/base/digits.h"
#include "schemas/base/status.h"
#include "schemas/base/time_of_day.h"

namespace sluice {
namespace {

constexpr int64_t kMicrosPerMinute = 60'000'000;
constexpr int64_t kMicrosPerDay = kTimeOfDayMax + 1;

absl::Status NotADatetime() {
  return TypeMismatch(
      "is not an RFC 3339 date and time with its offset, as 2026-01-31T10:00:00Z is");
}

// Minutes east of UTC, kNoZone where `text` is no offset.
constexpr int kNoZone = 100'000;
int OffsetMinutes(std::string_view text) {
  if (text == "Z" || text == "z") {
    return 0;
  }
  const int hours = ReadDigits(text, 1, 2);
  const int minutes = ReadDigits(text, 4, 2);
  if (text.size() != 6 || (text[0] != '+' && text[0] != '-') || text[3] != ':' || hours < 0 ||
      hours > 23 || minutes < 0 || minutes > 59) {
    return kNoZone;
  }
  return (text[0] == '-' ? -1 : 1) * (hours * 60 + minutes);
}

}  // namespace

absl::StatusOr<int64_t> ParseDatetime(std::string_view text, DatetimeForm form) {
  const bool noted = form == DatetimeForm::kNoted;
  const auto date = ReadDate(text);
  if (!date.has_value() || text.size() == kDateTextSize) {
    return NotADatetime();
  }
  const char separator = text[kDateTextSize];
  std::string_view rest = text.substr(kDateTextSize + 1);
  const auto time = ReadTimeOfDay(rest, noted ? 60 : 59);
  if (!time.has_value() || (separator != 'T' && separator != 't' && !(noted && separator == ' '))) {
    return NotADatetime();
  }
  if (!date->ok()) {
    return TypeMismatch("names a day that does not exist");
  }
  rest.remove_prefix(time->size);
  const int offset = OffsetMinutes(rest);
  if (offset == kNoZone) {
    return NotADatetime();
  }
  const int64_t days = std::chrono::sys_days(*date).time_since_epoch().count();
  const int64_t micros = days * kMicrosPerDay + time->micros - offset * kMicrosPerMinute;
  // What others have noted is part of an event's identity: it stays what it was.
  if (!noted && (micros < kDatetimeMin || micros > kDatetimeMax)) {
    return TypeMismatch("lies outside the years 0001 to 9999 UTC");
  }
  return micros;
}

void WriteDatetime(int64_t micros, char* out) {
  int64_t days = micros / kMicrosPerDay;
  int64_t time = micros % kMicrosPerDay;
  if (time < 0) {
    --days;
    time += kMicrosPerDay;
  }
  WriteDate(days, out);
  out[kDateTextSize] = 'T';
  WriteTimeOfDay(time, out + kDateTextSize + 1);
  out[kDatetimeTextSize - 1] = 'Z';
}

std::string FormatDatetime(int64_t micros) {
  std::string text(kDatetimeTextSize, ' ');
  WriteDatetime(micros, text.data());
  return text;
}

}  // namespace sluice
