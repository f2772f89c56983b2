#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cstddef>
#include <deque>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "schemas/base/clock.h"

namespace sluice::gateways {

struct FairBudgetOptions {
  size_t units_max = 0;
  size_t org_part = 4;     // an organisation has at most units_max / org_part
  size_t caller_part = 2;  // one of its callers at most 1 / caller_part of that
  size_t waiting_max = 0;  // past it no newcomer waits; an organisation has 1 / org_part of these,
                           // too, and its callers fewer each than are then left of that
  absl::Status refusal;    // the answer to those who get nothing
  // How much is taken, and how many wait; called on any thread, also under a lock. May be empty.
  std::function<void(size_t taken, size_t waiting)> on_change{};
  std::function<void()> on_refused{};  // as on_change
};

// So many units (bytes of answers, threads) for all requests together. Who would go past the limit
// waits, without a thread. Organisations take turns, and within one its callers: no organisation
// has more than its part, and none of its callers more than theirs of it, so that clients that do
// not read, or ask for too much at once, hold up nobody else's. Thread-safe.
class FairBudget {
 public:
  explicit FairBudget(FairBudgetOptions options) : options_(std::move(options)) {}
  FairBudget(const FairBudget&) = delete;
  FairBudget& operator=(const FairBudget&) = delete;

  // Given back at its end, which may come on any thread.
  class Share {
   public:
    Share() = default;
    Share(FairBudget* budget, std::string org, std::string caller, size_t units)
        : budget_(budget), org_(std::move(org)), caller_(std::move(caller)), units_(units) {}
    Share(Share&& other) noexcept { *this = std::move(other); }
    Share& operator=(Share&& other) noexcept {
      std::swap(budget_, other.budget_);
      std::swap(org_, other.org_);
      std::swap(caller_, other.caller_);
      std::swap(units_, other.units_);
      return *this;
    }
    ~Share() { Keep(0); }
    // Gives back what is over `units`.
    void Keep(size_t units);

   private:
    FairBudget* budget_ = nullptr;
    std::string org_;
    std::string caller_;
    size_t units_ = 0;
  };

  // What can be had at once, as Take(); nullopt where others wait, or too much is taken.
  [[nodiscard]] std::optional<Share> TryTake(const std::string& org, const std::string& caller,
                                             size_t units);
  // More than there is at all counts as all of it; whoever has nothing yet gets what it asks for
  // also past its part. The refusal where there is none until `until`, or too many wait.
  // `admitted`: who asks holds a place of another kind, one of so many, and waits for its turn
  // however many do; it takes nobody's place among those who wait.
  [[nodiscard]] boost::asio::awaitable<absl::StatusOr<Share>> Take(std::string org,
                                                                   std::string caller, size_t units,
                                                                   SteadyTime until,
                                                                   bool admitted = false);

 private:
  struct Waiter {
    Waiter(const boost::asio::any_io_executor& executor, size_t wanted, bool counts)
        : timer(executor), units(wanted), newcomer(counts) {}
    boost::asio::steady_timer timer;
    const size_t units;
    const bool newcomer;
    bool granted = false;
  };
  using WaiterPtr = std::shared_ptr<Waiter>;
  struct Caller {
    size_t units = 0;
    size_t newcomers = 0;  // of those who wait
    std::list<WaiterPtr> waiting;
  };
  struct Org {
    size_t units = 0;
    size_t waiting = 0;
    size_t newcomers = 0;                   // of those who wait
    std::map<std::string, Caller> callers;  // with units or waiters
    std::deque<std::string> turns;          // those with waiters
  };
  class Queued;
  enum class Turn { kGranted, kNone, kFull };

  bool Fits(size_t units) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool FitsOwn(const Org& org, const Caller& caller, size_t units) const;
  bool FitsOrg(const Org& org, size_t units) const;
  bool MayWait(const Org& org, const Caller& caller) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Grant(Org* org, Caller* caller, size_t units) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // One more, or one fewer, waits.
  void Count(Org* org, Caller* caller, const Waiter& waiter, int by)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Turn GrantFirst(Org* org) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void GrantWaiting() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Forget(const std::string& org, const std::string& caller)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Changed() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void GiveBack(const std::string& org, const std::string& caller, size_t units);
  void Leave(const std::string& org, const std::string& caller, const WaiterPtr& waiter);
  absl::Status Refuse() const;

  const FairBudgetOptions options_;
  absl::Mutex mutex_;
  size_t units_ ABSL_GUARDED_BY(mutex_) = 0;
  size_t waiting_ ABSL_GUARDED_BY(mutex_) = 0;
  size_t newcomers_ ABSL_GUARDED_BY(mutex_) = 0;             // of those who wait
  std::map<std::string, Org> orgs_ ABSL_GUARDED_BY(mutex_);  // with units or waiters
  std::deque<std::string> turns_ ABSL_GUARDED_BY(mutex_);    // those with waiters
};

}  // namespace sluice::gateways
