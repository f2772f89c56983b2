#pragma once

#include <cstdint>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "projectors/fold/fold_view.h"

namespace sluice::projectors {

// What a batch does to the counts and checksums of buckets. Both are sums, so the batch's share is
// added to the stored state once, at the end, whatever the order of its operations was.
// Not thread-safe.
class BucketChanges {
 public:
  // A row has come into the bucket. What is kept of its name is held to the end of the batch.
  void Name(BucketKey bucket, std::string name);

  // An operation, a put with the checksum's term or a removal, is written to the bucket at `at`.
  void Written(BucketKey bucket, Offset at, bool put, uint64_t row_checksum);
  // One that the store has is erased from it.
  void Erased(BucketKey bucket, bool put, uint64_t row_checksum);

  // Writes the new state of every bucket changed to `batch`, ascending by key; a bucket without
  // rows that the batch's horizon has passed has none.
  [[nodiscard]] absl::Status Emit(FoldView& view, FoldBatch* batch);

 private:
  struct Change {
    std::string name;  // empty: rows only left it, so the stored state has the name
    int64_t count = 0;
    uint64_t checksum = 0;
    Offset changed = kNoOffset;
  };
  absl::flat_hash_map<BucketKey, Change> changes_;
};

}  // namespace sluice::projectors
