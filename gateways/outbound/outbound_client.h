#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "schemas/base/clock.h"

namespace sluice::gateways {

struct OutboundRequest {
  std::string method = "GET";  // or POST
  std::string url;
  std::vector<std::pair<std::string, std::string>> headers;
  std::string authorization;  // whole header value; never logged, never sent to another origin
  std::string body;
  size_t body_bytes_max = size_t{256} << 20;      // of the answer, decompressed
  std::chrono::milliseconds timeout{120'000};     // of the whole, but for what the readers take
  std::chrono::milliseconds silence_max{30'000};  // for the answer's head, and between two pieces
};

struct OutboundResponse {
  int status = 0;
  std::multimap<std::string, std::string> headers;  // names in lower case

  // The value of the first header of that name, empty where there is none.
  [[nodiscard]] std::string_view Header(std::string_view lower_name) const;
};

struct OutboundOptions {
  std::vector<std::string> allow_hosts;    // as AddressRule has them
  std::vector<std::string> allow_private;  // likewise
  std::string ca_file;                     // PEM; empty: the system's authorities
  size_t per_host_max = 4;                 // requests to one host at once
};

// Fetches URLs that a tenant gave: gateways/docs/sources.md says what is fetched and what is
// refused. A name is resolved once for each connection, all of its addresses are checked, and it is
// one of these that is connected to; the certificate must be for the name. Memory does not grow
// with what a server sends. Thread-safe; each call makes a connection of its own.
class OutboundClient {
 public:
  // IP addresses of `host` as texts.
  using Resolve = std::function<absl::StatusOr<std::vector<std::string>>(const std::string& host)>;

  // `clock` must outlive this. Without `resolve` the system's resolver is asked, which can't be
  // interrupted. Options that are none make every call fail with kInvalidArgument.
  OutboundClient(OutboundOptions options, const Clock& clock, Resolve resolve = {});
  ~OutboundClient();

  // Without a connection, so a host's addresses are not known yet. kInvalidArgument, code
  // "source_not_allowed".
  [[nodiscard]] absl::Status Allows(std::string_view url) const;

  // `on_head` once, then `on_body` with pieces of the body, decompressed; their errors end the call
  // and are returned. Any status is an answer, but for a redirection: a GET follows up to three
  // within its origin. With 429 and 503 the host rests for as long as Retry-After says. Errors:
  //   kInvalidArgument     "source_not_allowed", "redirect_refused"; "invalid_argument" for a
  //                        request that can't be sent
  //   kUnavailable         "source_unreachable" (no address, connection, TLS; cut amid the answer),
  //                        "source_timeout", "source_answer_invalid" (no HTTP), "source_resting"
  //                        (with RetryAfterOf())
  //   kFailedPrecondition  "source_answer_too_large"
  //   kCancelled           as soon as `stopping()`, which is asked every few hundredths of a second
  [[nodiscard]] absl::Status Send(const OutboundRequest& request,
                                  absl::FunctionRef<absl::Status(const OutboundResponse&)> on_head,
                                  absl::FunctionRef<absl::Status(std::string_view)> on_body,
                                  const std::function<bool()>& stopping);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::gateways
