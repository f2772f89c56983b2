#pragma once

#include <atomic>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "schemas/base/ids.h"
#include "schemas/base/status.h"

namespace sluice::eventlog {

// A partition that is not well, and why.
using TroubledPartitions = std::vector<std::pair<PartitionId, absl::Status>>;

// Of the health of partitions, that of a process: until it has been ready once every partition
// counts. Then one that is behind, or whose broker is away, is its own trouble: whoever sends
// requests by readiness must not take the others away with it. Its owner asks about once a second
// itself: that all were well must not depend on whether anybody else asked then. Thread-safe.
class PartitionHealth {
 public:
  // `troubled` of `count` partitions. Not OK, with the error of one, before all have been well at
  // once, where none is, and where the log is no longer the one that it was.
  [[nodiscard]] absl::Status Of(const TroubledPartitions& troubled, size_t count) {
    if (troubled.empty()) {
      was_ready_ = was_ready_ || count > 0;
      return absl::OkStatus();
    }
    for (const auto& [partition, status] : troubled) {
      if (IsForGood(status)) {
        return status;
      }
    }
    return was_ready_ && troubled.size() < count ? absl::OkStatus() : troubled.front().second;
  }
  // All were well at once.
  bool was_ready() const { return was_ready_; }

 private:
  static bool IsForGood(const absl::Status& status) {
    const std::string code = ErrorCode(status);
    return code == "log_truncated" || code == "log_diverged" ||
           ((absl::IsDataLoss(status) || absl::IsOutOfRange(status)) && code != "store_corrupt");
  }

  std::atomic<bool> was_ready_{false};
};

}  // namespace sluice::eventlog
