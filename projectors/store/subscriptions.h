#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "projectors/store/applied_change.h"

namespace sluice::projectors {

// Who wants to know of an organisation's progress. Thread-safe; a callback must not call back.
class Subscriptions {
 public:
  uint64_t Add(const OrgId& org, AppliedCallback callback) {
    absl::MutexLock lock(&mutex_);
    const uint64_t id = ++last_id_;
    callbacks_[{org.value(), id}] = std::move(callback);
    orgs_[id] = org.value();
    return id;
  }

  // Waits for calls under way.
  void Remove(uint64_t id) {
    absl::MutexLock lock(&mutex_);
    const auto found = orgs_.find(id);
    if (found != orgs_.end()) {
      callbacks_.erase({found->second, id});
      orgs_.erase(found);
    }
  }

  // Readers see `change` already.
  void Notify(const OrgId& org, const AppliedChange& change) {
    absl::MutexLock lock(&mutex_);
    for (auto it = callbacks_.lower_bound({org.value(), 0});
         it != callbacks_.end() && it->first.first == org.value(); ++it) {
      it->second(change);
    }
  }

 private:
  absl::Mutex mutex_;
  uint64_t last_id_ ABSL_GUARDED_BY(mutex_) = 0;
  std::map<std::pair<std::string, uint64_t>, AppliedCallback> callbacks_ ABSL_GUARDED_BY(mutex_);
  std::map<uint64_t, std::string> orgs_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace sluice::projectors
