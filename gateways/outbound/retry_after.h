#pragma once

#include <chrono>
#include <optional>
#include <string_view>

#include "absl/status/status.h"
#include "schemas/base/clock.h"

// When a server wants to be asked again, and how a status carries that to whoever schedules it.
namespace sluice::gateways {

// Nobody is made to wait longer than this, whatever a server says.
inline constexpr std::chrono::milliseconds kRetryAfterMax = std::chrono::minutes(15);

// A date as HTTP writes it, in any of its three forms (RFC 9110, section 5.6.7), of the
// years 1970 to 9999; nullopt where it is none.
[[nodiscard]] std::optional<SystemTime> ParseHttpDate(std::string_view text);

// The wait that the header `retry_after` asks for, 0 to kRetryAfterMax: seconds, or a date, which
// is measured from the answer's own `date`, for the server's clock may differ from ours; from `now`
// where that is none. nullopt where it says nothing.
[[nodiscard]] std::optional<std::chrono::milliseconds> ParseRetryAfter(std::string_view retry_after,
                                                                       std::string_view date,
                                                                       SystemTime now);

// `status`, not to be tried again before `wait` is over. Does nothing to OK.
[[nodiscard]] absl::Status WithRetryAfter(absl::Status status, std::chrono::milliseconds wait);
// The wait that WithRetryAfter() gave it.
[[nodiscard]] std::optional<std::chrono::milliseconds> RetryAfterOf(const absl::Status& status);

}  // namespace sluice::gateways
