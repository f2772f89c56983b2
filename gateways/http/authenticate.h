#pragma once

#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <memory>

#include "absl/status/statusor.h"
#include "gateways/auth/authenticator.h"
#include "gateways/http/http_types.h"

namespace sluice::gateways {

// How long a request whose token names an unknown key waits for the keys to be fetched.
inline constexpr std::chrono::milliseconds kKeyWaitMax{4'000};

// Who sends the request with this head. Where its key is not known the keys are asked for, and the
// request waits without a thread, at most `wait_max`: then kUnavailable, code "keys_unavailable".
[[nodiscard]] boost::asio::awaitable<absl::StatusOr<std::shared_ptr<const Principal>>> Authenticate(
    Authenticator& authenticator, const HttpHead& head,
    std::chrono::milliseconds wait_max = kKeyWaitMax);

}  // namespace sluice::gateways
