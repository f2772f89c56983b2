#include "tests/support/gateways/fold_stores.h"

#include <algorithm>
#include <cstdlib>
#include <iostream>

#include "schemas/base/status.h"

namespace sluice::testing {

Offset FoldStores::Add(const std::string& org, const google::protobuf::Message& payload) {
  absl::MutexLock lock(&mutex_);
  std::unique_ptr<ModelStore>& store = orgs_[org];
  if (store == nullptr) {
    store = std::make_unique<ModelStore>();
  }
  snapshots_.erase(org);
  const Offset offset(store->content().applied.position.value() + 1);
  const eventlog::StoredEvent event = MakeEvent(offset.value(), payload, org);
  const auto result = store->Apply({}, {&event, 1});
  if (!result.ok() || !result->rejected.empty()) {
    std::cerr << result.status() << "\n";
    std::abort();  // the test's own event is wrong
  }
  std::vector<BucketKey> changed;
  for (const auto& [key, state] : result->batch.buckets) {
    changed.push_back(key);
  }
  std::ranges::sort(changed);
  Notify(org, {.applied = offset,
               .buckets = std::make_shared<const std::vector<BucketKey>>(std::move(changed)),
               .definitions = result->batch.model.has_value()});
  return offset;
}

void FoldStores::HoldNews(bool hold) {
  absl::MutexLock lock(&mutex_);
  hold_ = hold;
}

bool FoldStores::TellNext() {
  absl::MutexLock lock(&mutex_);
  if (held_.empty()) {
    return false;
  }
  const auto [org, change] = held_.front();
  held_.pop_front();
  Tell(org, change);
  return true;
}

void FoldStores::Notify(const std::string& org, const projectors::AppliedChange& change) {
  if (hold_ || !held_.empty()) {
    held_.emplace_back(org, change);
  } else {
    Tell(org, change);
  }
}

void FoldStores::Tell(const std::string& org, const projectors::AppliedChange& change) {
  for (const auto& [id, callback] : callbacks_) {
    if (callback.first == org) {
      callback.second(change);
    }
  }
}

void FoldStores::SetHorizon(const std::string& org, Offset horizon) {
  absl::MutexLock lock(&mutex_);
  orgs_.at(org)->content().applied.horizon = horizon;
  snapshots_.erase(org);
}

void FoldStores::Remove(const std::string& org) {
  absl::MutexLock lock(&mutex_);
  closed_[org] = orgs_.at(org)->content().applied.position;
  orgs_.erase(org);
  snapshots_.erase(org);
  Notify(org, {.applied = closed_[org], .definitions = true, .closed = true});
}

void FoldStores::SetAmidLargeEvent(const std::string& org, bool amid) {
  absl::MutexLock lock(&mutex_);
  if (amid) {
    amid_.insert(org);
    return;
  }
  amid_.erase(org);
  Notify(org, {.applied = orgs_.at(org)->content().applied.position});
}

size_t FoldStores::subscriptions() {
  absl::MutexLock lock(&mutex_);
  return callbacks_.size();
}

absl::StatusOr<std::shared_ptr<const projectors::OrgSnapshot>> FoldStores::Snapshot(
    const OrgId& org) {
  absl::MutexLock lock(&mutex_);
  const auto it = orgs_.find(org.value());
  if (it == orgs_.end()) {
    return Error(absl::StatusCode::kNotFound, "org_not_found", "there is no such organisation");
  }
  if (amid_.contains(org.value())) {
    return Error(absl::StatusCode::kUnavailable, "not_caught_up",
                 "a large change is being applied");
  }
  std::shared_ptr<const PlainSnapshot>& snapshot = snapshots_[org.value()];
  if (snapshot != nullptr) {
    return snapshot;
  }
  const StoreContent& content = it->second->content();
  PlainOrg plain;
  plain.applied = content.applied;
  plain.model = it->second->model();
  plain.records = content.records;
  plain.history = content.history;
  for (const auto& [key, bucket] : content.buckets) {
    plain.changed[key] = bucket.changed;
  }
  for (const auto& [at, op] : content.deltas) {
    plain.deltas[at.first][at.second] = {
        op.put, {op.entity, op.key}, op.row, op.entered, op.returned};
  }
  plain.checksum = [model = plain.model](const PlainOrg::RowKey& key, Position position) {
    return projectors::RowChecksum(model->FindEntity(key.entity)->name(), key.key, position);
  };
  snapshot = std::make_shared<PlainSnapshot>(std::move(plain));
  return snapshot;
}

uint64_t FoldStores::Subscribe(const OrgId& org, projectors::AppliedCallback callback) {
  absl::MutexLock lock(&mutex_);
  callbacks_[next_subscription_] = {org.value(), std::move(callback)};
  return next_subscription_++;
}

void FoldStores::Unsubscribe(uint64_t subscription) {
  absl::MutexLock lock(&mutex_);
  callbacks_.erase(subscription);
}

Offset FoldStores::AppliedOf(const OrgId& org) {
  absl::MutexLock lock(&mutex_);
  const auto it = orgs_.find(org.value());
  if (it != orgs_.end()) {
    return it->second->content().applied.position;
  }
  const auto closed = closed_.find(org.value());
  return closed == closed_.end() ? kNoOffset : closed->second;
}

}  // namespace sluice::testing
