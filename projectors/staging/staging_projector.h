#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "eventlog/log.h"
#include "projectors/store/store_manager.h"

namespace sluice::eventlog {
class PartitionGroup;
}

namespace sluice::projectors {

struct StagingOptions {
  size_t batch_bytes_max = 4 << 20;
  size_t batch_events_max = 10'000;
  // How much is read again after a crash, against flushes of the stores.
  std::chrono::milliseconds checkpoint_interval{30'000};
  // First and longest wait before what failed is tried again.
  std::chrono::milliseconds retry_min{100};
  std::chrono::milliseconds retry_max{10'000};
  std::shared_ptr<prometheus::Registry> registry;
};

// The driver of the staging fold: for each partition that its group assigns, a thread reads
// `changes` from the store's checkpoint, applies, writes checkpoints, and dead-letters what can't
// be applied (before the position moves past it). Errors of the log or the disk are retried with
// back-off and shown by Health(); a log that does not continue what the stores applied stops that
// partition for good.
class StagingProjector {
 public:
  // All must outlive the projector.
  StagingProjector(eventlog::Log& log, eventlog::PartitionGroup& group, StoreManager& stores,
                   const Clock& clock, StagingOptions options);
  ~StagingProjector();

  [[nodiscard]] absl::Status Start();
  // Finishes the batches under way, writes checkpoints, leaves the group.
  void Stop();

  // Ok once every assigned partition has caught up with the end it saw at start and no partition is
  // failing; otherwise why not, for /readyz.
  [[nodiscard]] absl::Status Health() const;
  // Does this process fold `partition`?
  [[nodiscard]] bool Serves(PartitionId partition) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::projectors
