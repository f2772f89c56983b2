#include "projectors/staging/history_check.h"

#include <fmt/format.h>

#include "schemas/status.h"

namespace sluice::projectors {

absl::Status CheckHistory(eventlog::Log& log, PartitionId partition, Offset applied,
                          uint64_t event_hash) {
  return eventlog::VerifyContinuity(log, eventlog::Topic::kChanges, partition, applied, event_hash);
}

absl::Status CheckHistory(eventlog::Log& log, PartitionId partition,
                          std::span<const std::pair<Offset, uint64_t>> applied) {
  if (applied.empty()) {
    return absl::OkStatus();
  }
  // The newest first: it tells a log that is too short, below which all can be read.
  RETURN_IF_ERROR(CheckHistory(log, partition, applied.back().first, applied.back().second));
  auto next = applied.begin();
  return eventlog::ReadUntil(log, eventlog::Topic::kChanges, partition, next->first,
                             applied.back().first, [&](const eventlog::StoredEvent& event) {
                               const bool missing = event.offset > next->first;
                               if (missing || (event.offset == next->first &&
                                               eventlog::EventHash(event.event) != next->second)) {
                                 return CheckHistory(log, partition, next->first, next->second);
                               }
                               next += event.offset == next->first ? 1 : 0;
                               return absl::OkStatus();
                             });
}

absl::Status CheckHistory(eventlog::Log& log, PartitionId partition, const AppliedState& applied) {
  RETURN_IF_ERROR(CheckHistory(log, partition, applied.position, applied.event_hash));
  const auto& partial = applied.partial;
  return partial.has_value() && partial->event_hash != 0
             ? CheckHistory(log, partition, partial->offset, partial->event_hash)
             : absl::OkStatus();
}

absl::Status CheckHistoryOfAll(eventlog::Log& log, StoreManager& stores) {
  ASSIGN_OR_RETURN(const auto stats, stores.ListStores());
  for (const StoreManager::OrgStat& stat : stats) {
    RETURN_IF_ERROR_CTX(CheckHistory(log, stat.partition, stat.applied),
                        fmt::format("organisation {}", stat.org.value()));
  }
  return absl::OkStatus();
}

bool IsOtherHistory(const absl::Status& status) {
  const std::string code = ErrorCode(status);
  return code == "log_truncated" || code == "log_diverged";
}

}  // namespace sluice::projectors
