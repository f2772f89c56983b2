#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "eventlog/event.h"
#include "projectors/work/work_ledger.h"
#include "schemas/base/ids.h"

namespace sluice::projectors {

// All partitions of `work`, for who shows them to people. Thread-safe.
class WorkBoard {
 public:
  explicit WorkBoard(int32_t partitions);

  // The partition is read from its begin (WorkLedger::Begin).
  void Begin(PartitionId partition, bool whole);
  void Apply(PartitionId partition, const std::vector<eventlog::StoredEvent>& events);

  [[nodiscard]] std::optional<StreamWork> Find(PartitionId partition, const StreamKey& key) const;
  // The streams of a source, by name.
  [[nodiscard]] std::map<std::string, StreamWork> StreamsOf(PartitionId partition, const OrgId& org,
                                                            uint32_t incarnation,
                                                            std::string_view source) const;

 private:
  mutable absl::Mutex mutex_;
  std::vector<WorkLedger> ledgers_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace sluice::projectors
