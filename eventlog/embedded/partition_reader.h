#pragma once

#include <atomic>
#include <vector>

#include "eventlog/embedded/log_store.h"
#include "eventlog/embedded/partition_state.h"
#include "eventlog/log.h"

namespace sluice::eventlog {

// Reads what is durable of one partition of the embedded log. Each Read() is one forward scan, so
// that nothing is held between two of them.
class PartitionReader final : public Reader {
 public:
  PartitionReader(const LogStore& store, PartitionState& partition, Offset from)
      : store_(store), partition_(partition), next_(from) {}

  absl::StatusOr<std::vector<StoredEvent>> Read(const ReadLimits& limits) override;
  Offset next() const override { return next_; }
  void Cancel() override { partition_.Cancel(cancelled_); }

 private:
  // The range, once something is there to be read or the wait is over.
  absl::StatusOr<OffsetRange> Await(std::chrono::milliseconds wait_max);

  const LogStore& store_;
  PartitionState& partition_;
  Offset next_;
  std::atomic<bool> cancelled_ = false;
};

}  // namespace sluice::eventlog
