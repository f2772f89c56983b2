#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "projectors/fold/record.h"
#include "projectors/model/source_chain.h"

namespace sluice::projectors {

using schemas::AttributeId;

// An entry of the index of references: the row `child` of `entity` has `value` in `attribute`.
struct Link {
  EntityId entity;
  AttributeId attribute;
  std::string value;  // the text of the key that it points at
  std::string child;  // key
  friend auto operator<=>(const Link&, const Link&) = default;
};

// Work of a large event that is still to be done (docs/fold.md, "Large events").
struct WorkItem {
  uint32_t round = 0;
  std::string item;
  friend auto operator<=>(const WorkItem&, const WorkItem&) = default;
};

// What the fold may read: one organisation's store before the batch. Implemented by RocksStore
// and by the tests' plain model. Called from one thread at a time.
class FoldView {
 public:
  virtual ~FoldView() = default;

  // Of the first of `keys`, in their order; nullopt where there is neither row nor tombstone. Of
  // all of them, unless they have more than about `bytes_max` bytes together; of one at least.
  virtual absl::StatusOr<std::vector<std::optional<Record>>> GetRecords(
      std::span<const RecordKey> keys, size_t bytes_max) = 0;

  // Of a record whose memberships and support are apart: one of them (nullopt, 0 where there is
  // none), or all, which makes `record` one that has them with it.
  virtual absl::StatusOr<std::optional<Membership>> GetMembership(const RecordKey& key,
                                                                  BucketKey bucket) = 0;
  virtual absl::StatusOr<uint64_t> GetSupport(const RecordKey& key, uint32_t rule,
                                              BucketKey source) = 0;
  virtual absl::Status Complete(const RecordKey& key, Record* record) = 0;

  // When change sets (key: source, 0x00, id) were applied, nullopt for unknown ones. May know of
  // sets older than the deduplication window; the fold decides.
  virtual absl::StatusOr<std::vector<std::optional<AppliedSet>>> GetChangeSets(
      std::span<const std::string> keys) = 0;

  // What was taken of these streams, in their order; empty of those of which nothing was.
  virtual absl::StatusOr<std::vector<v1::SourceState>> GetSourceStates(
      std::span<const SourceStream> streams) = 0;

  virtual absl::StatusOr<std::vector<std::optional<BucketState>>> GetBuckets(
      std::span<const BucketKey> keys) = 0;

  // The next records of `entity` (tombstones too) after the key `after`, in key order: `max` at
  // most, and none after those that have `bytes_max` bytes together; none where there are no more.
  virtual absl::StatusOr<std::vector<std::pair<RecordKey, Record>>> ScanRecords(
      EntityId entity, std::string_view after, size_t max, size_t bytes_max) = 0;

  // The keys of the next `max` rows of `entity` after `after` whose `attribute` has `value`.
  virtual absl::StatusOr<std::vector<std::string>> ScanLinks(EntityId entity, AttributeId attribute,
                                                             std::string_view value,
                                                             std::string_view after,
                                                             size_t max) = 0;

  // The next `max` items of `round`, from `from` (included) on.
  virtual absl::StatusOr<std::vector<std::string>> ScanWork(uint32_t round, std::string_view from,
                                                            size_t max) = 0;
};

// A membership, or support (count 0: none), of a record that has them apart.
struct ApartMembership {
  RecordKey key;
  BucketKey bucket;
  std::optional<Membership> membership;  // nullopt: erased
};
struct ApartSupport {
  RecordKey key;
  Support support;
};

// What the fold writes: applied atomically, in this order, together with the applied position.
struct FoldBatch {
  std::vector<std::pair<RecordKey, std::optional<Record>>> records;  // nullopt: erased
  std::vector<ApartMembership> memberships;
  std::vector<ApartSupport> support;
  // Each names a delta of an earlier batch, written once and erased once (so SingleDelete fits).
  std::vector<std::pair<BucketKey, Position>> delta_erases;
  std::vector<std::pair<std::pair<BucketKey, Position>, DeltaOp>> delta_puts;
  std::vector<std::pair<BucketKey, std::optional<BucketState>>> buckets;  // nullopt: forgotten
  std::vector<std::pair<std::string, AppliedSet>> change_sets;
  std::vector<std::pair<SourceStream, v1::SourceState>> sources;  // whose steps were taken
  // AppliedState::history after each event, by its offset, ascending.
  std::vector<std::pair<Offset, uint64_t>> history;
  std::vector<std::pair<EntityId, AttributeId>> unlinked;  // all links of these are erased
  std::vector<std::pair<Link, bool>> links;                // true: put, false: erased
  std::vector<std::pair<WorkItem, bool>> work;             // as links
  std::optional<std::string> model;  // serialised OrgModel, when a control event changed it
  AppliedState applied;
};

}  // namespace sluice::projectors
