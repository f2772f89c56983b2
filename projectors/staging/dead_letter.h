#pragma once

#include "eventlog/event.h"
#include "projectors/fold/fold.h"
#include "schemas/base/clock.h"

namespace sluice::projectors {

// The event for the topic `deadletter` that tells of an event of `changes` that could not be
// applied, with its original bytes, but for a source's. Its id follows from the original's position
// ("changes-<partition>-<offset>-<op>"), so that one that is written again after a crash is known
// as the same.
[[nodiscard]] eventlog::Event MakeDeadLetter(PartitionId partition,
                                             const eventlog::StoredEvent& original,
                                             const Rejected& rejected, SystemTime now);

// For an original that leaves no room for the rest: its bytes stay at its position in the log.
[[nodiscard]] eventlog::Event WithoutOriginal(const eventlog::Event& dead_letter);

}  // namespace sluice::projectors
