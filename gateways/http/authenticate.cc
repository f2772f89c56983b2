#include "gateways/http/authenticate.h"

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <string_view>

namespace sluice::gateways {
namespace {

namespace net = boost::asio;
using std::chrono::steady_clock;

constexpr std::chrono::milliseconds kLook{100};

// A place among those that wait for keys.
class KeyWait {
 public:
  explicit KeyWait(Authenticator& authenticator)
      : authenticator_(authenticator), taken_(authenticator.BeginKeyWait(kKeyWaitersMax)) {}
  KeyWait(const KeyWait&) = delete;
  KeyWait& operator=(const KeyWait&) = delete;
  ~KeyWait() {
    if (taken_) {
      authenticator_.EndKeyWait();
    }
  }
  bool taken() const { return taken_; }

 private:
  Authenticator& authenticator_;
  const bool taken_;
};

}  // namespace

net::awaitable<absl::StatusOr<std::shared_ptr<const Principal>>> Authenticate(
    Authenticator& authenticator, const HttpHead& head, std::chrono::milliseconds wait_max) {
  const std::string_view header = head.Header("Authorization");
  // Read before each check: a fetch that ends during the check is one to check again for.
  uint64_t fetches = authenticator.KeyFetches();
  auto checked = authenticator.TryAuthenticate(header);
  if (checked.has_value()) {
    co_return *std::move(checked);
  }
  const KeyWait place(authenticator);
  if (!place.taken()) {
    co_return KeysUnavailable();
  }
  const auto deadline = steady_clock::now() + wait_max;
  net::steady_timer timer(co_await net::this_coro::executor);
  authenticator.FetchKeys();
  while (steady_clock::now() < deadline) {
    timer.expires_at(std::min(steady_clock::now() + kLook, deadline));
    co_await timer.async_wait(net::as_tuple(net::use_awaitable));
    const uint64_t ended = authenticator.KeyFetches();
    if (ended == fetches) {
      continue;  // a check costs a digest and the parsing of up to 16 KiB: not for nothing
    }
    fetches = ended;
    checked = authenticator.TryAuthenticate(header);
    if (checked.has_value()) {
      co_return *std::move(checked);
    }
    authenticator.FetchKeys();
  }
  co_return KeysUnavailable();
}

}  // namespace sluice::gateways
