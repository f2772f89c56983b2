#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "eventlog/record_source.h"
#include "gateways/debezium/snapshot_generations.h"
#include "gateways/debezium/topic_plan.h"
#include "gateways/debezium/transaction_assembler.h"
#include "schemas/base/clock.h"

namespace sluice::gateways {

// Waits, once a snapshot's last row was read, until none of its rows can be unread: those of one
// producer become visible in any order over partitions. Not thread-safe.
class SnapshotSweeps {
 public:
  // Both must outlive it.
  SnapshotSweeps(eventlog::RecordSource& source, const Clock& clock)
      : source_(source), clock_(clock) {}

  // Another plan is followed.
  void Clear() { waits_.clear(); }
  // Those of the snapshots that are due of which all is read now.
  [[nodiscard]] absl::StatusOr<std::vector<SnapshotGenerations::Sweep>> Ready(
      const SnapshotGenerations& generations, const TopicPlan& plan,
      const TransactionAssembler& assembler);

 private:
  struct Wait {
    int64_t version = -1;  // of the sweep
    SteadyTime ask_at;
    std::vector<std::pair<size_t, Offset>> ends;  // by place
  };

  eventlog::RecordSource& source_;
  const Clock& clock_;
  std::map<std::string, Wait> waits_;  // by topic
};

}  // namespace sluice::gateways
