#pragma once

#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <cstddef>
#include <memory>

#include "absl/status/statusor.h"
#include "gateways/auth/authenticator.h"
#include "gateways/http/http_types.h"

namespace sluice::gateways {

// How long a request whose token names an unknown key waits for the keys to be fetched.
inline constexpr std::chrono::milliseconds kKeyWaitMax{4'000};
// How many do at once, on all listeners of an authenticator: they are strangers still.
inline constexpr size_t kKeyWaitersMax = 256;

// Who sends the request with this head. Where its key is not known the keys are asked for, and the
// request waits without a thread until they have been fetched, at most `wait_max`: then, and at
// once where kKeyWaitersMax wait already, kUnavailable, code "keys_unavailable". Its token is
// checked once, and once more after each fetch. Both arguments must outlive the coroutine.
[[nodiscard]] boost::asio::awaitable<absl::StatusOr<std::shared_ptr<const Principal>>> Authenticate(
    Authenticator& authenticator, const HttpHead& head,
    std::chrono::milliseconds wait_max = kKeyWaitMax);

}  // namespace sluice::gateways
