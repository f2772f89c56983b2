#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>

#include "absl/status/statusor.h"
#include "projectors/fold/fold_view.h"
#include "projectors/model/org_model.h"

namespace sluice::projectors {

struct DeltaView {
  Position position;
  bool put = true;
  EntityId entity;
  std::string_view key;
  std::string_view row;        // row bytes
  Offset entered = kNoOffset;  // as in DeltaOp
  bool returned = false;       // as in DeltaOp
  bool old = false;            // a removal that the horizon has passed: to be passed over
};

// The operations of one bucket in position order. Views are valid until Next(). Not thread-safe;
// the snapshot must outlive it.
class DeltaIterator {
 public:
  virtual ~DeltaIterator() = default;
  virtual bool Valid() const = 0;
  virtual const DeltaView& op() const = 0;
  virtual void Next() = 0;
  virtual absl::Status status() const = 0;
};

// A consistent, immutable view of one organisation at an applied position. Thread-safe; iterators
// are not. Holds RocksDB files in place while it lives, so hold it for a bounded time.
class OrgSnapshot {
 public:
  virtual ~OrgSnapshot() = default;
  virtual const AppliedState& applied() const = 0;
  virtual const std::shared_ptr<const OrgModel>& model() const = 0;
  // Operations after `after` (kNoOffset: from the start); removals at or below the horizon are left
  // out.
  virtual std::unique_ptr<DeltaIterator> Scan(BucketKey bucket, Position after) const = 0;
  // Zero for a bucket that never had a row.
  virtual absl::StatusOr<BucketState> Bucket(BucketKey bucket) const = 0;
  // The record with those of its memberships at least that are in `buckets`, which ascend, and
  // maybe without support: of a row in very many buckets that is far less than the whole.
  virtual absl::StatusOr<std::optional<Record>> GetRecordIn(
      const RecordKey& key, std::span<const BucketKey> buckets) const = 0;
  // AppliedState::history after the organisation's event at exactly `offset`; nullopt where there
  // is none, and where it is forgotten: at or below the horizon.
  virtual absl::StatusOr<std::optional<uint64_t>> HistoryAt(Offset offset) const = 0;
  // What a reader met in the snapshot. Where it is damage the store is built anew. Returns
  // `status`.
  virtual absl::Status Note(absl::Status status) const { return status; }
};

}  // namespace sluice::projectors
