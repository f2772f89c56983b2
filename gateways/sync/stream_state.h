#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "gateways/sync/frames.h"
#include "gateways/sync/sync_request.h"
#include "projectors/staging/org_model.h"
#include "projectors/store/org_store.h"

// One session of `POST …/stream`, apart from its connection: what was sent and what comes next.
namespace sluice::gateways {

struct StreamOptions {
  std::string log_id;
  size_t buckets_max = 1'000;              // of one caller
  size_t frame_bytes = size_t{256} << 10;  // of an ops frame; one operation more may start below it
  size_t frame_ops = 5'000;
};

// Begin() with a snapshot, Fill() until it is sent, then Begin() with the next one, also before the
// end of the one before. Pure: no I/O but the snapshot's. Not thread-safe.
class StreamState {
 public:
  StreamState(StreamOptions options, projectors::CallerClaims caller, StreamRequest request,
              FrameFormat format);

  // The highest position that the client has, kNoOffset for none: an older snapshot than that would
  // make it start over.
  Offset ClientPosition() const { return client_position_; }

  // Appends the checkpoint of a newer snapshot and the resets. False, and nothing appended, where
  // nothing of the caller's has changed since the last checkpoint. Errors as OrgModel::BucketsOf.
  [[nodiscard]] absl::StatusOr<bool> Begin(std::shared_ptr<const projectors::OrgSnapshot> snapshot,
                                           std::string* out);

  // Is there more to send of the snapshot?
  bool sending() const { return snapshot_ != nullptr; }

  // Appends frames until there are about `bytes` or the checkpoint is complete; then the snapshot
  // is given back.
  [[nodiscard]] absl::Status Fill(size_t bytes, std::string* out);

  // Everything of the caller's up to here was sent.
  Offset position() const { return position_; }
  uint64_t ops_sent() const { return ops_sent_; }
  FrameFormat format() const { return format_; }

 private:
  struct Bucket {
    projectors::CallerBucket bucket;
    Position progress;         // sent up to here
    Offset whole = kNoOffset;  // what the client counts as its position here: the last `to`
    Offset since = kNoOffset;  // the client knows no row that was removed at or before this
    Offset known = kNoOffset;  // nor one that entered after this, but for this snapshot's puts
    uint64_t count = 0;
    uint64_t checksum = 0;
    bool placed = false;   // progress was decided
    bool pending = false;  // to be scanned in this checkpoint
  };

  absl::Status Recompute(const projectors::OrgModel& model);
  absl::Status Place(const std::string& id, Bucket* bucket);
  void WriteCheckpoint(std::string* out);
  absl::Status FillBucket(const std::string& id, Bucket* bucket, std::string* out);

  const StreamOptions options_;
  const projectors::CallerClaims caller_;
  const FrameFormat format_;
  std::map<std::string, std::string> have_;  // what the client came with and no checkpoint named
  Offset client_position_ = kNoOffset;

  std::map<std::string, Bucket> buckets_;  // by id
  std::shared_ptr<const projectors::OrgModel> model_;
  std::vector<std::string> removed_;
  std::vector<std::string> resets_;

  std::shared_ptr<const projectors::OrgSnapshot> snapshot_;
  std::map<std::string, Bucket>::iterator next_;
  std::unique_ptr<projectors::DeltaIterator> iterator_;  // over next_, within snapshot_
  std::string ops_json_;
  Offset position_ = kNoOffset;
  uint64_t ops_sent_ = 0;
};

}  // namespace sluice::gateways
