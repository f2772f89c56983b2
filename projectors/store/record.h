#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "eventlog/base/ids.h"
#include "schemas/entity_schema.h"

// What a staging store holds (DESIGN section 4), as plain values. The byte formats are in
// projectors/docs/store-format.md.
namespace sluice::projectors {

using schemas::EntityId;

struct RecordKey {
  EntityId entity;
  std::string key;
  friend auto operator<=>(const RecordKey&, const RecordKey&) = default;
  template <typename H>
  friend H AbslHashValue(H h, const RecordKey& k) {
    return H::combine(std::move(h), k.entity, k.key);
  }
};

// Where a record's newest operation stands in one bucket's deltas.
struct Membership {
  BucketKey bucket;
  Position position;
  bool member = true;  // false: the operation is the removal, kept until the tombstone horizon
  friend bool operator==(const Membership&, const Membership&) = default;
};

// A row, or the tombstone of one: `deleted` with the version and the removals that are remembered.
struct Record {
  Position last;                   // the operation that wrote it last
  std::optional<int64_t> version;  // the source's own, see API section 2
  bool deleted = false;
  std::vector<Membership> memberships;  // ascending bucket key, at most one a bucket
  std::string row;                      // row bytes; empty when deleted
  friend bool operator==(const Record&, const Record&) = default;
};

// A ready-to-send operation of a bucket.
struct DeltaOp {
  bool put = true;  // false: remove
  EntityId entity;
  std::string key;
  std::string row;  // row bytes; empty for a remove
  friend bool operator==(const DeltaOp&, const DeltaOp&) = default;
};

// The live rows of a bucket: how many, and the sum modulo 2^64 of XXH64(seed 0) over
// `entity name 0x00 key 0x00 position text` of each (API section 3.2).
struct BucketState {
  std::string name;  // rule id and parameter values; two names with one key are an error
  uint64_t count = 0;
  uint64_t checksum = 0;
  friend bool operator==(const BucketState&, const BucketState&) = default;
};

// How far a store has come. Written with every batch.
struct AppliedState {
  Offset position = kNoOffset;  // last event applied whole
  uint64_t event_hash = 0;      // eventlog::EventHash of that event
  uint64_t records = 0;         // live rows
  Offset horizon = kNoOffset;   // removals at or below it may be gone
  friend bool operator==(const AppliedState&, const AppliedState&) = default;
};

}  // namespace sluice::projectors
