#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "eventlog/event.h"
#include "projectors/fold/fold.h"
#include "projectors/fold/record.h"
#include "projectors/store/partition_progress.h"
#include "schemas/base/ids.h"

namespace sluice::projectors {

struct ApplyResult {
  std::vector<Rejected> rejected;
  FoldCounters counters;
};

// What a partition's second thread, which folds who is apart, writes to the staging stores.
// Thread-safe.
class ApartWriter : public PartitionProgress {
 public:
  virtual std::optional<ApartOrg> ApartStateOf(PartitionId partition, const OrgId& org) = 0;
  // From where on its events are needed: `next`, or what follows what its store holds already, for
  // instance because the folder came back from a backup, and what of it is to be dead-lettered and
  // is in the log from `begin` on. Opens the store, so it may set `next` anew.
  virtual Offset ApartFrom(PartitionId partition, const ApartOrg& apart, Offset begin) = 0;
  // Compares what the organisation's store has applied with the log, before it is given events of
  // a reader that may be of another history. kDataLoss, code "log_truncated" or "log_diverged",
  // which StoreWriter::LookForTrouble() tells the main thread, too; kUnavailable where the log
  // cannot tell now. What is wrong with the store itself is told by ApplyApart(). Waits up to 30 s
  // for a log that takes long, but some seconds at most once `stopping` says so.
  [[nodiscard]] virtual absl::Status CheckApart(PartitionId partition, const ApartOrg& apart,
                                                absl::FunctionRef<bool()> stopping) = 0;
  // Takes the first of `events`, which are all of the organisation's from that place on, in order,
  // and adds to `result`. `apart` is as ApartOf() gave it. Returns how many are done: at least one,
  // or 0 where the first is done in part. kAborted, code "apart_changed", where `next` has been set
  // anew; any other error is the organisation's own, to be retried with back-off.
  virtual absl::StatusOr<size_t> ApplyApart(PartitionId partition, const ApartOrg& apart,
                                            std::span<const eventlog::StoredEvent> events,
                                            ApplyResult* result) = 0;
  // Everything of the organisation below `next` is applied, and its rejections dead-lettered. True
  // where it is given back to the main thread; nothing is done where its own `next` has been set
  // anew. May flush its store, or read some of it: kUnavailable, code "store_reading", says that it
  // gets on, and is to be called again; another error is its own, to be retried with back-off.
  virtual absl::StatusOr<bool> AdvanceApart(PartitionId partition, const ApartOrg& apart,
                                            Offset next) = 0;
};

}  // namespace sluice::projectors
