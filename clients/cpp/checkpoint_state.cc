#include "clients/cpp/checkpoint_state.h"

#include <fmt/format.h>

#include <utility>

#include "schemas/base/json_writer.h"
#include "schemas/base/status.h"

namespace sluice::client {
namespace {

Actions OutOfOrder(std::string_view what) {
  return {Fail{Error(absl::StatusCode::kDataLoss, "malformed_frame",
                     fmt::format("the server sent {}", what))}};
}

}  // namespace

void CheckpointState::Connect(HeldState held) {
  held_ = std::move(held);
  in_checkpoint_ = false;  // the connection announces its own
  StartFromHere();
}

void CheckpointState::StartFromHere() {
  resets_seen_ = false;
  goes_on_ = false;
  base_history_ = held_.history;
  from_before_.clear();
  for (const auto& [bucket, after] : held_.buckets) {
    if (after >= 0) {
      from_before_.insert(bucket);
    }
  }
}

std::string CheckpointState::Request(bool live) const {
  std::string body = R"({"have":[)";
  bool first = true;
  for (const auto& [bucket, after] : held_.buckets) {
    if (after < 0) {
      continue;
    }
    body += first ? R"({"bucket":)" : R"(,{"bucket":)";
    AppendJsonString(bucket, &body);
    body += fmt::format(R"(,"after":"{}"}})", after);
    first = false;
  }
  body += fmt::format(R"(],"live":{})", live);
  if (!held_.history.empty()) {
    body += R"(,"history":)";
    AppendJsonString(held_.history, &body);
  }
  return body + "}";
}

Actions CheckpointState::OnCheckpoint(Checkpoint frame) {
  in_checkpoint_ = true;
  announced_ = std::move(frame.buckets);
  announced_position_ = frame.position;
  announced_history_ = std::move(frame.history);
  mine_.clear();
  bool other_buckets = !frame.removed.empty();
  HoldBuckets hold;
  for (const BucketSummary& bucket : announced_) {
    mine_.insert(bucket.bucket);
    other_buckets = other_buckets || !held_.buckets.contains(bucket.bucket);
    hold.buckets.push_back(bucket.bucket);
  }
  // What is not the caller's any more goes, listed or not: `buckets` are all of the caller's.
  const std::set<std::string_view> removed(frame.removed.begin(), frame.removed.end());
  DropBuckets drop;
  for (const auto& [bucket, after] : held_.buckets) {
    if (!mine_.contains(bucket) || removed.contains(bucket)) {
      other_buckets = true;
      drop.buckets.push_back(bucket);
    }
  }
  Forget(drop.buckets);
  if (announced_position_ < held_.newest && !DropBeyond(&drop)) {
    return StartOver(std::move(drop));
  }
  held_.newest = announced_position_;
  Actions actions = {BeginCheckpoint{}};
  if (!drop.buckets.empty()) {
    actions.emplace_back(std::move(drop));
  }
  actions.emplace_back(AnnouncePosition{announced_position_});
  if (from_before_.empty()) {
    SetHistory(announced_history_, &actions);
  }
  if (frame.entities.has_value()) {
    // After what went and before what comes, so that no value meets a column that is not its own.
    actions.emplace_back(MirrorColumns{*std::move(frame.entities)});
  } else if (other_buckets) {
    // Other columns are other buckets; so are those of another entity under the same name.
    actions.emplace_back(AskForColumns{});
  }
  // Known from the start, so that an empty bucket has its position too.
  for (const std::string& bucket : hold.buckets) {
    held_.buckets.emplace(bucket, -1);
  }
  actions.emplace_back(std::move(hold));
  return actions;
}

// What is beyond the checkpoint goes at once: a row that is sent anew in one of those buckets must
// not meet itself in another. False where one that is not beyond it would be gone on with: of the
// rows that it holds some may be newer than the checkpoint.
bool CheckpointState::DropBeyond(DropBuckets* drop) {
  std::vector<std::string> beyond;
  for (const auto& [bucket, after] : held_.buckets) {
    if (after > announced_position_) {
      beyond.push_back(bucket);
    } else if (after >= 0) {
      return false;
    }
  }
  Forget(beyond);
  drop->buckets.insert(drop->buckets.end(), beyond.begin(), beyond.end());
  return true;
}

// This server is behind the one that a part of the load came from. What both can agree on is the
// last complete checkpoint, or nothing.
Actions CheckpointState::StartOver(DropBuckets drop) const {
  if (held_.position >= 0) {
    return {RollBack{}, Reconnect{}};
  }
  for (const auto& [bucket, after] : held_.buckets) {
    drop.buckets.push_back(bucket);
  }
  return {BeginCheckpoint{}, std::move(drop), Reconnect{}};
}

Actions CheckpointState::CheckAnnounced(std::string_view bucket) const {
  if (!in_checkpoint_) {
    return OutOfOrder("operations that belong to no checkpoint");
  }
  return mine_.contains(bucket)
             ? Actions()
             : OutOfOrder(
                   fmt::format("operations of bucket {}, which its checkpoint lacks", bucket));
}

Actions CheckpointState::OnOperations(std::string_view bucket) {
  if (Actions refused = CheckAnnounced(bucket); !refused.empty()) {
    return refused;
  }
  selected_ = bucket;
  return {SelectBucket{selected_}};
}

// That the announced checkpoint goes on from what is here is certain only where the server sent
// operations of it without a reset before: one that knows the rows to be of another history resets
// every bucket first. Until then the history stays what it was, so that a connection that breaks in
// between is asked for the resets again.
Actions CheckpointState::OnOperationsEnd(int64_t to) {
  held_.buckets[selected_] = to;
  goes_on_ = goes_on_ || !resets_seen_ || from_before_.contains(selected_);
  Actions actions;
  if (goes_on_ || from_before_.empty()) {
    SetHistory(announced_history_, &actions);
  }
  // Last: it may commit a first load, and the history with it.
  actions.emplace_back(EndOperations{to});
  return actions;
}

Actions CheckpointState::OnReset(std::string_view bucket) {
  if (Actions refused = CheckAnnounced(bucket); !refused.empty()) {
    return refused;
  }
  selected_ = bucket;
  Forget({selected_});
  held_.buckets[selected_] = -1;
  resets_seen_ = true;
  Actions actions = {ResetBucket{selected_}};
  SetHistory(goes_on_ || from_before_.empty() ? announced_history_ : base_history_, &actions);
  return actions;
}

Actions CheckpointState::OnComplete(int64_t position) {
  if (!in_checkpoint_) {
    return OutOfOrder("the end of a checkpoint that did not begin");
  }
  if (position != announced_position_) {
    return OutOfOrder(fmt::format("the end of checkpoint {} as that of checkpoint {}", position,
                                  announced_position_));
  }
  return {CompareBuckets{announced_}};
}

void CheckpointState::Dropped(const std::vector<std::string>& buckets) {
  Forget(buckets);
  for (const std::string& bucket : buckets) {
    if (mine_.contains(bucket)) {
      held_.buckets.emplace(bucket, -1);
    }
  }
}

// A bucket that differs is loaded anew once, and nothing else is. What the connection still brings
// belongs to what was dropped: the connection ends.
Actions CheckpointState::Compared(const std::vector<std::string>& differing) {
  if (differing.empty()) {
    return {CompleteCheckpoint{announced_position_, announced_history_}};
  }
  for (const std::string& bucket : differing) {
    if (!reloaded_.insert(bucket).second) {
      return {DropBuckets{differing},  // a first load must not keep it either
              Fail{Error(absl::StatusCode::kDataLoss, "checksum_mismatch",
                         fmt::format("bucket {} differs from what the server announces, also after "
                                     "it was loaded anew; nothing of this checkpoint is shown",
                                     bucket))}};
    }
  }
  return {ReloadBuckets{differing}, Reconnect{}};
}

void CheckpointState::Completed() {
  held_.position = announced_position_;
  held_.newest = announced_position_;
  held_.history = announced_history_;
  for (auto& [bucket, after] : held_.buckets) {
    after = announced_position_;
  }
  in_checkpoint_ = false;
  reloaded_.clear();
  StartFromHere();
}

uint64_t CheckpointState::rows_announced() const {
  uint64_t rows = 0;
  for (const BucketSummary& bucket : announced_) {
    rows += bucket.count;
  }
  return rows;
}

void CheckpointState::Forget(const std::vector<std::string>& buckets) {
  for (const std::string& bucket : buckets) {
    held_.buckets.erase(bucket);
    from_before_.erase(bucket);
  }
}

void CheckpointState::SetHistory(const std::string& history, Actions* actions) {
  if (held_.history != history) {
    held_.history = history;
    actions->emplace_back(KeepHistory{history});
  }
}

}  // namespace sluice::client
