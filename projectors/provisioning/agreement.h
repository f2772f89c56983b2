#pragma once

#include <chrono>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "eventlog/cancellation.h"
#include "eventlog/log.h"
#include "projectors/fold/record.h"
#include "projectors/nodes/folded_marks.h"
#include "projectors/provisioning/directory.h"

// `provisioning` and `changes` tell of one another: an outcome names the control event that a
// request led to, a control event the request that it answers. They are separate in Kafka, so each
// can lose its end without the other; definitions and rights would then differ for good.
namespace sluice::projectors {

// Do both topics still hold what they held when they were made to agree (Log::Agreed())? Errors as
// CheckControl().
// `cancellation` here and below: may be nullptr; where it ends the look, kCancelled.
[[nodiscard]] absl::Status CheckAgreedEnds(eventlog::Log& log, PartitionId partition,
                                           eventlog::Cancellation* cancellation = nullptr);

// The newest outcome of a partition that led to a control event: `changes` must hold it. Where it
// does, it holds those of all older outcomes: none is told that is not on top of them
// (PartitionSequencer).
struct OutcomeMark {
  Offset at = kNoOffset;       // in `provisioning`; kNoOffset where there was none
  Offset control = kNoOffset;  // in `changes`
  std::string control_id;

  // `outcome`: what the directory made of the event at `offset`, which is not below Log::Agreed():
  // what was said before has other places now.
  void Add(const Directory::Outcome& outcome, Offset offset);
};

// Does `changes` hold the control event that `mark` tells of? kDataLoss, code "log_truncated" where
// it ends before, "log_diverged" where another event is there; kUnavailable where the log cannot
// tell now, or shows nothing for `patience`. What was removed is not compared.
[[nodiscard]] absl::Status CheckControl(
    eventlog::Log& log, PartitionId partition, const OutcomeMark& mark,
    std::chrono::milliseconds patience = eventlog::kReadPatience,
    eventlog::Cancellation* cancellation = nullptr);

// CheckControl() of every outcome from Log::Agreed() on, which is slow: for logs in which one was
// told without the older ones being compared. Reads `provisioning` whole, and one event of
// `changes` for each. Errors likewise, of the oldest that does not fit.
[[nodiscard]] absl::Status CheckAllControls(eventlog::Log& log, PartitionId partition);

// Does `provisioning` hold the request that `mark` answers? Errors likewise. A mark below
// Log::Agreed() is not compared.
[[nodiscard]] absl::Status CheckRequest(eventlog::Log& log, PartitionId partition,
                                        const ControlMark& mark,
                                        eventlog::Cancellation* cancellation = nullptr);

// Does `changes` hold all that nodes have told to have folded? Errors as
// eventlog::VerifyContinuity().
[[nodiscard]] absl::Status CheckFolded(eventlog::Log& log, PartitionId partition,
                                       std::span<const FoldedMark> marks,
                                       eventlog::Cancellation* cancellation = nullptr);

}  // namespace sluice::projectors
