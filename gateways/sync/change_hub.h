#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <utility>
#include <vector>

#include "absl/container/btree_set.h"
#include "gateways/sync/change_feed.h"
#include "projectors/store/store_reader.h"
#include "schemas/base/clock.h"
#include "schemas/base/ids.h"

namespace sluice::gateways {

// Wakes what waits for changes of organisations on one I/O thread: whom a change concerns, and
// nobody else. However many wait for one organisation, the projector's thread posts one message a
// batch. Used on that thread only, but for what says otherwise.
class ChangeHub {
 private:
  struct Entry;

 public:
  ChangeHub(boost::asio::io_context& io, projectors::StoreReader& stores)
      : io_(io), stores_(stores) {}
  ChangeHub(const ChangeHub&) = delete;
  ChangeHub& operator=(const ChangeHub&) = delete;

  // Wakes everything, for good.
  void Stop();
  // Wakes everything once: which organisations may be answered for has changed.
  void WakeAll();

  // One waiter. Nothing that happens after its construction is missed: what comes before Listen()
  // counts as a change of any bucket, and so does a change of definitions.
  class Watch {
   public:
    Watch(ChangeHub& hub, const OrgId& org);
    Watch(const Watch&) = delete;
    Watch& operator=(const Watch&) = delete;
    ~Watch();

    // From now on only these buckets concern the waiter, until Take() says that any may have
    // changed: then they have to be found anew.
    void Listen(const std::vector<BucketKey>& keys);
    bool listening() const { return listening_; }

    struct News {
      bool any = false;
      std::vector<BucketKey> keys;  // of those that it listens to
      Offset until = kNoOffset;     // every change up to here is in this or earlier news
    };
    // What has changed since the last call.
    [[nodiscard]] News Take();
    bool changed() const { return any_ || !keys_.empty(); }
    // With changed() false nothing that concerns the waiter lies between its last news and this.
    Offset applied() const;
    // The buckets of the organisation that changed after `after`, and until the position of a
    // snapshot; nullopt: any may have. From any thread.
    [[nodiscard]] std::optional<std::vector<BucketKey>> Between(Offset after, Offset until) const;

    // Nobody waits for what would come: Wait() returns at once from now on.
    void End();
    bool ended() const { return ended_; }

    // Called by every WakeAll() from now on, for a waiter that may be held up where nothing wakes
    // it; empty: nobody is. It must not make or destroy a watch.
    void OnWakeAll(std::function<void()> woken) { on_wake_all_ = std::move(woken); }

    // Until there are news, `until`, WakeAll(), End() or Stop().
    [[nodiscard]] boost::asio::awaitable<void> Wait(SteadyTime until);

   private:
    friend class ChangeHub;
    void Wake();
    void Forget();

    ChangeHub& hub_;
    Entry* const entry_;
    boost::asio::steady_timer timer_;
    std::vector<BucketKey> listens_to_;
    bool listening_ = false;
    bool waiting_ = false;
    bool woken_ = false;  // by WakeAll()
    bool ended_ = false;
    bool any_ = false;
    absl::btree_set<BucketKey> keys_;
    std::function<void()> on_wake_all_;
  };

 private:
  struct Entry {
    OrgId org;
    uint64_t subscription = 0;
    std::shared_ptr<ChangeFeed> feed;
    Offset applied = kNoOffset;
    std::set<Watch*> watches;
    std::set<Watch*> to_all;  // those that do not listen to buckets
    absl::btree_set<std::pair<BucketKey, Watch*>> by_bucket;
  };
  void Deliver(const OrgId& org);

  boost::asio::io_context& io_;
  projectors::StoreReader& stores_;
  std::map<OrgId, Entry> entries_;
  bool stopped_ = false;
};

}  // namespace sluice::gateways
