#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "projectors/fold/fold.h"
#include "schemas/base/ids.h"
#include "schemas/base/metrics.h"

namespace sluice::projectors {

// What the staging projector counts (sluice_staging_*). Thread-safe.
class StagingMetrics {
 public:
  // A registry of its own where `registry` is null.
  explicit StagingMetrics(std::shared_ptr<prometheus::Registry> registry);
  ~StagingMetrics();

  void BatchApplied(const FoldCounters& counters, size_t rejected,
                    std::chrono::steady_clock::duration took);
  void DeadLettered(size_t events);
  // Dead letters of the partition that are not durable yet.
  void LettersHeld(PartitionId partition, size_t letters);
  void Retried();
  // A step of an organisation that is apart.
  void StepApart(const FoldCounters& counters, size_t rejected,
                 std::chrono::steady_clock::duration took);
  // What is held of the partition for organisations that are apart.
  void ApartBytes(PartitionId partition, size_t bytes);
  // How many organisations are apart, by reason.
  void Apart(const std::map<std::string, size_t>& by_reason);
  // Events of the partition's log that are not folded yet.
  void Lag(PartitionId partition, int64_t events);
  // The partition is another process's now.
  void Revoked(PartitionId partition);

 private:
  void Count(const FoldCounters& counters, size_t rejected);

  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::projectors
