#include "schemas/base/datetime.h"

#include <array>
#include <chrono>
#include <cstring>

#include "schemas/base/ascii.h"
#include "schemas/base/status.h"

namespace sluice {
namespace {

constexpr int64_t kMicrosPerSecond = 1'000'000;
constexpr int64_t kMicrosPerDay = 86'400 * kMicrosPerSecond;

absl::Status NotADatetime() {
  return TypeMismatch(
      "is not an RFC 3339 date and time with its offset, as 2026-01-31T10:00:00Z is");
}

// "00" to "99", one after the other.
constexpr std::array<char, 200> DigitPairs() {
  std::array<char, 200> pairs{};
  for (size_t i = 0; i < 100; ++i) {
    pairs[i * 2] = static_cast<char>('0' + i / 10);
    pairs[i * 2 + 1] = static_cast<char>('0' + i % 10);
  }
  return pairs;
}
constexpr std::array<char, 200> kDigitPairs = DigitPairs();

// The number of `count` digits at `at`, -1 where they are not digits.
int Digits(std::string_view text, size_t at, size_t count) {
  if (at + count > text.size()) {
    return -1;
  }
  int value = 0;
  for (size_t i = at; i < at + count; ++i) {
    if (!IsDigit(text[i])) {
      return -1;
    }
    value = value * 10 + (text[i] - '0');
  }
  return value;
}

bool CharAt(std::string_view text, size_t at, char c) { return at < text.size() && text[at] == c; }

// Microseconds since midnight UTC of the day before `date`'s offset is applied; -1 where malformed.
int64_t TimeOfDay(std::string_view text, DatetimeForm form) {
  const bool noted = form == DatetimeForm::kNoted;
  const int hour = Digits(text, 11, 2);
  const int minute = Digits(text, 14, 2);
  const int second = Digits(text, 17, 2);
  const bool parted =
      CharAt(text, 10, 'T') || CharAt(text, 10, 't') || (noted && CharAt(text, 10, ' '));
  if (!parted || !CharAt(text, 13, ':') || !CharAt(text, 16, ':') || hour < 0 || hour > 23 ||
      minute < 0 || minute > 59 || second < 0 || second > (noted ? 60 : 59)) {
    return -1;
  }
  return (hour * 3600 + minute * 60 + second) * kMicrosPerSecond;
}

// Minutes east of UTC, kNoZone where `text` is no offset.
constexpr int kNoZone = 100'000;
int OffsetMinutes(std::string_view text) {
  if (text == "Z" || text == "z") {
    return 0;
  }
  const int hours = Digits(text, 1, 2);
  const int minutes = Digits(text, 4, 2);
  if (text.size() != 6 || (text[0] != '+' && text[0] != '-') || text[3] != ':' || hours < 0 ||
      hours > 23 || minutes < 0 || minutes > 59) {
    return kNoZone;
  }
  return (text[0] == '-' ? -1 : 1) * (hours * 60 + minutes);
}

}  // namespace

absl::StatusOr<int64_t> ParseDatetime(std::string_view text, DatetimeForm form) {
  const int year = Digits(text, 0, 4);
  const int month = Digits(text, 5, 2);
  const int day = Digits(text, 8, 2);
  const int64_t time = TimeOfDay(text, form);
  if (year < 0 || !CharAt(text, 4, '-') || month < 0 || !CharAt(text, 7, '-') || day < 0 ||
      time < 0) {
    return NotADatetime();
  }
  const std::chrono::year_month_day date{std::chrono::year(year),
                                         std::chrono::month(static_cast<unsigned>(month)),
                                         std::chrono::day(static_cast<unsigned>(day))};
  if (!date.ok()) {
    return TypeMismatch("names a day that does not exist");
  }
  size_t at = 19;
  int64_t fraction = 0;
  if (CharAt(text, at, '.')) {
    ++at;
    const size_t start = at;
    for (int64_t scale = kMicrosPerSecond / 10; at < text.size() && IsDigit(text[at]); ++at) {
      if (scale == 0 && text[at] != '0' && form == DatetimeForm::kExact) {
        return TypeMismatch("is finer than a microsecond");
      }
      fraction += scale * (text[at] - '0');
      scale /= 10;
    }
    if (at == start) {
      return NotADatetime();
    }
  }
  const int offset = OffsetMinutes(text.substr(at));
  if (offset == kNoZone) {
    return NotADatetime();
  }
  const int64_t days = std::chrono::sys_days(date).time_since_epoch().count();
  const int64_t micros = days * kMicrosPerDay + time + fraction - offset * 60 * kMicrosPerSecond;
  // What others have noted is part of an event's identity: it stays what it was.
  if (form == DatetimeForm::kExact && (micros < kDatetimeMin || micros > kDatetimeMax)) {
    return TypeMismatch("lies outside the years 0001 to 9999 UTC");
  }
  return micros;
}

void WriteDatetime(int64_t micros, char* out) {
  int64_t days = micros / kMicrosPerDay;
  int64_t rest = micros % kMicrosPerDay;
  if (rest < 0) {
    --days;
    rest += kMicrosPerDay;
  }
  const std::chrono::year_month_day date{
      std::chrono::sys_days(std::chrono::days(static_cast<int>(days)))};
  const auto fraction = static_cast<unsigned>(rest % kMicrosPerSecond);
  const auto second = static_cast<unsigned>(rest / kMicrosPerSecond);
  const auto put = [out](size_t at, unsigned value) {
    std::memcpy(out + at, kDigitPairs.data() + value * 2, 2);
  };
  const auto year = static_cast<unsigned>(static_cast<int>(date.year()));
  std::memcpy(out, "yyyy-mm-ddThh:mm:ss.ffffffZ", kDatetimeTextSize);
  put(0, year / 100);
  put(2, year % 100);
  put(5, static_cast<unsigned>(date.month()));
  put(8, static_cast<unsigned>(date.day()));
  put(11, second / 3600);
  put(14, second / 60 % 60);
  put(17, second % 60);
  put(20, fraction / 10'000);
  put(22, fraction / 100 % 100);
  put(24, fraction % 100);
}

std::string FormatDatetime(int64_t micros) {
  std::string text(kDatetimeTextSize, ' ');
  WriteDatetime(micros, text.data());
  return text;
}

}  // namespace sluice
