#include "gateways/http/authenticate.h"

#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <optional>
#include <string>

#include "schemas/status.h"

namespace sluice::gateways {

namespace net = boost::asio;

net::awaitable<absl::StatusOr<std::shared_ptr<const Principal>>> Authenticate(
    Authenticator& authenticator, const HttpHead& head, std::chrono::milliseconds wait_max) {
  constexpr std::chrono::milliseconds kLook{25};
  const std::string header(head.Header("Authorization"));
  const auto deadline = std::chrono::steady_clock::now() + wait_max;
  net::steady_timer timer(co_await net::this_coro::executor);
  while (true) {
    std::optional<absl::StatusOr<std::shared_ptr<const Principal>>> checked =
        authenticator.TryAuthenticate(header);
    if (checked.has_value()) {
      co_return *std::move(checked);
    }
    if (std::chrono::steady_clock::now() >= deadline) {
      co_return KeysUnavailable();
    }
    authenticator.FetchKeys();
    timer.expires_after(kLook);
    boost::system::error_code ignored;
    co_await timer.async_wait(net::redirect_error(net::use_awaitable, ignored));
  }
}

}  // namespace sluice::gateways
