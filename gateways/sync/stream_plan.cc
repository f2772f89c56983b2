#include "gateways/sync/stream_plan.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "gateways/sync/bucket_id.h"
#include "gateways/sync/position_bounds.h"
#include "schemas/base/status.h"

namespace sluice::gateways {

using projectors::CallerBucket;
using projectors::OrgModel;
using projectors::OrgSnapshot;

StreamPlan::StreamPlan(StreamOptions options, CallerColumnsTable& columns,
                       projectors::CallerClaims caller, StreamRequest request)
    : options_(std::move(options)),
      table_(columns),
      caller_(std::move(caller)),
      client_history_(HistoryMark::Parse(request.history)),
      reset_all_(!request.history.empty() && !client_history_.has_value()) {
  for (StreamRequest::Have& have : request.have) {
    client_position_ = std::max(client_position_, have.after);
    have_.emplace(std::move(have.bucket), have.after);
  }
}

absl::StatusOr<bool> StreamPlan::Begin(std::shared_ptr<const OrgSnapshot> snapshot,
                                       const Touched& touched) {
  RETURN_IF_ERROR(CheckHistory(*snapshot));
  const bool first = !begun();
  const bool superseded = snapshot_ != nullptr;
  snapshot_ = std::move(snapshot);
  reading_ = nullptr;
  const projectors::AppliedState& applied = snapshot_->applied();
  removed_.clear();
  resets_.clear();
  gained_ = false;
  looked_ = {applied.position, applied.history};
  if (first || columns_->model != snapshot_->model()) {
    RETURN_IF_ERROR(Recompute(snapshot_->model()));
    RETURN_IF_ERROR(PlaceTouched({}));
  } else {
    RETURN_IF_ERROR(PlaceTouched(touched));
  }
  have_.clear();
  reset_all_ = false;
  quiet_ = std::max(quiet_, touched.quiet);
  // The client counts with what a checkpoint has named, so a new bucket is named also while empty.
  if (!first && !superseded && !gained_ && pending_.empty() && removed_.empty() &&
      columns_->hash == columns_sent_) {
    position_ = applied.position;
    snapshot_.reset();
    return false;
  }
  return true;
}

// What was sent must be a part of what the snapshot shows.
absl::Status StreamPlan::CheckHistory(const OrgSnapshot& snapshot) const {
  const projectors::AppliedState& applied = snapshot.applied();
  if (looked_.position == kNoOffset) {
    return absl::OkStatus();
  }
  if (applied.position < looked_.position) {
    return Error(absl::StatusCode::kUnavailable, "not_caught_up",
                 "the store has gone back behind what was sent");
  }
  ASSIGN_OR_RETURN(const std::optional<uint64_t> then, snapshot.HistoryAt(looked_.position));
  const bool forgotten = !then.has_value() && looked_.position <= applied.horizon;
  if (!forgotten && then != looked_.hash) {
    return Error(absl::StatusCode::kUnavailable, "log_diverged",
                 "the log holds another history than what was sent");
  }
  return absl::OkStatus();
}

void StreamPlan::SetQuiet(Offset position) {
  quiet_ = std::max(quiet_, position);
  position_ = std::max(position_, position);
}

std::vector<BucketKey> StreamPlan::Keys() const {
  std::vector<BucketKey> keys;
  keys.reserve(keys_.size());
  for (const auto& [key, bucket] : keys_) {
    keys.push_back(key);
  }
  return keys;
}

// The caller's buckets may be others: those that stay keep their place.
absl::Status StreamPlan::Recompute(const std::shared_ptr<const OrgModel>& model) {
  ASSIGN_OR_RETURN(const std::vector<CallerBucket> current,
                   model->BucketsOf(caller_, options_.buckets_max));
  ASSIGN_OR_RETURN(columns_, table_.Of(model, caller_));
  Buckets old = std::exchange(buckets_, {});
  keys_.clear();
  for (const CallerBucket& bucket : current) {
    std::string id = BucketIdText(options_.log_id, model->incarnation(), bucket);
    auto node = old.extract(id);
    gained_ = gained_ || node.empty();
    const auto at = node.empty() ? buckets_.try_emplace(std::move(id)).first
                                 : buckets_.insert(std::move(node)).position;
    // Not the name, nor a list of columns of its own: a session may last for days.
    at->second.key = bucket.bucket.key;
    at->second.entity = columns_->Find(bucket.entity->schema->name());
    if (at->second.entity == nullptr) {
      return Error(absl::StatusCode::kInternal, "internal",
                   "a bucket of entity " + bucket.entity->schema->name() +
                       ", which the caller does not see");
    }
    keys_.emplace_back(at->second.key, at);
  }
  for (const auto& [id, bucket] : old) {
    removed_.push_back(id);
    pending_.erase(id);
  }
  for (const auto& [id, after] : have_) {
    if (!buckets_.contains(id)) {
      removed_.push_back(id);
    }
  }
  return absl::OkStatus();
}

absl::Status StreamPlan::PlaceTouched(const Touched& touched) {
  if (touched.any) {
    for (auto& [id, bucket] : buckets_) {
      RETURN_IF_ERROR(Place(id, &bucket));
    }
    return absl::OkStatus();
  }
  std::set<std::string_view> ids(pending_.begin(), pending_.end());
  for (const BucketKey& key : touched.keys) {
    const auto at = std::ranges::lower_bound(keys_, key, {}, &decltype(keys_)::value_type::first);
    if (at != keys_.end() && at->first == key) {
      ids.insert(at->second->first);
    }
  }
  for (const std::string_view id : ids) {
    const auto at = buckets_.find(id);
    RETURN_IF_ERROR(Place(at->first, &at->second));
  }
  return absl::OkStatus();
}

// Where the bucket goes on in the new snapshot, and whether there is anything. It is the position
// of its last change that tells, because count and checksum can be made to be equal.
absl::Status StreamPlan::Place(const std::string& id, Bucket* bucket) {
  const projectors::AppliedState& applied = snapshot_->applied();
  ASSIGN_OR_RETURN(const projectors::BucketState state, snapshot_->Bucket(bucket->key));
  const bool pending = pending_.contains(id);
  if (bucket->placed && !pending) {
    bucket->progress = std::max(bucket->progress, EndOf(quiet_));
  }
  bucket->count = state.count;
  bucket->checksum = state.checksum;
  KnownRows& known = bucket->known_rows;
  known.entered_until = std::max(known.entered_until, bucket->read.offset);
  bool reset = !bucket->placed && !PlaceFirst(id, bucket);
  const Offset whole = WholeOffset(bucket->progress);
  // What the horizon has passed is not told apart: a bucket without rows is forgotten by then.
  const bool nothing = whole == kNoOffset && state.count == 0 && state.changed == kNoOffset;
  const bool unchanged =
      nothing || (whole != kNoOffset && std::max(state.changed, applied.horizon) <= whole);
  bucket->placed = true;
  if (unchanged && !pending && !reset) {
    CaughtUp(ContentOf(state, applied), bucket);
    return absl::OkStatus();
  }
  reset = reset || std::max(known.removed_after, whole) < applied.horizon;
  if (reset) {
    bucket->progress = bucket->read = {};
    bucket->whole = kNoOffset;
    known = {.removed_after = applied.position};
    resets_.push_back(id);
  }
  bucket->changed = ContentOf(state, applied);
  pending_.insert(id);
  return absl::OkStatus();
}

// Everything of the snapshot is sent. Sessions that have come as far with the bucket have done so
// at snapshots of different positions, by changes that are not the bucket's. Where its last change
// is known all of them go on from that, and know the rows that had entered by then: so they ask
// for the same piece.
void StreamPlan::CaughtUp(Offset changed, Bucket* bucket) const {
  bucket->progress = bucket->read = EndOf(looked_.position);
  if (changed == kNoOffset) {
    return;
  }
  bucket->read = EndOf(changed);
  // What a frame that ended inside an event was counted for may lie ahead of this server.
  Offset& entered_until = bucket->known_rows.entered_until;
  if (entered_until <= looked_.position) {
    entered_until = std::min(entered_until, changed);
  }
}

bool StreamPlan::PlaceFirst(const std::string& id, Bucket* bucket) const {
  const Offset applied = snapshot_->applied().position;
  bucket->known_rows.removed_after = applied;
  const auto it = have_.find(id);
  if (it == have_.end()) {
    return true;
  }
  const Offset after = it->second;
  // What the client began to load after the history that it names may be another log's.
  const bool unknown = client_history_.has_value() && after > client_history_->position;
  if (reset_all_ || unknown || after > applied) {
    return false;
  }
  bucket->progress = bucket->read = EndOf(after);
  bucket->whole = after;
  // A frame that ended inside the event after `after` was counted as its start.
  bucket->known_rows = {.entered_until = Offset(after.value() + 1)};
  return true;
}

Checkpoint StreamPlan::TakeCheckpoint() {
  Checkpoint content{
      .position = looked_.position,
      .history = looked_.Text(),
      .buckets = {},
      .removed = std::exchange(removed_, {}),
      .resets = std::exchange(resets_, {}),
      .columns = columns_->hash != columns_sent_ ? columns_ : nullptr,
  };
  // Whatever comes next, a checkpoint that is begun is written whole: also where it is replaced
  // before it is complete the client has its columns, and has forgotten those of before.
  columns_sent_ = columns_->hash;
  content.buckets.reserve(buckets_.size());
  for (const auto& [id, bucket] : buckets_) {
    content.buckets.push_back({id, bucket.count, bucket.checksum});
  }
  return content;
}

std::optional<StreamPlan::BucketRead> StreamPlan::Next() {
  if (pending_.empty()) {
    return std::nullopt;
  }
  if (reading_ == nullptr) {
    reading_ = &buckets_.find(*pending_.begin())->second;
  }
  return BucketRead{
      .id = *pending_.begin(),
      .from = reading_->whole,
      .key = {.bucket = reading_->key,
              .from = reading_->read,
              .changed = reading_->changed,
              .known_rows = reading_->known_rows.Within(reading_->progress, reading_->changed),
              .model = columns_->model,
              .schema = reading_->entity->schema.get(),
              .denied = reading_->entity->denied}};
}

Offset StreamPlan::Sent(const Piece& piece) {
  const Offset to = piece.last ? looked_.position : piece.to;
  reading_->progress = reading_->read = piece.reached;
  if (piece.count > 0) {
    reading_->whole = to;
  }
  if (piece.last) {
    CaughtUp(reading_->changed, reading_);
    pending_.erase(pending_.begin());
    reading_ = nullptr;
  }
  return to;
}

Offset StreamPlan::Complete() {
  position_ = looked_.position;
  for (auto& [id, bucket] : buckets_) {
    bucket.whole = position_;
  }
  snapshot_.reset();
  return position_;
}

}  // namespace sluice::gateways
