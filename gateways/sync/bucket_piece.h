#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "gateways/sync/encoder.h"
#include "gateways/sync/history_mark.h"
#include "projectors/model/org_model.h"
#include "projectors/store/org_snapshot.h"

// Pieces of a bucket: what a stream sends of one, read, chosen and encoded. They are made here and
// nowhere else, so that this is the place to keep them where sessions are to share them.
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
  // The same choice among operations behind `from`, written alike by all who choose so: a client
  // that began at `removed_after` and has come past it asks as one that began earlier.
  [[nodiscard]] KnownRows Behind(Position from) const;
  friend bool operator==(const KnownRows&, const KnownRows&) = default;
};

// Names what a piece of one organisation's incarnation holds. Sessions with equal keys may be given
// the same bytes, whoever their callers are, because nothing else decides about them:
// 1. `to` names a snapshot: position and history fix what the fold has made of the log up to there,
//    so the rows of `bucket`, the definitions, and by these all names and types.
// 2. `entity->denied` is what a caller sees less than others of these rows. It counts by value;
//    `entity` itself is of the definitions at `to`.
// 3. `from` and `known_rows` say which operations come, and nothing of a caller does.
// 4. The encoder is stateless.
// How long a piece may be (PieceLimits) is not in the key: a piece tells where it ends, whoever has
// it goes on from there. That a session may have the bucket at all is decided before it asks.
struct PieceKey {
  BucketKey bucket;
  Position from;   // the operations behind this one
  HistoryMark to;  // as far as a snapshot goes
  KnownRows known_rows;
  const projectors::CallerEntity* entity = nullptr;
  const OperationEncoder* encoder = nullptr;
};

// A piece ends at the first of these.
struct PieceLimits {
  size_t bytes = 0;   // of encoded operations; one operation more may start below it
  size_t ops = 0;     // operations that are sent
  size_t passed = 0;  // operations that are read and not sent
};

struct Piece {
  std::string_view ops{};  // encoded
  size_t count = 0;        // of operations in it
  size_t passed = 0;       // operations that were read and are not sent
  Position reached{};     // the next piece's `from`; the end of PieceKey::to where there is no more
  Offset to = kNoOffset;  // the last event of which a client has everything by then
};

// Makes the pieces of one session, reading on where the one before ended. Not thread-safe.
class PieceMaker {
 public:
  // The views of the piece are valid until the next call of anything. `snapshot` is at `key.to`,
  // and must outlive the calls up to NewSnapshot() or LetGo(). Errors as of reading the store.
  [[nodiscard]] absl::StatusOr<Piece> Make(const projectors::OrgSnapshot& snapshot,
                                           const PieceKey& key, const PieceLimits& limits);
  // What comes next is read from another one.
  void NewSnapshot() { iterator_.reset(); }
  // Keeps neither the snapshot nor a buffer: a session that waits holds no memory.
  void LetGo();

 private:
  std::unique_ptr<projectors::DeltaIterator> iterator_;  // behind the last piece; nullptr: anew
  std::string ops_;
};

}  // namespace sluice::gateways
