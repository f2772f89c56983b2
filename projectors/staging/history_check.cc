#include "projectors/staging/history_check.h"

#include "fmt/format.h"
#include "schemas/status.h"

namespace sluice::projectors {

absl::Status CheckHistory(eventlog::Log& log, PartitionId partition, Offset applied,
                          uint64_t event_hash) {
  const absl::Status status =
      eventlog::VerifyContinuity(log, eventlog::Topic::kChanges, partition, applied, event_hash);
  if (!IsOtherHistory(status)) {
    return status;
  }
  return Error(absl::StatusCode::kDataLoss, ErrorCode(status),
               fmt::format("{}; restore the log that the stores were made from, or, to go on with "
                           "this one, run \"sluice log new-epoch\": the stores are then built anew "
                           "and clients begin afresh",
                           Message(status)));
}

absl::Status CheckHistoryOfAll(eventlog::Log& log, StoreManager& stores) {
  ASSIGN_OR_RETURN(const auto stats, stores.ListStores());
  for (const StoreManager::OrgStat& stat : stats) {
    RETURN_IF_ERROR_CTX(
        CheckHistory(log, stat.partition, stat.applied.position, stat.applied.event_hash),
        fmt::format("organisation {}", stat.org.value()));
  }
  return absl::OkStatus();
}

bool IsOtherHistory(const absl::Status& status) {
  const std::string code = ErrorCode(status);
  return code == "log_truncated" || code == "log_diverged";
}

}  // namespace sluice::projectors
