#pragma once

#include <cstdint>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "eventlog/partition_group.h"

namespace sluice::eventlog {

// The group of a process that has no peers: Start() assigns it all partitions, Stop() revokes them,
// both on the caller's thread. Thread-safe.
class StaticPartitionGroup final : public PartitionGroup {
 public:
  // `partition_count`: as Log::PartitionCount(Topic::kChanges) says.
  explicit StaticPartitionGroup(int32_t partition_count);
  ~StaticPartitionGroup() override;

  absl::Status Start(Callbacks callbacks) override;
  void CommitHint(PartitionId partition, Offset next) override;
  void Stop() override;

 private:
  const std::vector<PartitionId> partitions_;
  absl::Mutex mutex_;
  Callbacks callbacks_ ABSL_GUARDED_BY(mutex_);
  bool started_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace sluice::eventlog
