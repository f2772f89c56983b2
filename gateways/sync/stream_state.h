#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "gateways/sync/caller_columns.h"
#include "gateways/sync/checkpoint_writer.h"
#include "gateways/sync/frames.h"
#include "gateways/sync/history_mark.h"
#include "gateways/sync/identity_hash.h"
#include "gateways/sync/sync_request.h"
#include "projectors/model/org_model.h"
#include "projectors/store/org_store.h"

// One session of `POST …/stream`, apart from its connection: what was sent and what comes next.
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

// Begin() with a snapshot, WriteCheckpoint() and then Fill() until it is sent, then Begin() with
// the next one, also before the end of the one before, but not amid its checkpoint. Pure: no I/O
// but the snapshot's. Not thread-safe.
class StreamState {
 public:
  // `columns` must outlive the object.
  StreamState(StreamOptions options, CallerColumnsTable& columns, projectors::CallerClaims caller,
              StreamRequest request, FrameFormat format);

  // The highest position that the client has, kNoOffset for none.
  Offset client_position() const { return client_position_; }
  // What the client said of the history of its rows; nullopt where it said nothing, or nothing that
  // this version knows: then all that it has is void.
  const std::optional<HistoryMark>& client_history() const { return client_history_; }
  // Before the first Begin(): the client's rows are of a history that is not this log's, so all
  // that it has is void.
  void ResetAll() { reset_all_ = true; }
  bool resets_all() const { return reset_all_; }
  bool begun() const { return columns_ != nullptr; }

  // Goes on from a newer snapshot. True where there is a checkpoint to write; false where nothing
  // of the caller's has changed since the last one. Looks at the buckets that `touched` names, and
  // at those that are still to be sent; at all of them at first, and where the organisation's
  // definitions are others. Errors as OrgModel::BucketsOf, after which only a new state can go on;
  // so after kUnavailable "log_diverged", for a snapshot of another history than the last.
  // kUnavailable "not_caught_up" for one that is older than the last: a later call may bring a
  // newer one, and must name what this one did.
  [[nodiscard]] absl::StatusOr<bool> Begin(std::shared_ptr<const projectors::OrgSnapshot> snapshot,
                                           const Touched& touched = {});

  // Appends the checkpoint and the resets until `out` has about `bytes`, or all of them: an
  // organisation's columns may have some 30 MB as text. No other frame may be sent amid them, and
  // nothing but this be called.
  void WriteCheckpoint(size_t bytes, std::string* out);
  bool amid_checkpoint() const { return checkpoint_.has_value(); }

  // Nothing of the caller's has changed up to `position`.
  void SetQuiet(Offset position);

  // The buckets that the last Begin() found, ascending.
  [[nodiscard]] std::vector<BucketKey> Keys() const;
  size_t buckets() const { return keys_.size(); }

  // Is there more to send of the snapshot?
  bool sending() const { return snapshot_ != nullptr; }

  // What one Fill() passes over at most: some 5 ms. A bucket may hold very many removals, of which
  // a client that begins is sent none.
  static constexpr size_t kPassedMax = 10'000;

  // Appends frames until there are about `bytes`, kPassedMax operations were passed over, or the
  // checkpoint is complete; then the snapshot is given back. No frame is larger than that either,
  // but for its last operation.
  [[nodiscard]] absl::Status Fill(size_t bytes, std::string* out);

  // Gives the snapshot back, whatever is still to be sent of it: the session is over.
  void LetGo();

  // Everything of the caller's up to here was sent.
  Offset position() const { return position_; }
  uint64_t ops_sent() const { return ops_sent_; }
  FrameFormat format() const { return format_; }

 private:
  struct Bucket {
    BucketKey key;
    const projectors::CallerEntity* entity = nullptr;  // of columns_
    Position progress;                                 // sent up to here
    Offset whole = kNoOffset;  // what the client counts as its position here: the last `to`
    Offset since = kNoOffset;  // the client knows no row that was removed at or before this
    Offset known = kNoOffset;  // nor one that entered after this, but for this snapshot's puts
    uint64_t count = 0;        // of the snapshot in which it changed last
    uint64_t checksum = 0;
    bool placed = false;  // progress was decided
  };

  using Buckets = std::map<std::string, Bucket, std::less<>>;

  absl::Status Recompute(const std::shared_ptr<const projectors::OrgModel>& model);
  absl::Status PlaceTouched(const Touched& touched);
  absl::Status Place(const std::string& id, Bucket* bucket);
  // Where a bucket that is new to the session starts; false where the client's rows of it are void.
  bool PlaceFirst(const std::string& id, Bucket* bucket) const;
  absl::Status CheckHistory(const projectors::OrgSnapshot& snapshot) const;
  void PrepareCheckpoint();
  absl::Status FillBucket(const std::string& id, Bucket* bucket, size_t bytes_max,
                          std::string* out);

  const StreamOptions options_;
  CallerColumnsTable& table_;
  const projectors::CallerClaims caller_;
  const FrameFormat format_;
  std::map<std::string, Offset> have_;  // what the client came with and no checkpoint named
  Offset client_position_ = kNoOffset;
  std::optional<HistoryMark> client_history_;
  bool reset_all_ = false;

  Buckets buckets_;                                            // by id
  std::vector<std::pair<BucketKey, Buckets::iterator>> keys_;  // ascending
  std::set<std::string_view> pending_;            // ids of buckets to be scanned in this checkpoint
  std::shared_ptr<const CallerColumns> columns_;  // and the model that all this is by
  IdentityHash columns_sent_{};                   // as of the last checkpoint
  HistoryMark looked_;                            // at the last snapshot
  Offset quiet_ = kNoOffset;
  bool gained_ = false;  // buckets since the last checkpoint
  std::vector<std::string> removed_;
  std::vector<std::string> resets_;

  std::optional<CheckpointWriter> checkpoint_;  // until it is written
  std::shared_ptr<const projectors::OrgSnapshot> snapshot_;
  std::unique_ptr<projectors::DeltaIterator> iterator_;  // over the first of pending_
  std::string ops_json_;
  size_t passed_ = 0;  // operations that this Fill() has not sent
  Offset position_ = kNoOffset;
  uint64_t ops_sent_ = 0;
};

}  // namespace sluice::gateways
