#pragma once

#include <chrono>
#include <cstdint>
#include <set>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "projectors/store/store_manager_impl.h"

namespace sluice::projectors {

// What a checkpoint knew when it was begun, and what became of its flushes. Of one thread at a
// time.
class StoreManagerImpl::Pending final : public PendingCheckpoint {
 public:
  Pending(StoreManagerImpl& manager, PartitionId partition_in,
          const PartitionCheckpoint& checkpoint_in)
      : partition(partition_in),
        checkpoint(checkpoint_in),
        began(std::chrono::steady_clock::now()),
        manager_(manager) {}
  ~Pending() override;
  void Flush() override;

  const PartitionId partition;
  const PartitionCheckpoint checkpoint;  // the position of the begin
  const std::chrono::steady_clock::time_point began;
  std::vector<ApartSet::Entry> apart;  // of the begin
  // Of all stores of the partition: what had been committed.
  std::vector<std::pair<StoreSet::SlotPtr, int64_t>> committed;
  std::vector<StoreSet::SlotPtr> dirty;  // to be flushed
  std::vector<absl::Status> flushed;     // of each of these
  std::set<StoreSet::SlotPtr> behind;    // have less on disk than had been committed
  uint64_t disk_bytes = 0;               // of the open stores of all partitions

 private:
  StoreManagerImpl& manager_;
};

}  // namespace sluice::projectors
