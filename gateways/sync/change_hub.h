#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cstdint>
#include <map>
#include <set>

#include "eventlog/base/clock.h"
#include "eventlog/base/ids.h"
#include "projectors/store/store_manager.h"

namespace sluice::gateways {

// Wakes what waits for changes of organisations on one I/O thread. However many wait for one
// organisation, the projector's thread posts one message a batch. Used on that thread only.
class ChangeHub {
 public:
  ChangeHub(boost::asio::io_context& io, projectors::StoreManager& stores)
      : io_(io), stores_(stores) {}
  ChangeHub(const ChangeHub&) = delete;
  ChangeHub& operator=(const ChangeHub&) = delete;

  // Wakes everything, for good.
  void Stop();

  // One waiter. Changes after its construction are not missed: take generation() before reading the
  // store, and Wait() returns at once when it has moved on since.
  class Watch {
   public:
    Watch(ChangeHub& hub, const OrgId& org);
    Watch(const Watch&) = delete;
    Watch& operator=(const Watch&) = delete;
    ~Watch();

    uint64_t generation() const;
    // Until a change after `seen`, `until`, or Stop().
    [[nodiscard]] boost::asio::awaitable<void> Wait(uint64_t seen, SteadyTime until);

   private:
    ChangeHub& hub_;
    const OrgId org_;
    boost::asio::steady_timer timer_;
  };

 private:
  struct Entry {
    uint64_t subscription = 0;
    uint64_t generation = 0;
    size_t watches = 0;
    std::set<boost::asio::steady_timer*> waiting;
  };
  void Changed(const OrgId& org);

  boost::asio::io_context& io_;
  projectors::StoreManager& stores_;
  std::map<OrgId, Entry> entries_;
  bool stopped_ = false;
};

}  // namespace sluice::gateways
