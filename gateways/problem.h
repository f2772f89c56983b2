#pragma once

#include <optional>
#include <string>

#include "absl/status/status.h"

// The one place where a status becomes an HTTP answer (RFC 9457), for every gateway. Which code
// has which HTTP status is the table in problem.cc.
namespace sluice::gateways {

inline constexpr char kProblemContentType[] = "application/problem+json";

// The HTTP status of `status`: that of its stable code, or of its kind; 200 for OK. Kinds that mean
// a defect of ours (internal, unknown, data loss) are 500 whatever code they carry.
int HttpStatusOf(const absl::Status& status);

// The body: {"type":"urn:sluice:problem:<code>","title","status","detail","code"}, and "column"
// (a number) where the status has one (schemas/base/status.h), and "wipe":true where what the
// caller's device holds of the organisation is the caller's no longer: "offline_not_allowed", and
// what WithWipe() marked. `detail` is the message, made valid UTF-8 and cut at 2 KiB. Failures of
// ours that no code describes get a generic detail, so that no path, address or library's text
// leaves the process: log the status itself. `http_status`: where the answer is sent with another
// than HttpStatusOf(), such as a redirection.
std::string ProblemJson(const absl::Status& status, std::optional<int> http_status = std::nullopt);

// `status`, marked: the device's rows of this organisation are to be deleted. Only for what is so
// at a position that this process has read, never for what it does not know (yet).
[[nodiscard]] absl::Status WithWipe(absl::Status status);

// The code that ProblemJson shows: "internal" for every 500.
std::string ProblemCode(const absl::Status& status);

// Seconds for `Retry-After`; set exactly for 429 and 503.
std::optional<int> RetryAfterSeconds(const absl::Status& status);

// The value for `WWW-Authenticate` (RFC 6750, section 3); set exactly for 401.
std::optional<std::string> WwwAuthenticate(const absl::Status& status);

}  // namespace sluice::gateways
