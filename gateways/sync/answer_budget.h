#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cstddef>
#include <deque>
#include <list>
#include <map>
#include <memory>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "eventlog/base/clock.h"
#include "eventlog/base/ids.h"
#include "gateways/sync/sync_metrics.h"

namespace sluice::gateways {

// The bytes of answers that are built or being sent, of all connections together. Who would go past
// the limit waits; organisations take turns, and one has a quarter of it at most, so that its
// clients that do not read hold up nobody else's. Thread-safe.
class AnswerBudget {
 public:
  AnswerBudget(size_t bytes_max, SyncMetrics& metrics) : bytes_max_(bytes_max), metrics_(metrics) {}
  AnswerBudget(const AnswerBudget&) = delete;
  AnswerBudget& operator=(const AnswerBudget&) = delete;

  // Given back at its end, which may come on any thread.
  class Share {
   public:
    Share() = default;
    Share(AnswerBudget* budget, OrgId org, size_t bytes)
        : budget_(budget), org_(std::move(org)), bytes_(bytes) {}
    Share(Share&& other) noexcept { *this = std::move(other); }
    Share& operator=(Share&& other) noexcept {
      std::swap(budget_, other.budget_);
      std::swap(org_, other.org_);
      std::swap(bytes_, other.bytes_);
      return *this;
    }
    ~Share() { Keep(0); }
    // Gives back what is over `bytes`.
    void Keep(size_t bytes);

   private:
    AnswerBudget* budget_ = nullptr;
    OrgId org_;
    size_t bytes_ = 0;
  };

  // More than there is at all counts as all of it. kUnavailable "answers_queue_full" where there is
  // none until `until`.
  [[nodiscard]] boost::asio::awaitable<absl::StatusOr<Share>> Take(OrgId org, size_t bytes,
                                                                   SteadyTime until);

 private:
  struct Waiter {
    Waiter(const boost::asio::any_io_executor& executor, size_t wanted)
        : timer(executor), bytes(wanted) {}
    boost::asio::steady_timer timer;
    const size_t bytes;
    bool granted = false;
  };
  using WaiterPtr = std::shared_ptr<Waiter>;
  struct OrgShare {
    size_t bytes = 0;
    std::list<WaiterPtr> waiting;
  };
  class Queued;

  bool Fits(size_t bytes) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool FitsOrg(const OrgShare& org, size_t bytes) const;
  void Grant(OrgShare* org, size_t bytes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void GrantWaiting() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void GiveBack(const OrgId& org, size_t bytes);
  void Leave(const OrgId& org, const WaiterPtr& waiter);

  const size_t bytes_max_;
  SyncMetrics& metrics_;
  absl::Mutex mutex_;
  size_t bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  std::map<OrgId, OrgShare> orgs_ ABSL_GUARDED_BY(mutex_);  // with bytes or waiters
  std::deque<OrgId> turns_ ABSL_GUARDED_BY(mutex_);         // those with waiters
};

}  // namespace sluice::gateways
