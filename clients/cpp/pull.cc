#include "clients/cpp/pull.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <utility>

#include "clients/cpp/frame_reader.h"
#include "clients/cpp/local_database.h"
#include "clients/cpp/printable.h"
#include "clients/cpp/server_connection.h"
#include "schemas/base/json_writer.h"
#include "schemas/base/status.h"
#include "schemas/row_codec.h"

namespace sluice::client {
namespace {

absl::Status OutOfOrder(std::string_view what) {
  return Error(absl::StatusCode::kDataLoss, "malformed_frame",
               fmt::format("the server sent {}", what));
}

// Texts of the server's, of the file's and of SQLite are in it.
absl::Status ForTerminals(const absl::Status& status) {
  if (status.ok()) {
    return status;
  }
  absl::Status printable(status.code(), Printable(Message(status)));
  status.ForEachPayload([&printable](absl::string_view name, const absl::Cord& value) {
    printable.SetPayload(name, value);
  });
  return printable;
}

class HttpPuller final : public Puller, private FrameHandler {
 public:
  HttpPuller(std::unique_ptr<ServerConnection> server, int attempts_max)
      : server_(std::move(server)), attempts_max_(attempts_max), frames_(*this) {}

  absl::Status OpenFile(const std::string& path, const std::string& org) {
    auto opened = LocalDatabase::Open(path, org, [this] { return FetchSchema(); });
    if (!opened.ok() && FileLock::HasSecondName(path)) {
      // Nothing can be pulled into it, but what it holds may have to go.
      unusable_ = {.refusal = ForTerminals(opened.status()), .path = path, .org = org};
      return absl::OkStatus();
    }
    RETURN_IF_ERROR(opened.status());
    database_ = *std::move(opened);
    return absl::OkStatus();
  }

  absl::StatusOr<PullResult> Pull() override {
    RETURN_IF_ERROR(Restart());
    const absl::Status status = Run(/*live=*/false);
    database_->Rollback();
    RETURN_IF_ERROR(ForTerminals(status));
    return total_;
  }

  absl::Status Follow(std::function<void(const PullResult&)> on_checkpoint) override {
    RETURN_IF_ERROR(Restart());
    on_checkpoint_ = std::move(on_checkpoint);
    const absl::Status status = Run(/*live=*/true);
    database_->Rollback();
    on_checkpoint_ = nullptr;
    return ForTerminals(status);
  }

  absl::Status Wipe() override {
    if (!unusable_.refusal.ok()) {
      const auto opened = LocalDatabase::OpenToWipe(unusable_.path, unusable_.org);
      RETURN_IF_ERROR(ForTerminals(opened.status()));
      RETURN_IF_ERROR(ForTerminals((*opened)->Wipe()));
      unusable_ = {};
    }
    if (database_ != nullptr) {
      RETURN_IF_ERROR(ForTerminals(database_->Wipe()));
      database_.reset();
    }
    return absl::OkStatus();
  }

  void Cancel() override { server_->Cancel(); }

  bool HoldsRows() const override {
    return !unusable_.refusal.ok() || (database_ != nullptr && database_->rows_held() > 0);
  }

  void OnProgress(std::function<void(const PullProgress&)> callback) override {
    on_progress_ = std::move(callback);
  }

 private:
  // A file that nothing can be pulled into: why, and what it is.
  struct Unusable {
    absl::Status refusal;
    std::string path;
    std::string org;
  };

  // Asks the server for nothing but whether it refuses for good, which goes before what is wrong
  // with the file.
  absl::Status AskWhetherToWipe() {
    const absl::Status answer = ForTerminals(server_->Stream(
        R"({"have":[],"live":false})",
        [](std::string_view) -> absl::Status { return absl::AbortedError("it does not refuse"); }));
    return WipeDemanded(answer) ? answer : unusable_.refusal;
  }

  absl::Status Restart() {
    if (!unusable_.refusal.ok()) {
      return AskWhetherToWipe();
    }
    if (database_ == nullptr) {
      return Error(absl::StatusCode::kInvalidArgument, "invalid_argument",
                   "the file was wiped: open it anew");
    }
    total_ = PullResult{};
    total_.position = database_->position();
    reloaded_.clear();
    reconnect_ = false;
    return absl::OkStatus();
  }

  absl::StatusOr<std::vector<ClientEntity>> FetchSchema() {
    ASSIGN_OR_RETURN(const std::string body, server_->Entities());
    return ParseEntities(body);
  }

  // Connects until a checkpoint is complete (or, live, for ever).
  absl::Status Run(bool live) {
    int failures = 0;
    while (!server_->cancelled()) {
      completed_ = false;
      progressed_ = false;
      absl::Status status = Connect(live);
      if (status.ok() && completed_ && !live && !reconnect_) {
        return absl::OkStatus();
      }
      if (server_->cancelled()) {
        break;
      }
      const bool retryable = status.ok() || absl::IsUnavailable(status) || reconnect_;
      if (!retryable) {
        return status;
      }
      if (std::exchange(reconnect_, false)) {
        continue;
      }
      failures = progressed_ || completed_ ? 1 : failures + 1;
      if (!live && failures >= attempts_max_) {
        return status.ok() ? Error(absl::StatusCode::kUnavailable, "stream_ended",
                                   "the server ended the stream before the checkpoint was "
                                   "complete, again and again")
                           : Annotate(status, fmt::format("given up after {} attempts", failures));
      }
      ++total_.reconnects;
      server_->Wait(failures);
    }
    return live ? absl::OkStatus() : absl::CancelledError("the pull was cancelled");
  }

  std::string RequestBody(bool live) const {
    std::string body = R"({"have":[)";
    bool first = true;
    for (const auto& [bucket, after] : database_->Have()) {
      if (after < 0) {
        continue;
      }
      body += first ? R"({"bucket":)" : R"(,{"bucket":)";
      AppendJsonString(bucket, &body);
      body += fmt::format(R"(,"after":"{}"}})", after);
      first = false;
    }
    body += fmt::format(R"(],"live":{})", live);
    if (!database_->history().empty()) {
      body += R"(,"history":)";
      AppendJsonString(database_->history(), &body);
    }
    return body + "}";
  }

  absl::Status Connect(bool live) {
    frames_.Restart();
    database_->Connected();
    const absl::Status status =
        server_->Stream(RequestBody(live), [this](std::string_view bytes) -> absl::Status {
          total_.bytes_received += bytes.size();
          return frames_.Feed(bytes);
        });
    in_checkpoint_ = false;  // the next connection announces its own
    if (reconnect_ || (completed_ && !live && absl::IsUnavailable(status))) {
      return absl::OkStatus();
    }
    return status;
  }

  // ---- frames ----

  absl::Status OnCheckpoint(Checkpoint checkpoint) override {
    RETURN_IF_ERROR(database_->Begin());
    in_checkpoint_ = true;
    target_ = checkpoint.position;
    announced_ = std::move(checkpoint.buckets);
    rows_total_ = 0;
    mine_.clear();
    for (const BucketSummary& bucket : announced_) {
      mine_.insert(bucket.bucket);
      rows_total_ += bucket.count;
    }
    // What is not the caller's any more goes, listed or not: `buckets` are all of the caller's.
    std::vector<std::string> removed = std::move(checkpoint.removed);
    for (const auto& [bucket, after] : database_->Have()) {
      if (!mine_.contains(bucket)) {
        removed.push_back(bucket);
      }
    }
    const bool other_buckets =
        !removed.empty() || std::any_of(announced_.begin(), announced_.end(),
                                        [this](auto& b) { return !database_->Holds(b.bucket); });
    RETURN_IF_ERROR(database_->Drop(removed));
    ASSIGN_OR_RETURN(const bool follows,
                     database_->Announce(checkpoint.position, checkpoint.history));
    if (!follows) {
      return StartOver();
    }
    if (checkpoint.entities.has_value()) {
      // After what went and before what comes, so that no value meets a column that is not its own.
      RETURN_IF_ERROR(database_->SetEntities(*checkpoint.entities));
    } else if (other_buckets) {
      // Other columns are other buckets; so are those of another entity under the same name.
      database_->ForgetSchema();
    }
    // Known from the start, so that an empty bucket has its position too.
    for (const BucketSummary& bucket : announced_) {
      RETURN_IF_ERROR(database_->SelectBucket(bucket.bucket));
    }
    return absl::OkStatus();
  }

  // This server is behind the one that a part of the load came from. What both can agree on is the
  // last complete checkpoint, or nothing.
  absl::Status StartOver() {
    if (database_->position() >= 0) {
      database_->Rollback();
    } else {
      std::vector<std::string> all;
      for (const auto& [bucket, after] : database_->Have()) {
        all.push_back(bucket);
      }
      RETURN_IF_ERROR(database_->Drop(all));
    }
    reconnect_ = true;
    return absl::AbortedError("the load starts over");
  }

  absl::Status OnBucket(std::string_view bucket) override {
    RETURN_IF_ERROR(CheckAnnounced(bucket));
    return database_->SelectBucket(bucket);
  }

  // What is not announced would be neither verified nor ever dropped.
  absl::Status CheckAnnounced(std::string_view bucket) const {
    if (!in_checkpoint_) {
      return OutOfOrder("operations that belong to no checkpoint");
    }
    return mine_.contains(bucket)
               ? absl::OkStatus()
               : OutOfOrder(
                     fmt::format("operations of bucket {}, which its checkpoint lacks", bucket));
  }

  absl::Status OnPut(std::string_view entity, std::string_view key, std::string_view position,
                     const std::vector<RowValue>& row) override {
    return database_->Put(entity, key, position, row);
  }

  absl::Status OnRemove(std::string_view entity, std::string_view key) override {
    return database_->Remove(entity, key);
  }

  absl::Status OnOpsDone(int64_t to) override {
    progressed_ = true;
    RETURN_IF_ERROR(database_->FrameDone(to));
    if (on_progress_) {
      on_progress_({database_->rows_held(), rows_total_, total_.bytes_received});
    }
    return absl::OkStatus();
  }

  absl::Status OnReset(std::string_view bucket) override {
    RETURN_IF_ERROR(CheckAnnounced(bucket));
    ++total_.buckets_reset;
    return database_->Reset(bucket);
  }

  absl::Status OnComplete(int64_t position) override {
    if (!in_checkpoint_) {
      return OutOfOrder("the end of a checkpoint that did not begin");
    }
    if (position != target_) {
      return OutOfOrder(
          fmt::format("the end of checkpoint {} as that of checkpoint {}", position, target_));
    }
    ASSIGN_OR_RETURN(const std::vector<std::string> differing, database_->Differing(announced_));
    if (!differing.empty()) {
      return Reload(differing);
    }
    RETURN_IF_ERROR(database_->Complete(position));
    completed_ = true;
    in_checkpoint_ = false;
    reloaded_.clear();
    ++total_.checkpoints;
    total_.position = position;
    total_.buckets = announced_.size();
    const RowCounts rows = database_->TakeRowCounts();
    total_.rows_put += rows.inserted + rows.changed;
    total_.rows_removed += rows.removed;
    total_.rows = database_->rows_shown();
    if (on_checkpoint_) {
      on_checkpoint_(total_);
    }
    return absl::OkStatus();
  }

  // A bucket that differs is loaded anew once, and nothing else is. What the connection still
  // brings belongs to what was dropped: the error stops it.
  absl::Status Reload(const std::vector<std::string>& differing) {
    RETURN_IF_ERROR(database_->Drop(differing));  // a first load must not keep it either
    for (const std::string& bucket : differing) {
      if (!reloaded_.insert(bucket).second) {
        return Error(
            absl::StatusCode::kDataLoss, "checksum_mismatch",
            fmt::format(
                "bucket {} differs from what the server announces, also after it was loaded anew; "
                "nothing of this checkpoint is shown",
                bucket));
      }
      ++total_.buckets_reloaded;
    }
    reconnect_ = true;
    return absl::AbortedError("buckets have to be loaded anew");
  }

  std::unique_ptr<ServerConnection> server_;
  const int attempts_max_;
  FrameReader frames_;
  std::unique_ptr<LocalDatabase> database_;
  Unusable unusable_;
  std::function<void(const PullResult&)> on_checkpoint_;
  std::function<void(const PullProgress&)> on_progress_;

  PullResult total_;
  std::vector<BucketSummary> announced_;
  std::set<std::string, std::less<>> mine_;  // their names
  uint64_t rows_total_ = 0;
  std::set<std::string> reloaded_;
  bool in_checkpoint_ = false;
  int64_t target_ = -1;      // its position
  bool completed_ = false;   // a checkpoint, on this connection
  bool progressed_ = false;  // a frame of operations, on this connection
  bool reconnect_ = false;   // ask anew at once, with what is held now
};

}  // namespace

absl::StatusOr<std::unique_ptr<Puller>> Puller::Open(PullOptions options) {
  absl::StatusOr<std::unique_ptr<ServerConnection>> server = ServerConnection::Open(options);
  RETURN_IF_ERROR(ForTerminals(server.status()));
  auto puller = std::make_unique<HttpPuller>(*std::move(server), options.attempts_max);
  RETURN_IF_ERROR(ForTerminals(puller->OpenFile(options.db_path, options.org)));
  return puller;
}

}  // namespace sluice::client
