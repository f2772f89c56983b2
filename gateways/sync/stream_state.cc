#include "gateways/sync/stream_state.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "eventlog/base/text_values.h"
#include "gateways/sync/bucket_id.h"
#include "gateways/sync/delta_plan.h"
#include "gateways/sync/op_json.h"
#include "schemas/status.h"

namespace sluice::gateways {
namespace {

using projectors::CallerBucket;
using projectors::DeltaView;
using projectors::OrgModel;
using projectors::OrgSnapshot;

std::optional<Offset> ParsePosition(const std::string& text) {
  const absl::StatusOr<int64_t> number = ParseInt64(text);
  if (!number.ok() || *number < 0) {
    return std::nullopt;
  }
  return Offset(*number);
}

}  // namespace

StreamState::StreamState(StreamOptions options, projectors::CallerClaims caller,
                         StreamRequest request, FrameFormat format)
    : options_(std::move(options)), caller_(std::move(caller)), format_(format) {
  for (StreamRequest::Have& have : request.have) {
    if (const std::optional<Offset> after = ParsePosition(have.after); after.has_value()) {
      client_position_ = std::max(client_position_, *after);
    }
    have_[std::move(have.bucket)] = std::move(have.after);
  }
}

absl::StatusOr<bool> StreamState::Begin(std::shared_ptr<const OrgSnapshot> snapshot,
                                        std::string* out) {
  const bool first = model_ == nullptr;
  const bool superseded = sending();
  iterator_.reset();
  snapshot_ = std::move(snapshot);
  removed_.clear();
  resets_.clear();
  if (model_ != snapshot_->model()) {
    RETURN_IF_ERROR(Recompute(*snapshot_->model()));
    model_ = snapshot_->model();
  }
  bool pending = false;
  for (auto& [id, bucket] : buckets_) {
    RETURN_IF_ERROR(Place(id, &bucket));
    pending = pending || bucket.pending;
  }
  have_.clear();
  if (!first && !superseded && !pending && removed_.empty()) {
    position_ = snapshot_->applied().position;
    snapshot_.reset();
    return false;
  }
  WriteCheckpoint(out);
  next_ = buckets_.begin();
  return true;
}

// The caller's buckets may be others: those that stay keep their place.
absl::Status StreamState::Recompute(const OrgModel& model) {
  ASSIGN_OR_RETURN(std::vector<CallerBucket> current,
                   model.BucketsOf(caller_, options_.buckets_max));
  std::map<std::string, Bucket> old = std::exchange(buckets_, {});
  for (CallerBucket& bucket : current) {
    std::string id = BucketIdText(options_.log_id, model.incarnation(), bucket);
    Bucket& to = buckets_[id];
    if (const auto it = old.find(id); it != old.end()) {
      to = std::move(it->second);
      old.erase(it);
    }
    to.bucket = std::move(bucket);
  }
  for (const auto& [id, bucket] : old) {
    removed_.push_back(id);
  }
  for (const auto& [id, after] : have_) {
    if (!buckets_.contains(id)) {
      removed_.push_back(id);
    }
  }
  return absl::OkStatus();
}

// Where the bucket goes on in the new snapshot, and whether there is anything.
absl::Status StreamState::Place(const std::string& id, Bucket* bucket) {
  const projectors::AppliedState& applied = snapshot_->applied();
  ASSIGN_OR_RETURN(const projectors::BucketState state,
                   snapshot_->Bucket(bucket->bucket.bucket.key));
  const bool unchanged = bucket->placed && !bucket->pending && state.count == bucket->count &&
                         state.checksum == bucket->checksum;
  bucket->count = state.count;
  bucket->checksum = state.checksum;
  bucket->known = std::max(bucket->known, bucket->progress.offset);
  if (unchanged) {
    bucket->progress = {applied.position, UINT32_MAX};
    return absl::OkStatus();
  }
  bool reset = false;
  if (!bucket->placed) {
    bucket->since = applied.position;
    if (const auto it = have_.find(id); it != have_.end()) {
      const std::optional<Offset> after = ParsePosition(it->second);
      reset = !after.has_value() || *after > applied.position;
      if (!reset) {
        *bucket = {.bucket = std::move(bucket->bucket),
                   .progress = {*after, UINT32_MAX},
                   .whole = *after,
                   .since = kNoOffset,
                   // A frame that ended inside the event after `after` was counted as its start.
                   .known = Offset(after->value() + 1),
                   .count = bucket->count,
                   .checksum = bucket->checksum};
      }
    }
  }
  reset = reset || std::max(bucket->since, WholeOffset(bucket->progress)) < applied.horizon;
  if (reset) {
    bucket->progress = {};
    bucket->whole = kNoOffset;
    bucket->since = applied.position;
    bucket->known = kNoOffset;
    resets_.push_back(id);
  }
  bucket->placed = true;
  bucket->pending = true;
  return absl::OkStatus();
}

void StreamState::WriteCheckpoint(std::string* out) {
  std::vector<BucketSummary> summaries;
  summaries.reserve(buckets_.size());
  for (const auto& [id, bucket] : buckets_) {
    summaries.push_back({id, bucket.count, bucket.checksum});
  }
  FrameWriter frames(format_, out);
  frames.Checkpoint(snapshot_->applied().position, summaries, removed_);
  for (const std::string& id : resets_) {
    frames.Reset(id);
  }
}

absl::Status StreamState::Fill(size_t bytes, std::string* out) {
  while (sending() && out->size() < bytes) {
    while (next_ != buckets_.end() && !next_->second.pending) {
      ++next_;
    }
    if (next_ != buckets_.end()) {
      RETURN_IF_ERROR(FillBucket(next_->first, &next_->second, out));
      continue;
    }
    position_ = snapshot_->applied().position;
    FrameWriter(format_, out).CheckpointComplete(position_);
    for (auto& [id, bucket] : buckets_) {
      bucket.whole = position_;
    }
    snapshot_.reset();
    ops_json_ = {};  // a session that waits holds no buffer
  }
  return absl::OkStatus();
}

// One frame, or the end of the bucket.
absl::Status StreamState::FillBucket(const std::string& id, Bucket* bucket, std::string* out) {
  if (iterator_ == nullptr) {
    iterator_ = snapshot_->Scan(bucket->bucket.bucket.key, bucket->progress);
  }
  ops_json_.clear();
  size_t ops = 0;
  for (; iterator_->Valid() && ops_json_.size() < options_.frame_bytes && ops < options_.frame_ops;
       iterator_->Next()) {
    const DeltaView& op = iterator_->op();
    bucket->progress = op.position;
    if (!op.put && (op.position.offset <= bucket->since || op.entered > bucket->known)) {
      continue;
    }
    if (ops++ > 0) {
      ops_json_.push_back(',');
    }
    const schemas::EntitySchema& schema = *bucket->bucket.schema;
    if (op.put) {
      RETURN_IF_ERROR(
          AppendPut(schema, bucket->bucket.denied, op.key, op.position, op.row, &ops_json_));
    } else {
      AppendRemove(schema.name(), op.key, op.position, &ops_json_);
    }
  }
  RETURN_IF_ERROR(iterator_->status());
  Offset to = snapshot_->applied().position;
  if (!iterator_->Valid()) {
    bucket->progress = {to, UINT32_MAX};
    bucket->pending = false;
    iterator_.reset();
  } else {
    // An event cut in two is not counted as sent: who resumes there gets it from its beginning.
    const Offset last = bucket->progress.offset;
    to = iterator_->op().position.offset > last ? last : Offset(last.value() - 1);
  }
  if (ops > 0) {
    FrameWriter(format_, out).Ops(id, bucket->whole, to, ops_json_);
    bucket->whole = to;
    ops_sent_ += ops;
  }
  return absl::OkStatus();
}

}  // namespace sluice::gateways
