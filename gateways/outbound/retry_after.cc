#include "gateways/outbound/retry_after.h"

#include <algorithm>
#include <charconv>
#include <string>

#include "absl/strings/cord.h"
#include "absl/time/time.h"
#include "schemas/base/ascii.h"
#include "schemas/base/datetime.h"

namespace sluice::gateways {
namespace {

using std::chrono::milliseconds;

constexpr char kPayload[] = "sluice.retry_after_ms";

}  // namespace

std::optional<SystemTime> ParseHttpDate(std::string_view text) {
  constexpr const char* kForms[] = {"%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT",
                                    "%a %b %e %H:%M:%S %Y"};
  for (const char* const form : kForms) {
    absl::Time time;
    if (absl::ParseTime(form, absl::string_view(text.data(), text.size()), &time, nullptr)) {
      // Abseil takes any year and "infinite-past", of which no difference can be formed.
      const int64_t micros = absl::ToUnixMicros(time);
      return micros >= 0 && micros <= kDatetimeMax
                 ? std::optional(SystemTime(std::chrono::microseconds(micros)))
                 : std::nullopt;
    }
  }
  return std::nullopt;
}

std::optional<milliseconds> ParseRetryAfter(std::string_view retry_after, std::string_view date,
                                            SystemTime now) {
  if (!retry_after.empty() && std::ranges::all_of(retry_after, IsDigit)) {
    int64_t seconds = 0;
    const auto parsed =
        std::from_chars(retry_after.data(), retry_after.data() + retry_after.size(), seconds);
    const bool huge =
        parsed.ec != std::errc() || seconds > kRetryAfterMax / std::chrono::seconds(1);
    return huge ? kRetryAfterMax : milliseconds(std::chrono::seconds(seconds));
  }
  const auto until = ParseHttpDate(retry_after);
  if (!until.has_value()) {
    return std::nullopt;
  }
  const auto wait = *until - ParseHttpDate(date).value_or(now);
  return std::clamp(std::chrono::ceil<milliseconds>(wait), milliseconds(0), kRetryAfterMax);
}

absl::Status WithRetryAfter(absl::Status status, milliseconds wait) {
  if (!status.ok()) {
    status.SetPayload(kPayload, absl::Cord(std::to_string(wait.count())));
  }
  return status;
}

std::optional<milliseconds> RetryAfterOf(const absl::Status& status) {
  const auto payload = status.GetPayload(kPayload);
  if (!payload.has_value()) {
    return std::nullopt;
  }
  const auto text = std::string(*payload);
  int64_t wait = 0;
  std::from_chars(text.data(), text.data() + text.size(), wait);
  return milliseconds(wait);
}

}  // namespace sluice::gateways
