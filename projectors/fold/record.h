#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "schemas/base/ids.h"
#include "schemas/entity_schema.h"

// What a staging store holds, as plain values. The byte formats are in
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

// A time that a row spent in a bucket: the event that brought it, and the one that took it away.
struct Stay {
  Offset from;
  Offset until;
  bool by_definition = false;  // as in Membership
  friend bool operator==(const Stay&, const Stay&) = default;
};
// A row that comes and goes more often than this within the horizon has its oldest stays made one.
inline constexpr size_t kStaysMax = 8;

// Where a record's newest operation stands in one bucket's deltas.
struct Membership {
  BucketKey bucket;
  Position position;
  bool member = true;  // false: the operation is the removal, kept until the tombstone horizon
  uint32_t rule = 0;   // the number of the rule that the bucket is of (SyncRule::number)
  Offset entered = kNoOffset;  // the event that brought the row into the bucket
  // Not a member: it was a definition (a profile, a schema) that ended the membership.
  bool by_definition = false;
  // Times in the bucket before `entered`, as long as the tombstone horizon has not passed the begin
  // of the next one, ascending; at most kStaysMax that ended behind the horizon.
  std::vector<Stay> earlier = {};
  // The first of `earlier` stands for several, and for the times between them.
  bool vague = false;
  friend bool operator==(const Membership&, const Membership&) = default;

  // A reader that has not come so far has never been told of the row here.
  Offset first_entered() const { return earlier.empty() ? entered : earlier.front().from; }
};

// Drops of `earlier` what nobody can still have: a stay after which the next one had begun by
// `horizon`. That it has ended by then is not enough. A client that loads has what it had, and what
// the store it loads from holds up to where it has come: of a row that left before that place and
// was back behind it, it is told where it comes to that, and may be told of a later store first.
inline void ForgetStays(Offset horizon, Membership* membership) {
  std::vector<Stay>& earlier = membership->earlier;
  size_t gone = 0;
  while (gone < earlier.size() &&
         (gone + 1 < earlier.size() ? earlier[gone + 1].from : membership->entered) <= horizon) {
    ++gone;
  }
  if (gone > 0) {
    membership->vague = false;
    earlier.erase(earlier.begin(), earlier.begin() + static_cast<std::ptrdiff_t>(gone));
  }
}

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
  std::optional<int64_t> version;  // the source's own: gateways/docs/api.md, section 2
  bool deleted = false;
  std::vector<Membership> memberships;  // ascending bucket key, at most one a bucket
  std::string row;                      // row bytes; empty when deleted
  std::vector<Support> support;         // ascending (rule, source), counts above 0
  // Of a row that many point at, memberships and support are in rows of their own: not here, but so
  // many.
  bool apart = false;
  uint64_t memberships_apart = 0;
  uint64_t support_apart = 0;
  friend bool operator==(const Record&, const Record&) = default;
};

// A ready-to-send operation of a bucket.
struct DeltaOp {
  bool put = true;  // false: remove
  EntityId entity;
  std::string key;
  std::string row;             // row bytes; empty for a remove
  Offset entered = kNoOffset;  // Membership::first_entered
  bool returned = false;       // there are earlier stays than the membership's own
  friend bool operator==(const DeltaOp&, const DeltaOp&) = default;
};

// What a bucket holds: how many live rows, and the sum modulo 2^64 of XXH64(seed 0) over
// `entity name 0x00 key 0x00 position text` of each (gateways/docs/api.md, section 3.2).
struct BucketState {
  std::string name;  // rule id and parameter values; its hash is the key
  uint64_t count = 0;
  uint64_t checksum = 0;
  // The event that last changed the bucket's operations. Kept for a bucket without rows, too, until
  // the tombstone horizon has passed it; one that it has passed means nothing any more.
  Offset changed = kNoOffset;
  friend bool operator==(const BucketState&, const BucketState&) = default;
};

// An event that is larger than one batch, of which a part has been written (docs/fold.md, "Large
// events"). Readers never see a store in this state.
struct PartialEvent {
  Offset offset;
  uint32_t round = 0;       // depth of the rules that are being placed; 0: before the first
  std::string item;         // the item of the round's work that comes next, or is under way
  std::string row;          // the last key of it, or of a sweep, that was done; empty: none
  uint32_t next_index = 0;  // of the next position
  uint64_t event_hash = 0;  // eventlog::EventHash of it; 0: not known, by an earlier program
  // Of a change set: the operation that comes next; 0: all are done. 1 of one that sweeps: it goes
  // on after `row`.
  uint32_t op = 0;
  friend bool operator==(const PartialEvent&, const PartialEvent&) = default;
};

// An event by which ages are measured: where it is, how many events the organisation had with it,
// and what the organisation's clock said.
struct Mark {
  Offset offset;
  uint64_t ordinal = 0;
  int64_t time_us = 0;  // since 1970; 0 where removals have no age
  friend bool operator==(const Mark&, const Mark&) = default;
};

// When a change set was applied.
struct AppliedSet {
  Offset offset;
  uint64_t ordinal = 0;  // AppliedState::events with it
  friend bool operator==(const AppliedSet&, const AppliedSet&) = default;
};

// How far a store has come. Written with every batch.
struct AppliedState {
  Offset position = kNoOffset;  // last event applied whole
  uint64_t event_hash = 0;      // eventlog::EventHash of that event
  uint64_t records = 0;         // live rows
  Offset horizon = kNoOffset;   // removals at or below it may be gone
  // The organisation's events so far, from its OrgOpened on; amid a large event, with that.
  uint64_t events = 0;
  uint64_t history = 0;     // ChainHistory of those applied whole, 0 for none
  int64_t clock_us = 0;     // the organisation's clock (docs/fold.md, "What is forgotten")
  int64_t time_us = 0;      // what the last event said of its time, where there is a clock
  std::vector<Mark> marks;  // ascending, a few over the tombstones' horizon and age
  std::optional<PartialEvent> partial;  // of the event after `position`
  friend bool operator==(const AppliedState&, const AppliedState&) = default;
};

// The control event of a partition of `changes` that answers the newest request: `provisioning`
// must hold that request, or it has lost its end.
struct ControlMark {
  Offset at = kNoOffset;       // in `changes`; kNoOffset where there was none
  Offset answers = kNoOffset;  // in `provisioning`
  std::string id;              // the control event's
  friend bool operator==(const ControlMark&, const ControlMark&) = default;
};

}  // namespace sluice::projectors
