#pragma once

#include <cstddef>
#include <string_view>

#include "absl/status/statusor.h"
#include "gateways/http/http_types.h"

namespace sluice::gateways {

inline constexpr size_t kHeaderLinesMax = 100;
inline constexpr size_t kPathBytesMax = 1024;  // our longest paths are half of it

// Where the head that `bytes` begins with ends (behind its empty line); 0 while it is not complete.
// kInvalidArgument as soon as a line does not end with CRLF. `from`: what was looked at before.
[[nodiscard]] absl::StatusOr<size_t> FindHeadEnd(std::string_view bytes, size_t from);

// Reads a complete head (RFC 9112) and refuses everything that another reader on the way could
// read differently: white space before a colon, folded lines, two lengths, a length beside a
// transfer coding, a coding other than chunked, control characters, a second Authorization, Host,
// Content-Type, Content-Encoding or Expect, no Host in HTTP/1.1 or one that is none.
// kInvalidArgument; messages repeat nothing that was
// sent. `request_id` is left empty where the caller's is not plain.
[[nodiscard]] absl::StatusOr<HttpHead> ParseHead(std::string_view head);

// `[A-Za-z0-9._-]{1,128}`: a request id that may be taken over into logs, events and answers.
[[nodiscard]] bool IsPlainRequestId(std::string_view id);

}  // namespace sluice::gateways
