#include "gateways/http/fair_budget.h"

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "gateways/http/fair_places.h"

namespace sluice::gateways {

namespace net = boost::asio;

// A place in the queue, left when the coroutine goes on, or ends with its server.
class FairBudget::Queued {
 public:
  Queued(FairBudget& budget, const std::string& org, const std::string& caller, WaiterPtr waiter)
      : budget_(budget), org_(org), caller_(caller), waiter_(std::move(waiter)) {}
  Queued(const Queued&) = delete;
  Queued& operator=(const Queued&) = delete;
  ~Queued() { budget_.Leave(org_, caller_, waiter_); }

 private:
  FairBudget& budget_;
  const std::string& org_;
  const std::string& caller_;
  const WaiterPtr waiter_;
};

void FairBudget::Share::Keep(size_t units) {
  if (budget_ != nullptr && units < units_) {
    budget_->GiveBack(org_, caller_, units_ - units);
    units_ = units;
  }
}

// One goes out whatever its size, of all, of an organisation's and of a caller's.
bool FairBudget::Fits(size_t units) const {
  return units_ == 0 || units_ + units <= options_.units_max;
}

bool FairBudget::FitsOrg(const Org& org, size_t units) const {
  return org.units == 0 || org.units + units <= options_.units_max / options_.org_part;
}

bool FairBudget::FitsOwn(const Org& org, const Caller& caller, size_t units) const {
  return FitsOrg(org, units) &&
         (caller.units == 0 ||
          caller.units + units <= options_.units_max / options_.org_part / options_.caller_part);
}

// Whether one more newcomer of the caller's may wait.
bool FairBudget::MayWait(const Org& org, const Caller& caller) const {
  const size_t org_max = std::max<size_t>(1, options_.waiting_max / options_.org_part);
  return newcomers_ < options_.waiting_max &&
         LeavesPlaces(caller.newcomers, org_max - org.newcomers);
}

void FairBudget::Changed() {
  if (options_.on_change) {
    options_.on_change(units_, waiting_);
  }
}

void FairBudget::Grant(Org* org, Caller* caller, size_t units) {
  units_ += units;
  org->units += units;
  caller->units += units;
}

void FairBudget::Count(Org* org, Caller* caller, const Waiter& waiter, int by) {
  const auto step = static_cast<size_t>(by);  // wraps round to subtract
  org->waiting += step;
  waiting_ += step;
  if (waiter.newcomer) {
    caller->newcomers += step;
    org->newcomers += step;
    newcomers_ += step;
  }
}

// The first of an organisation's callers whose turn it is and who may have more.
FairBudget::Turn FairBudget::GrantFirst(Org* org) {
  for (size_t left = org->turns.size(); left > 0; --left) {
    Caller& caller = org->callers.at(org->turns.front());
    const WaiterPtr first = caller.waiting.front();
    if (!FitsOwn(*org, caller, first->units)) {
      if (!FitsOrg(*org, first->units)) {
        return Turn::kNone;  // nobody of the same organisation overtakes it
      }
      org->turns.push_back(std::move(org->turns.front()));
      org->turns.pop_front();
      continue;
    }
    if (!Fits(first->units)) {
      return Turn::kFull;
    }
    Grant(org, &caller, first->units);
    first->granted = true;
    // By its own executor: a timer is not thread-safe, and the waiter may be on another I/O thread.
    // What was granted is noted before, under the lock, so that a time-out that comes first finds
    // it.
    net::post(first->timer.get_executor(), [first] { first->timer.cancel(); });
    caller.waiting.pop_front();
    Count(org, &caller, *first, -1);
    if (!caller.waiting.empty()) {
      org->turns.push_back(org->turns.front());
    }
    org->turns.pop_front();
    return Turn::kGranted;
  }
  return Turn::kNone;
}

void FairBudget::GrantWaiting() {
  // Until a whole round of turns gave nothing to anybody.
  for (size_t passed = 0; passed < turns_.size();) {
    Org& org = orgs_.at(turns_.front());
    const Turn turn = GrantFirst(&org);
    if (turn == Turn::kFull) {
      break;  // nobody overtakes it
    }
    passed = turn == Turn::kGranted ? 0 : passed + 1;
    if (org.waiting > 0) {
      turns_.push_back(std::move(turns_.front()));
    }
    turns_.pop_front();
  }
  Changed();
}

void FairBudget::Forget(const std::string& org, const std::string& caller) {
  const auto found = orgs_.find(org);
  const auto own = found->second.callers.find(caller);
  if (own->second.units == 0 && own->second.waiting.empty()) {
    found->second.callers.erase(own);
  }
  if (found->second.callers.empty()) {
    orgs_.erase(found);
  }
}

void FairBudget::GiveBack(const std::string& org, const std::string& caller, size_t units) {
  absl::MutexLock lock(&mutex_);
  units_ -= units;
  Org& from = orgs_.at(org);
  from.units -= units;
  from.callers.at(caller).units -= units;
  Forget(org, caller);
  GrantWaiting();
}

void FairBudget::Leave(const std::string& org, const std::string& caller, const WaiterPtr& waiter) {
  absl::MutexLock lock(&mutex_);
  if (waiter->granted) {
    return;
  }
  Org& of = orgs_.at(org);
  Caller& own = of.callers.at(caller);
  own.waiting.remove(waiter);
  Count(&of, &own, *waiter, -1);
  if (own.waiting.empty()) {
    std::erase(of.turns, caller);
  }
  if (of.waiting == 0) {
    std::erase(turns_, org);
  }
  Forget(org, caller);
  GrantWaiting();  // it may have been the one that nobody could overtake
}

absl::Status FairBudget::Refuse() const {
  if (options_.on_refused) {
    options_.on_refused();
  }
  return options_.refusal;
}

std::optional<FairBudget::Share> FairBudget::TryTake(const std::string& org,
                                                     const std::string& caller, size_t units) {
  units = std::min(units, options_.units_max);
  absl::MutexLock lock(&mutex_);
  Org& of = orgs_[org];
  Caller& own = of.callers[caller];
  // Not while anybody waits, though there were room: who asks for little would overtake for ever
  // who asks for much.
  if (!turns_.empty() || !FitsOwn(of, own, units) || !Fits(units)) {
    Forget(org, caller);
    return std::nullopt;
  }
  Grant(&of, &own, units);
  Changed();
  return Share(this, org, caller, units);
}

net::awaitable<absl::StatusOr<FairBudget::Share>> FairBudget::Take(std::string org,
                                                                   std::string caller, size_t units,
                                                                   SteadyTime until,
                                                                   bool admitted) {
  units = std::min(units, options_.units_max);
  WaiterPtr waiter;
  const net::any_io_executor executor = co_await net::this_coro::executor;
  if (std::optional<Share> share = TryTake(org, caller, units); share.has_value()) {
    co_return *std::move(share);
  }
  {
    absl::MutexLock lock(&mutex_);
    Org& of = orgs_[org];
    Caller& own = of.callers[caller];
    if (!admitted && !MayWait(of, own)) {
      Forget(org, caller);
      co_return Refuse();
    }
    waiter = std::make_shared<Waiter>(executor, units, !admitted);
    own.waiting.push_back(waiter);
    if (own.waiting.size() == 1) {
      of.turns.push_back(caller);
    }
    Count(&of, &own, *waiter, +1);
    if (of.waiting == 1) {
      turns_.push_back(org);
    }
    GrantWaiting();
  }
  {
    const Queued queued(*this, org, caller, waiter);
    waiter->timer.expires_at(until);
    co_await waiter->timer.async_wait(net::as_tuple(net::use_awaitable));
  }
  // Written under the lock, which Leave() has had since: nothing is granted to it any more.
  if (!waiter->granted) {
    co_return Refuse();
  }
  co_return Share(this, std::move(org), std::move(caller), units);
}

}  // namespace sluice::gateways
