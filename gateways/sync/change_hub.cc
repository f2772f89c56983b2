#include "gateways/sync/change_hub.h"

#include <atomic>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <memory>

namespace sluice::gateways {

void ChangeHub::Stop() {
  stopped_ = true;
  for (auto& [org, entry] : entries_) {
    for (boost::asio::steady_timer* timer : entry.waiting) {
      timer->cancel();
    }
  }
}

void ChangeHub::Changed(const OrgId& org) {
  const auto it = entries_.find(org);
  if (it == entries_.end()) {
    return;  // nobody waits any more
  }
  ++it->second.generation;
  for (boost::asio::steady_timer* timer : it->second.waiting) {
    timer->cancel();
  }
}

ChangeHub::Watch::Watch(ChangeHub& hub, const OrgId& org) : hub_(hub), org_(org), timer_(hub.io_) {
  Entry& entry = hub_.entries_[org_];
  if (entry.watches++ == 0) {
    // While a message is on its way, further batches need none.
    auto posted = std::make_shared<std::atomic<bool>>(false);
    entry.subscription = hub_.stores_.Subscribe(org_, [&hub, org, posted](Offset) {
      if (!posted->exchange(true)) {
        boost::asio::post(hub.io_, [&hub, org, posted] {
          posted->store(false);
          hub.Changed(org);
        });
      }
    });
  }
}

ChangeHub::Watch::~Watch() {
  const auto it = hub_.entries_.find(org_);
  if (--it->second.watches == 0) {
    hub_.stores_.Unsubscribe(it->second.subscription);
    hub_.entries_.erase(it);
  }
}

uint64_t ChangeHub::Watch::generation() const { return hub_.entries_.at(org_).generation; }

boost::asio::awaitable<void> ChangeHub::Watch::Wait(uint64_t seen, SteadyTime until) {
  Entry& entry = hub_.entries_.at(org_);
  if (entry.generation != seen || hub_.stopped_) {
    co_return;
  }
  timer_.expires_at(until);
  entry.waiting.insert(&timer_);
  boost::system::error_code ignored;
  co_await timer_.async_wait(boost::asio::redirect_error(boost::asio::use_awaitable, ignored));
  entry.waiting.erase(&timer_);
}

}  // namespace sluice::gateways
