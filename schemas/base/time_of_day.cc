#include "schemas/base/time_of_day.h"

#include "schemas/base/digits.h"
#include "schemas/base/status.h"

namespace sluice {
namespace {

constexpr int64_t kMicrosPerSecond = 1'000'000;

}  // namespace

std::optional<LeadingTimeOfDay> ReadTimeOfDay(std::string_view text, int second_max) {
  const int hour = ReadDigits(text, 0, 2);
  const int minute = ReadDigits(text, 3, 2);
  const int second = ReadDigits(text, 6, 2);
  if (hour < 0 || hour > 23 || minute < 0 || minute > 59 || second < 0 || second > second_max ||
      text[2] != ':' || text[5] != ':') {
    return std::nullopt;
  }
  LeadingTimeOfDay time{(hour * 3600 + minute * 60 + second) * kMicrosPerSecond, 8};
  if (!text.substr(time.size).starts_with('.')) {
    return time;
  }
  const size_t start = ++time.size;
  for (int64_t scale = kMicrosPerSecond / 10; time.size < text.size() && IsDigit(text[time.size]);
       ++time.size) {
    time.micros += scale * (text[time.size] - '0');
    scale /= 10;  // 0 from the seventh digit on, which is how they are cut off
  }
  return time.size == start ? std::nullopt : std::optional(time);
}

absl::StatusOr<int64_t> ParseTimeOfDay(std::string_view text) {
  const auto time = ReadTimeOfDay(text, 59);
  if (!time.has_value() || time->size != text.size()) {
    return TypeMismatch("is not a time of a day without an offset, as 10:00:00 is");
  }
  return time->micros;
}

void WriteTimeOfDay(int64_t micros, char* out) {
  const auto second = static_cast<unsigned>(micros / kMicrosPerSecond);
  const auto fraction = static_cast<unsigned>(micros % kMicrosPerSecond);
  WriteTwoDigits(second / 3600, out);
  out[2] = ':';
  WriteTwoDigits(second / 60 % 60, out + 3);
  out[5] = ':';
  WriteTwoDigits(second % 60, out + 6);
  out[8] = '.';
  WriteTwoDigits(fraction / 10'000, out + 9);
  WriteTwoDigits(fraction / 100 % 100, out + 11);
  WriteTwoDigits(fraction % 100, out + 13);
}

std::string FormatTimeOfDay(int64_t micros) {
  std::string text(kTimeOfDayTextSize, ' ');
  WriteTimeOfDay(micros, text.data());
  return text;
}

}  // namespace sluice
