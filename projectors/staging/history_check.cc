#include "projectors/staging/history_check.h"

#include "schemas/base/status.h"

namespace sluice::projectors {

absl::Status CheckHistory(eventlog::Log& log, PartitionId partition, Offset applied,
                          uint64_t event_hash, eventlog::Cancellation* cancellation) {
  return eventlog::VerifyContinuity(log, eventlog::Topic::kChanges, partition, applied, event_hash,
                                    eventlog::kReadPatience, cancellation);
}

absl::Status CheckHistory(eventlog::Log& log, PartitionId partition,
                          std::span<const std::pair<Offset, uint64_t>> applied,
                          std::pair<Offset, uint64_t>* misfit,
                          eventlog::Cancellation* cancellation) {
  ASSIGN_OR_RETURN(const eventlog::OffsetRange range,
                   log.Range(eventlog::Topic::kChanges, partition));
  while (!applied.empty() && applied.front().first < range.begin) {
    applied = applied.subspan(1);  // removed by retention
  }
  if (applied.empty()) {
    return absl::OkStatus();
  }
  const auto check = [&](const std::pair<Offset, uint64_t>& one) {
    absl::Status status = CheckHistory(log, partition, one.first, one.second, cancellation);
    if (eventlog::IsOtherHistory(status)) {
      *misfit = one;
    }
    return status;
  };
  // The newest first: it tells a log that is too short, below which all can be read.
  RETURN_IF_ERROR(check(applied.back()));
  auto next = applied.begin();
  const absl::Status read = eventlog::ReadUntil(
      log, eventlog::Topic::kChanges, partition, next->first, applied.back().first,
      [&](const eventlog::StoredEvent& event) {
        const bool missing = event.offset > next->first;
        if (missing ||
            (event.offset == next->first && eventlog::EventHash(event.event) != next->second)) {
          return check(*next);
        }
        next += event.offset == next->first ? 1 : 0;
        return absl::OkStatus();
      },
      eventlog::kReadPatience, cancellation);
  // What was there a moment ago has been removed, or lost: the next try tells.
  return absl::IsOutOfRange(read)
             ? Error(StatusCode::kUnavailable, "log_unavailable", Message(read))
             : read;
}

absl::Status CheckHistory(eventlog::Log& log, PartitionId partition, const AppliedState& applied,
                          eventlog::Cancellation* cancellation) {
  RETURN_IF_ERROR(CheckHistory(log, partition, applied.position, applied.event_hash, cancellation));
  const auto& partial = applied.partial;
  return partial.has_value() && partial->event_hash != 0
             ? CheckHistory(log, partition, partial->offset, partial->event_hash, cancellation)
             : absl::OkStatus();
}

}  // namespace sluice::projectors
