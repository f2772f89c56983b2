#include "gateways/sync/change_hub.h"

#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace sluice::gateways {

void ChangeHub::Stop() {
  stopped_ = true;
  WakeAll();
}

void ChangeHub::WakeAll() {
  for (auto& [org, entry] : entries_) {
    for (Watch* watch : entry.watches) {
      watch->woken_ = true;
      watch->Wake();
      if (watch->on_wake_all_) {
        watch->on_wake_all_();
      }
    }
  }
}

void ChangeHub::Deliver(const OrgId& org) {
  const auto it = entries_.find(org);
  if (it == entries_.end()) {
    return;  // nobody waits any more
  }
  Entry& entry = it->second;
  const ChangeFeed::News news = entry.feed->Take();
  entry.applied = news.applied;
  for (Watch* watch : news.any ? entry.watches : entry.to_all) {
    watch->any_ = true;
    watch->Wake();
  }
  for (const auto& keys : news.buckets) {
    for (const BucketKey& key : *keys) {
      for (auto at = entry.by_bucket.lower_bound({key, nullptr});
           at != entry.by_bucket.end() && at->first == key; ++at) {
        at->second->keys_.insert(key);
        at->second->Wake();
      }
    }
  }
}

ChangeHub::Watch::Watch(ChangeHub& hub, const OrgId& org)
    : hub_(hub), entry_(&hub.entries_[org]), timer_(hub.io_) {
  if (entry_->watches.empty()) {
    entry_->org = org;
    entry_->feed = std::make_shared<ChangeFeed>();
    entry_->subscription = hub_.stores_.Subscribe(
        org, [&hub, org, feed = entry_->feed](const projectors::AppliedChange& change) {
          // While a message is on its way, further batches need none.
          if (feed->Add(change)) {
            boost::asio::post(hub.io_, [&hub, org] { hub.Deliver(org); });
          }
        });
  }
  entry_->watches.insert(this);
  entry_->to_all.insert(this);
}

ChangeHub::Watch::~Watch() {
  Forget();
  entry_->to_all.erase(this);
  entry_->watches.erase(this);
  if (entry_->watches.empty()) {
    hub_.stores_.Unsubscribe(entry_->subscription);
    hub_.entries_.erase(OrgId(entry_->org));
  }
}

Offset ChangeHub::Watch::applied() const { return entry_->applied; }

std::optional<std::vector<BucketKey>> ChangeHub::Watch::Between(Offset after, Offset until) const {
  return entry_->feed->Between(after, until);
}

void ChangeHub::Watch::Forget() {
  for (const BucketKey& key : listens_to_) {
    entry_->by_bucket.erase({key, this});
  }
  listens_to_.clear();
}

void ChangeHub::Watch::Listen(const std::vector<BucketKey>& keys) {
  Forget();
  listens_to_ = keys;
  for (const BucketKey& key : listens_to_) {
    entry_->by_bucket.insert({key, this});
  }
  entry_->to_all.erase(this);
  listening_ = true;
}

ChangeHub::Watch::News ChangeHub::Watch::Take() {
  News news{.any = any_, .keys = {keys_.begin(), keys_.end()}, .until = entry_->applied};
  if (any_ || !listening_) {
    // The waiter's buckets may be others from here on: what changes until it names them counts as
    // a change of any. Were it still by the old ones, a change of a new bucket after the snapshot
    // that shows it, and before Listen(), would be missed.
    news.any = true;
    Forget();
    entry_->to_all.insert(this);
    listening_ = false;
  }
  any_ = false;
  keys_.clear();
  return news;
}

void ChangeHub::Watch::End() {
  ended_ = true;
  Wake();
}

void ChangeHub::Watch::Wake() {
  if (waiting_) {
    timer_.cancel();
  }
}

boost::asio::awaitable<void> ChangeHub::Watch::Wait(SteadyTime until) {
  if (!changed() && !woken_ && !ended_ && !hub_.stopped_) {
    timer_.expires_at(until);
    waiting_ = true;
    boost::system::error_code ignored;
    co_await timer_.async_wait(boost::asio::redirect_error(boost::asio::use_awaitable, ignored));
    waiting_ = false;
  }
  woken_ = false;
}

}  // namespace sluice::gateways
