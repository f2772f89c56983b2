#include "gateways/sync/answer_budget.h"

#include <algorithm>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "schemas/status.h"

namespace sluice::gateways {
namespace {

namespace net = boost::asio;

constexpr size_t kOrgPart = 4;

}  // namespace

// A place in the queue, left when the coroutine goes on, or ends with its server.
class AnswerBudget::Queued {
 public:
  Queued(AnswerBudget& budget, const OrgId& org, WaiterPtr waiter)
      : budget_(budget), org_(org), waiter_(std::move(waiter)) {}
  Queued(const Queued&) = delete;
  Queued& operator=(const Queued&) = delete;
  ~Queued() { budget_.Leave(org_, waiter_); }

 private:
  AnswerBudget& budget_;
  const OrgId& org_;
  const WaiterPtr waiter_;
};

void AnswerBudget::Share::Keep(size_t bytes) {
  if (budget_ != nullptr && bytes < bytes_) {
    budget_->GiveBack(org_, bytes_ - bytes);
    bytes_ = bytes;
  }
}

// One answer goes out whatever its size.
bool AnswerBudget::Fits(size_t bytes) const { return bytes_ == 0 || bytes_ + bytes <= bytes_max_; }

bool AnswerBudget::FitsOrg(const OrgShare& org, size_t bytes) const {
  return org.bytes == 0 || org.bytes + bytes <= bytes_max_ / kOrgPart;
}

void AnswerBudget::Grant(OrgShare* org, size_t bytes) {
  bytes_ += bytes;
  org->bytes += bytes;
  metrics_.AnswerBytes(bytes_);
}

void AnswerBudget::GrantWaiting() {
  for (size_t left = turns_.size(); left > 0;) {
    OrgShare& org = orgs_.at(turns_.front());
    const WaiterPtr& first = org.waiting.front();
    if (!Fits(first->bytes)) {
      return;  // nobody overtakes it
    }
    if (!FitsOrg(org, first->bytes)) {
      turns_.push_back(std::move(turns_.front()));
      turns_.pop_front();
      --left;
      continue;
    }
    Grant(&org, first->bytes);
    first->granted = true;
    boost::asio::post(first->timer.get_executor(), [waiter = first] { waiter->timer.cancel(); });
    org.waiting.pop_front();
    if (org.waiting.empty()) {
      --left;
    } else {
      turns_.push_back(turns_.front());
    }
    turns_.pop_front();
  }
}

void AnswerBudget::GiveBack(const OrgId& org, size_t bytes) {
  absl::MutexLock lock(&mutex_);
  bytes_ -= bytes;
  const auto found = orgs_.find(org);
  found->second.bytes -= bytes;
  if (found->second.bytes == 0 && found->second.waiting.empty()) {
    orgs_.erase(found);
  }
  metrics_.AnswerBytes(bytes_);
  GrantWaiting();
}

void AnswerBudget::Leave(const OrgId& org, const WaiterPtr& waiter) {
  absl::MutexLock lock(&mutex_);
  if (waiter->granted) {
    return;
  }
  const auto found = orgs_.find(org);
  found->second.waiting.remove(waiter);
  if (found->second.waiting.empty()) {
    std::erase(turns_, org);
    if (found->second.bytes == 0) {
      orgs_.erase(found);
    }
  }
  GrantWaiting();  // it may have been the one that nobody could overtake
}

net::awaitable<absl::StatusOr<AnswerBudget::Share>> AnswerBudget::Take(OrgId org, size_t bytes,
                                                                       SteadyTime until) {
  bytes = std::min(bytes, bytes_max_);
  WaiterPtr waiter;
  const net::any_io_executor executor = co_await net::this_coro::executor;
  {
    absl::MutexLock lock(&mutex_);
    OrgShare& share = orgs_[org];
    if (turns_.empty() && Fits(bytes) && FitsOrg(share, bytes)) {
      Grant(&share, bytes);
      co_return Share(this, std::move(org), bytes);
    }
    waiter = std::make_shared<Waiter>(executor, bytes);
    share.waiting.push_back(waiter);
    if (share.waiting.size() == 1) {
      turns_.push_back(org);
    }
    GrantWaiting();
  }
  {
    const Queued queued(*this, org, waiter);
    waiter->timer.expires_at(until);
    boost::system::error_code ignored;
    co_await waiter->timer.async_wait(net::redirect_error(net::use_awaitable, ignored));
  }
  if (!waiter->granted) {
    metrics_.Refused("answers");
    co_return Error(absl::StatusCode::kUnavailable, "answers_queue_full",
                    "as many answers are being sent as may be: try again");
  }
  co_return Share(this, std::move(org), bytes);
}

}  // namespace sluice::gateways
