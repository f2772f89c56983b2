#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "eventlog/cancellation.h"
#include "eventlog/log.h"
#include "projectors/nodes/folded_marks.h"
#include "projectors/store/store_writer.h"
#include "schemas/base/clock.h"

namespace sluice::projectors {

class NodeDirectory;

// Compares with the log what this process has applied of one partition of `changes`, whichever
// projector applied it, and what the other nodes have told to have folded of it (docs/fold.md,
// "Which history"). What does not fit is remembered with the stores: it is refused after a
// re-assignment and after a restart, too. Errors are CheckHistory()'s, and kUnavailable, code
// "log_end_doubted", where the log has to be asked again. Not thread-safe.
class HistoryGuard {
 public:
  // All must outlive it; `nodes` may be nullptr. `cancellation` ends what is compared.
  HistoryGuard(PartitionId partition, eventlog::Log& log, StoreWriter& stores, const Clock& clock,
               NodeDirectory* nodes, eventlog::Cancellation& cancellation);

  // What was applied last, and what else tells of another history.
  [[nodiscard]] absl::Status VerifyHistory();
  // The same for what was read and is to be folded: with what others have told not each time, which
  // may be more than what was read.
  [[nodiscard]] absl::Status VerifyRead();
  // Also what was applied last of every batch since that was done last. After an error of the log,
  // and where another projector of this process was before: should something of another history
  // have been applied without having been noticed, what was applied last may fit.
  [[nodiscard]] absl::Status VerifyBatches();
  // VerifyHistory() where others have told of something since that was compared. That the log
  // cannot tell now is no error: it is asked again.
  [[nodiscard]] absl::Status VerifyNewlyTold();
  // Where the log ends before what was applied, has whoever comes next look first whether it holds
  // that.
  void NoteDoubted();
  // From now on nothing ends what is compared: it is for the last checkpoint.
  void OutliveCancellation() { cancellation_ = nullptr; }

 private:
  // One question, before much is read of a log that ends too early.
  absl::Status VerifyEnd();
  absl::Status VerifyApplied();  // by this process
  absl::Status VerifyTold();     // by the others
  absl::Status CompareTold();
  void NoteLookedAtTold();
  bool IsToldDue();
  absl::Status NoteIfLost(absl::Status compared, Offset offset, uint64_t event_hash);
  void NoteLost(Offset offset, uint64_t event_hash);

  const PartitionId partition_;
  eventlog::Log& log_;
  StoreWriter& stores_;
  const Clock& clock_;
  NodeDirectory* const nodes_;
  eventlog::Cancellation* cancellation_;
  SteadyTime next_told_look_;
  SteadyTime next_told_glance_;        // whether something was told since
  std::vector<FoldedMark> told_held_;  // that the log was seen to hold at the last look; ascending
};

}  // namespace sluice::projectors
