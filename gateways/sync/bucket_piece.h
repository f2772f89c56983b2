#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "gateways/sync/encoder.h"
#include "projectors/store/org_snapshot.h"
#include "schemas/base/ids.h"
#include "schemas/entity_schema.h"

// Pieces of a bucket: what a session sends of one, read, chosen and encoded.
namespace sluice::gateways {

// Which of a bucket's removals a client has to be told. Of a row that it can't have it is told
// nothing: neither that it was removed, nor its key. Puts go out whatever this says.
struct KnownRows {
  Offset removed_after = kNoOffset;  // the client knows no row that was removed at or before this
  Offset entered_until =
      kNoOffset;  // nor one that entered after this, but for this snapshot's puts

  bool Sends(const projectors::DeltaView& op) const {
    return op.put || (!op.old && op.position.offset > removed_after && op.entered <= entered_until);
  }
  // The same choice among operations behind `from` and up to `until`, written alike by all who
  // choose so: a client that began at `removed_after` and has come past it asks as one that began
  // earlier, and all ask alike who load the bucket.
  [[nodiscard]] KnownRows Within(Position from, Offset until) const;

  friend bool operator==(const KnownRows&, const KnownRows&) = default;
  template <typename H>
  friend H AbslHashValue(H h, const KnownRows& v) {
    return H::combine(std::move(h), v.removed_after, v.entered_until);
  }
};

// The last event that can have changed the operations of a bucket: those of two snapshots of one
// store are the same where it is. A row that leaves the bucket and is written again once the
// horizon has passed that, all in one batch of the fold, is gone from it without a removal, and so
// without another BucketState::changed; but the horizon is then behind that.
[[nodiscard]] inline Offset ContentOf(const projectors::BucketState& state,
                                      const projectors::AppliedState& applied) {
  return std::max(state.changed, applied.horizon);
}

// Names what a piece holds: sessions with equal keys may be given the same bytes, whoever their
// callers are, because nothing else decides about them.
// 1. `model` is the object that one opened store has of one organisation's definitions, up to the
//    next that come. So it names the organisation, its incarnation, the columns of its entities,
//    and the store: that takes each event once and never goes back, so within it a position has one
//    history. A store that is opened again, or built anew from another log's end, has its own.
// 2. `changed` is what ContentOf() says: it names what the bucket holds in that store while that
//    model is in force. But for removals that the horizon has passed meanwhile: whoever may need
//    one of these is sent the bucket anew.
// 3. `from` and `known_rows` say which of the operations come, and nothing of a caller does.
// 4. `denied` is what a caller sees less than others of these rows.
// 5. The encoder is stateless, and one object of an encoding.
// 6. `bytes` and `ops` say where the piece ends, if it is not cut before: it tells where it ends.
// That a session may have the bucket at all is decided before it asks.
struct PieceKey {
  BucketKey bucket{};
  Position from{};  // the operations behind this one
  Offset changed = kNoOffset;
  KnownRows known_rows{};  // written as Within() does
  // By identity. It need not live for that: who reads has it.
  std::weak_ptr<const projectors::OrgModel> model{};
  const schemas::EntitySchema* schema = nullptr;  // of it
  std::vector<schemas::AttributeId> denied{};     // ascending
  const OperationEncoder* encoder = nullptr;
  size_t bytes = 0;  // of encoded operations; one operation more may start below it
  size_t ops = 0;    // operations that are sent

  // All but the model.
  auto Values() const {
    return std::tie(bucket, from.offset, from.index, changed, known_rows, schema, denied, encoder,
                    bytes, ops);
  }
  friend bool operator==(const PieceKey& a, const PieceKey& b) {
    return a.Values() == b.Values() && !a.model.owner_before(b.model) &&
           !b.model.owner_before(a.model);
  }
  template <typename H>
  friend H AbslHashValue(H h, const PieceKey& key) {
    return std::apply([&h](const auto&... values) { return H::combine(std::move(h), values...); },
                      key.Values());
  }
};

struct Piece {
  std::shared_ptr<const std::string> ops{};  // encoded; never changes while anybody else has it
  size_t count = 0;                          // of operations in it
  size_t passed = 0;      // operations that were read for it, by this call, and are not sent
  bool returned = false;  // it has the row of a put that had left the bucket before
  bool last = false;      // nothing is behind it
  Position reached{};     // the next piece's `from`
  Offset to = kNoOffset;  // where it is not the last: of this event and before, everything is sent
};

}  // namespace sluice::gateways
