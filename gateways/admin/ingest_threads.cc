#include "gateways/admin/ingest_threads.h"

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "gateways/ingest/look_interval.h"

namespace sluice::gateways {

namespace net = boost::asio;

IngestWait::IngestWait(const net::any_io_executor& executor)
    : timer_(std::make_shared<net::steady_timer>(executor)),
      waker_(std::make_shared<TicketWaker>(
          [timer = timer_] { net::post(timer->get_executor(), [timer] { timer->cancel(); }); })),
      look_(LookInterval()) {}

IngestWait::~IngestWait() { waker_->Close(); }

// What wakes it comes through the thread that this runs on, so not before the wait has begun.
net::awaitable<void> IngestWait::Wait(const IngestSession& session) {
  auto until = session.look_by();
  auto ticket = session.Unresolved();
  if (session.waits_for_store()) {
    until = std::min(until, std::chrono::steady_clock::now() + look_.Next());
  } else if (ticket == nullptr) {
    co_return;
  }
  if (ticket != nullptr && ticket != asked_) {
    if (!ticket->WakeWhenResolved(waker_)) {
      co_return;
    }
    asked_ = std::move(ticket);
  }
  timer_->expires_at(until);
  co_await timer_->async_wait(net::as_tuple(net::use_awaitable));
}

}  // namespace sluice::gateways
