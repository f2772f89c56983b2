#pragma once

#include <utility>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "eventlog/partition_group.h"

namespace sluice::testing {

// A group that gives and takes partitions when the test says so. Thread-safe.
class ManualGroup final : public eventlog::PartitionGroup {
 public:
  absl::Status Start(Callbacks callbacks) override {
    const absl::MutexLock lock(&mutex_);
    callbacks_ = std::move(callbacks);
    return absl::OkStatus();
  }
  void CommitHint(PartitionId, Offset) override {}
  void Stop() override { Revoke(); }

  void Assign() {
    const absl::MutexLock lock(&mutex_);
    if (!std::exchange(assigned_, true)) {
      callbacks_.on_assigned({PartitionId(0)});
    }
  }
  void Revoke() {
    const absl::MutexLock lock(&mutex_);
    if (std::exchange(assigned_, false)) {
      callbacks_.on_revoked({PartitionId(0)});
    }
  }

 private:
  absl::Mutex mutex_;
  Callbacks callbacks_ ABSL_GUARDED_BY(mutex_);
  bool assigned_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace sluice::testing
