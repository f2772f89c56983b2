#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "gateways/sync/bucket_piece.h"
#include "gateways/sync/caller_columns.h"
#include "gateways/sync/encoder.h"
#include "gateways/sync/history_mark.h"
#include "gateways/sync/identity_hash.h"
#include "gateways/sync/sync_request.h"
#include "projectors/model/org_model.h"
#include "projectors/store/org_snapshot.h"

namespace sluice::gateways {

struct StreamOptions {
  std::string log_id;
  size_t buckets_max = 1'000;              // of one caller
  size_t frame_bytes = size_t{256} << 10;  // of an ops frame; one operation more may start below it
  size_t frame_ops = 5'000;
};

// Which of the organisation's buckets may have changed between two snapshots.
struct Touched {
  bool any = true;  // all of them, and those of the caller may be others
  std::vector<BucketKey> keys;
  // Of a bucket that neither this nor an earlier one names, no operation at or before it is unsent.
  Offset quiet = kNoOffset;
};

// What one session of `POST …/stream` sends next: checkpoints, resets, and of which bucket what
// operations from where on. Values only: it knows of no encoding, and nothing is read here but how
// far a bucket has come. Begin() with a snapshot, TakeCheckpoint(), then Next() and Sent() until
// there is nothing next, Complete(), and Begin() with the next snapshot, also before the end of the
// one before. Pure: no I/O but the snapshot's. Not thread-safe.
class StreamPlan {
 public:
  // The next piece to be sent, without its encoder and length.
  struct BucketRead {
    std::string_view id;  // of the bucket, for the client
    Offset from;          // what the client counts as its position there
    PieceKey key;
  };

  // `columns` must outlive the object.
  StreamPlan(StreamOptions options, CallerColumnsTable& columns, projectors::CallerClaims caller,
             StreamRequest request);

  const StreamOptions& options() const { return options_; }
  // As of StreamState.
  Offset client_position() const { return client_position_; }
  const std::optional<HistoryMark>& client_history() const { return client_history_; }
  void ResetAll() { reset_all_ = true; }
  bool resets_all() const { return reset_all_; }
  bool begun() const { return columns_ != nullptr; }
  [[nodiscard]] absl::StatusOr<bool> Begin(std::shared_ptr<const projectors::OrgSnapshot> snapshot,
                                           const Touched& touched);
  void SetQuiet(Offset position);
  [[nodiscard]] std::vector<BucketKey> Keys() const;
  size_t buckets() const { return keys_.size(); }
  Offset position() const { return position_; }

  // The snapshot that is being sent; nullptr where nothing is.
  const projectors::OrgSnapshot* snapshot() const { return snapshot_.get(); }
  // After a Begin() that was true, once.
  [[nodiscard]] Checkpoint TakeCheckpoint();
  // nullopt where everything of the snapshot was sent.
  [[nodiscard]] std::optional<BucketRead> Next();
  // `piece`, which Next() asked for, is the client's: the last event of which it has everything in
  // that bucket.
  Offset Sent(const Piece& piece);
  // There is nothing next: gives the snapshot back. The position that the client is at.
  Offset Complete();
  // Gives the snapshot back, whatever is still to be sent of it: the session is over.
  void LetGo() { snapshot_.reset(); }

 private:
  struct Bucket {
    BucketKey key;
    const projectors::CallerEntity* entity = nullptr;  // of columns_
    Position progress;                                 // sent up to here
    Position read;               // up to here as it is read: nothing lies between, see CaughtUp()
    Offset whole = kNoOffset;    // what the client counts as its position here: the last `to`
    Offset changed = kNoOffset;  // ContentOf() the snapshot's, where there is more to send
    KnownRows known_rows;
    uint64_t count = 0;  // of the snapshot in which it changed last
    uint64_t checksum = 0;
    bool placed = false;  // progress was decided
  };

  using Buckets = std::map<std::string, Bucket, std::less<>>;

  absl::Status Recompute(const std::shared_ptr<const projectors::OrgModel>& model);
  absl::Status PlaceTouched(const Touched& touched);
  absl::Status Place(const std::string& id, Bucket* bucket);
  // Where a bucket that is new to the session starts; false where the client's rows of it are void.
  bool PlaceFirst(const std::string& id, Bucket* bucket) const;
  void CaughtUp(Offset changed, Bucket* bucket) const;
  absl::Status CheckHistory(const projectors::OrgSnapshot& snapshot) const;

  const StreamOptions options_;
  CallerColumnsTable& table_;
  const projectors::CallerClaims caller_;
  std::map<std::string, Offset> have_;  // what the client came with and no checkpoint named
  Offset client_position_ = kNoOffset;
  std::optional<HistoryMark> client_history_;
  bool reset_all_ = false;

  Buckets buckets_;                                            // by id
  std::vector<std::pair<BucketKey, Buckets::iterator>> keys_;  // ascending
  std::set<std::string_view> pending_;            // ids of buckets to be read in this checkpoint
  Bucket* reading_ = nullptr;                     // the first of these, where it was begun
  std::shared_ptr<const CallerColumns> columns_;  // and the model that all this is by
  IdentityHash columns_sent_{};                   // as of the last checkpoint
  HistoryMark looked_;                            // at the last snapshot
  Offset quiet_ = kNoOffset;
  bool gained_ = false;  // buckets since the last checkpoint
  std::vector<std::string> removed_;
  std::vector<std::string> resets_;

  std::shared_ptr<const projectors::OrgSnapshot> snapshot_;
  Offset position_ = kNoOffset;
};

}  // namespace sluice::gateways
