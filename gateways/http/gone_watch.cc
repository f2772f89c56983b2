#include "gateways/http/gone_watch.h"

#include <poll.h>

#include <chrono>
#include <utility>

namespace sluice::gateways {
namespace {

constexpr std::chrono::seconds kUnreadPause{1};

// Also where there are bytes before the end that nobody has read yet.
bool HasClosed(int descriptor) {
  pollfd look{.fd = descriptor, .events = POLLRDHUP, .revents = 0};
  return ::poll(&look, 1, 0) > 0;
}

}  // namespace

void GoneWatch::Set(std::function<void()> gone) {
  gone_ = std::move(gone);
  // A wait of the request before may still be there: one is enough.
  if (gone_ && !waiting_) {
    Wait();
  }
}

void GoneWatch::Wait() {
  waiting_ = true;
  socket_->async_wait(
      boost::asio::ip::tcp::socket::wait_read,
      [self = shared_from_this()](const boost::system::error_code&) { self->Look(); });
}

// With bytes to read, a further wait for them would end at once.
void GoneWatch::WaitAWhile() {
  waiting_ = true;
  if (!timer_.has_value()) {
    timer_.emplace(socket_->get_executor());
  }
  timer_->expires_after(kUnreadPause);
  timer_->async_wait(
      [self = shared_from_this()](const boost::system::error_code&) { self->Look(); });
}

void GoneWatch::Look() {
  waiting_ = false;
  if (!gone_ || socket_ == nullptr) {
    return;
  }
  if (socket_->is_open() && !HasClosed(socket_->native_handle())) {
    WaitAWhile();
    return;
  }
  std::exchange(gone_, nullptr)();
}

}  // namespace sluice::gateways
