#pragma once

#include <cstdint>
#include <span>
#include <utility>

#include "absl/status/status.h"
#include "eventlog/cancellation.h"
#include "eventlog/log.h"
#include "projectors/fold/record.h"

namespace sluice::projectors {

// Does the log still hold, at the position that a store of `partition` has applied, the event that
// it applied there? kDataLoss, code "log_truncated" or "log_diverged", with what to do;
// kUnavailable where the log cannot tell now. `cancellation` here and below: may be nullptr; where
// it ends the look, kCancelled.
[[nodiscard]] absl::Status CheckHistory(eventlog::Log& log, PartitionId partition, Offset applied,
                                        uint64_t event_hash,
                                        eventlog::Cancellation* cancellation = nullptr);

// CheckHistory() of all that a store has applied: of the event at its position, and of the one that
// it has applied in part.
[[nodiscard]] absl::Status CheckHistory(eventlog::Log& log, PartitionId partition,
                                        const AppliedState& applied,
                                        eventlog::Cancellation* cancellation = nullptr);

// CheckHistory() of several events of one partition, by ascending offset, in one pass over the log.
// Those that retention has removed can't be compared.
// `misfit`: the first that does not fit.
[[nodiscard]] absl::Status CheckHistory(eventlog::Log& log, PartitionId partition,
                                        std::span<const std::pair<Offset, uint64_t>> applied,
                                        std::pair<Offset, uint64_t>* misfit,
                                        eventlog::Cancellation* cancellation = nullptr);

}  // namespace sluice::projectors
