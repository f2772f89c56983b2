#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "projectors/fold/record.h"
#include "schemas/base/ids.h"

namespace sluice::projectors {

// What operators check of the staging stores. Thread-safe.
class StoreInspector {
 public:
  virtual ~StoreInspector() = default;

  struct OrgStat {
    OrgId org;
    PartitionId partition;
    uint32_t incarnation = 0;
    AppliedState applied;
    uint64_t disk_bytes = 0;
    // Why the store cannot be read now: `applied` says nothing then, unless it has `partial`. That
    // is a store which was left amid a large event, as it was found.
    absl::Status status{};
  };
  // Stores on disk, ascending by organisation.
  virtual absl::StatusOr<std::vector<OrgStat>> ListStores() = 0;

  // Checks a whole store against itself: every delta belongs to its record, counts and checksums of
  // every bucket by computing them anew. kDataLoss with the first difference.
  virtual absl::Status Verify(const OrgId& org) = 0;

  // A 128-bit digest, as hex, over the live content of a store in canonical order (records, deltas,
  // buckets, model, applied position): equal for equal folds.
  virtual absl::StatusOr<std::string> Digest(const OrgId& org) = 0;
};

}  // namespace sluice::projectors
