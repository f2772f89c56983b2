#pragma once

#include <boost/asio/awaitable.hpp>
#include <cstddef>
#include <functional>
#include <memory>

#include "absl/status/statusor.h"
#include "gateways/auth/authenticator.h"
#include "gateways/http/http_connection.h"
#include "schemas/base/clock.h"

namespace sluice::gateways {

// What the caller may do with this token on this route.
using MayAsk = std::function<absl::Status(const std::shared_ptr<const Principal>& caller)>;

// Lets the request with this head in: its caller is known, `may_ask` says OK, and its body has
// come. The body is empty where there is none, and where `body_bytes_max` is 0: then it is not read
// here. kCancelled where the connection is gone; any other error is one to answer with. All
// arguments must outlive the coroutine.
[[nodiscard]] boost::asio::awaitable<absl::StatusOr<HttpBody>> AdmitRequest(
    HttpConnection& connection, const HttpHead& head, Authenticator& authenticator,
    const Clock& clock, const MayAsk& may_ask, size_t body_bytes_max);

}  // namespace sluice::gateways
