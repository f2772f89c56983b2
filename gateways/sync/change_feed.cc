#include "gateways/sync/change_feed.h"

#include <algorithm>
#include <utility>

namespace sluice::gateways {

bool ChangeFeed::Add(const projectors::AppliedChange& change) {
  absl::MutexLock lock(&mutex_);
  const bool idle = untaken_ == 0 && !untaken_any_;
  // Where the store has gone back, what was said of later positions means nothing.
  const bool back = change.applied <= applied_;
  const bool any = change.buckets == nullptr || change.definitions || change.closed || back;
  if (any || applied_ == kNoOffset) {
    changes_.clear();
    keys_ = untaken_ = 0;
    forgotten_ = change.applied;
  }
  applied_ = change.applied;
  if (any) {
    untaken_any_ = true;
    return idle;
  }
  keys_ += change.buckets->size();
  changes_.push_back(change);
  ++untaken_;
  while (changes_.size() > kChangesMax || keys_ > projectors::kChangedBucketsMax) {
    forgotten_ = changes_.front().applied;
    keys_ -= changes_.front().buckets->size();
    changes_.pop_front();
  }
  untaken_any_ = untaken_any_ || untaken_ > changes_.size();
  untaken_ = std::min(untaken_, changes_.size());
  return idle;
}

ChangeFeed::News ChangeFeed::Take() {
  absl::MutexLock lock(&mutex_);
  News news{.applied = applied_, .any = std::exchange(untaken_any_, false), .buckets = {}};
  for (size_t left = std::exchange(untaken_, 0); left > 0 && !news.any; --left) {
    news.buckets.push_back(changes_[changes_.size() - left].buckets);
  }
  return news;
}

std::optional<std::vector<BucketKey>> ChangeFeed::Between(Offset after, Offset until) const {
  absl::MutexLock lock(&mutex_);
  // A store shows a change just before it tells of it.
  if (after < forgotten_ || until > applied_) {
    return std::nullopt;
  }
  std::vector<BucketKey> keys;
  for (const projectors::AppliedChange& change : changes_) {
    if (change.applied > after) {
      keys.insert(keys.end(), change.buckets->begin(), change.buckets->end());
    }
  }
  return keys;
}

}  // namespace sluice::gateways
