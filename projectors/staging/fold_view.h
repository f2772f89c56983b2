#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "projectors/store/record.h"

namespace sluice::projectors {

// What the fold may read: one organisation's store before the batch. Implemented by OrgStore
// (RocksDB) and by the tests' plain model. Called from one thread at a time.
class FoldView {
 public:
  virtual ~FoldView() = default;

  // In the order of `keys`; nullopt where there is neither row nor tombstone.
  virtual absl::StatusOr<std::vector<std::optional<Record>>> GetRecords(
      std::span<const RecordKey> keys) = 0;

  // Offsets at which change sets (key: source, 0x00, id) were first applied, nullopt for unknown
  // ones. May know of sets older than the deduplication window; the fold decides.
  virtual absl::StatusOr<std::vector<std::optional<Offset>>> GetChangeSets(
      std::span<const std::string> keys) = 0;

  virtual absl::StatusOr<std::vector<std::optional<BucketState>>> GetBuckets(
      std::span<const BucketKey> keys) = 0;

  // Calls `visit` for every record of `entity` (tombstones too) in key order, until it returns an
  // error.
  virtual absl::Status ForEachRecord(
      EntityId entity, absl::FunctionRef<absl::Status(const RecordKey&, const Record&)> visit) = 0;
};

// What the fold writes: applied atomically, together with the applied position.
struct FoldBatch {
  std::vector<std::pair<RecordKey, std::optional<Record>>> records;  // nullopt: erased
  std::vector<std::pair<std::pair<BucketKey, Position>, DeltaOp>> delta_puts;
  // Each names a delta of an earlier batch, written once and erased once (so SingleDelete fits).
  std::vector<std::pair<BucketKey, Position>> delta_erases;
  std::vector<std::pair<BucketKey, BucketState>> buckets;
  std::vector<std::pair<std::string, Offset>> change_sets;
  std::optional<std::string> model;  // serialised OrgModel, when a control event changed it
  AppliedState applied;
};

}  // namespace sluice::projectors
