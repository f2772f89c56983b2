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
  uint32_t rule = 0;   // the number of the rule that the bucket is of (SyncRule::number)
  // The event since which the row has been in the bucket; where it came back before its removal was
  // forgotten, the first. A reader that has not come so far has never been told of the row here.
  Offset entered = kNoOffset;
  // It was out of the bucket since `entered` and came back: the one thing that `entered` hides. A
  // removal of a row that was not out tells that the row was here all the time from `entered` on.
  bool returned = false;
  friend bool operator==(const Membership&, const Membership&) = default;
};

// How many rows give this one the bucket that `rule` derives from their bucket `source` (rules of
// kind RELATED through an attribute of the other rows). Counted whether or not there is a row.
struct Support {
  uint32_t rule = 0;
  BucketKey source;
  uint64_t count = 0;
  friend bool operator==(const Support&, const Support&) = default;
};

// A row, or the tombstone of one: `deleted` with the version and the removals that are remembered,
// and the support that other rows give it.
struct Record {
  Position last;                   // the operation that wrote it last
  std::optional<int64_t> version;  // the source's own, see API section 2
  bool deleted = false;
  std::vector<Membership> memberships;  // ascending bucket key, at most one a bucket
  std::string row;                      // row bytes; empty when deleted
  std::vector<Support> support;         // ascending (rule, source), counts above 0
  friend bool operator==(const Record&, const Record&) = default;
};

// A ready-to-send operation of a bucket.
struct DeltaOp {
  bool put = true;  // false: remove
  EntityId entity;
  std::string key;
  std::string row;             // row bytes; empty for a remove
  Offset entered = kNoOffset;  // as in Membership
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

// An event that is larger than one batch, of which a part has been written (docs/fold.md, "Large
// events"). Readers never see a store in this state.
struct PartialEvent {
  Offset offset;
  uint32_t round = 0;       // depth of the rules that are being placed; 0: before the first
  std::string item;         // the item of the round's work that comes next, or is under way
  std::string row;          // the last key of it that was done; empty: none
  uint32_t next_index = 0;  // of the next position
  friend bool operator==(const PartialEvent&, const PartialEvent&) = default;
};

// When an event happened, as its ce_time says: what an age in time is measured by.
struct TimeMark {
  Offset offset;
  int64_t time_us = 0;  // since 1970
  friend bool operator==(const TimeMark&, const TimeMark&) = default;
};

// How far a store has come. Written with every batch.
struct AppliedState {
  Offset position = kNoOffset;          // last event applied whole
  uint64_t event_hash = 0;              // eventlog::EventHash of that event
  uint64_t records = 0;                 // live rows
  Offset horizon = kNoOffset;           // removals at or below it may be gone
  std::vector<TimeMark> marks;          // ascending, a few over the tombstones' age
  std::optional<PartialEvent> partial;  // of the event after `position`
  friend bool operator==(const AppliedState&, const AppliedState&) = default;
};

}  // namespace sluice::projectors
