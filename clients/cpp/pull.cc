#include "clients/cpp/pull.h"

#include <fmt/format.h>

#include <utility>
#include <variant>

#include "clients/cpp/checkpoint_state.h"
#include "clients/cpp/frame_reader.h"
#include "clients/cpp/local_database.h"
#include "clients/cpp/server_connection.h"
#include "schemas/base/printable.h"
#include "schemas/base/status.h"

namespace sluice::client {
namespace {

// Texts of the server's, of the file's and of SQLite are in it.
absl::Status ForTerminals(const absl::Status& status) {
  if (status.ok()) {
    return status;
  }
  absl::Status printable(status.code(), PrintableMessage(Message(status)));
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
      return absl::InvalidArgumentError("the file was wiped: open it anew");
    }
    total_ = PullResult{};
    total_.position = database_->position();
    state_.Restart();
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
      const absl::Status status = Connect(live);
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

  absl::Status Connect(bool live) {
    frames_.Restart();
    ASSIGN_OR_RETURN(HeldState held, database_->Connected());
    state_.Connect(std::move(held));
    const absl::Status status =
        server_->Stream(state_.Request(live), [this](std::string_view bytes) -> absl::Status {
          total_.bytes_received += bytes.size();
          return frames_.Feed(bytes);
        });
    if (reconnect_ || (completed_ && !live && absl::IsUnavailable(status))) {
      return absl::OkStatus();
    }
    return status;
  }

  // ---- frames ----

  absl::Status OnCheckpoint(Checkpoint checkpoint) override {
    return DoAll(state_.OnCheckpoint(std::move(checkpoint)));
  }

  absl::Status OnBucket(std::string_view bucket) override {
    return DoAll(state_.OnOperations(bucket));
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
    RETURN_IF_ERROR(DoAll(state_.OnOperationsEnd(to)));
    if (on_progress_) {
      on_progress_({database_->rows_held(), state_.rows_announced(), total_.bytes_received});
    }
    return absl::OkStatus();
  }

  absl::Status OnReset(std::string_view bucket) override { return DoAll(state_.OnReset(bucket)); }

  absl::Status OnComplete(int64_t position) override { return DoAll(state_.OnComplete(position)); }

  // ---- what they do ----

  // The first that fails ends the connection: the state is ahead of the file then, and the next
  // Connect() sets it by what the file holds.
  absl::Status DoAll(const Actions& actions) {
    for (const Action& action : actions) {
      RETURN_IF_ERROR(std::visit([this](const auto& what) { return this->Do(what); }, action));
    }
    return absl::OkStatus();
  }

  absl::Status Do(const BeginCheckpoint&) { return database_->Begin(); }
  absl::Status Do(const DropBuckets& drop) { return database_->Drop(drop.buckets); }
  absl::Status Do(const AnnouncePosition& announced) {
    database_->Announce(announced.position);
    return absl::OkStatus();
  }
  absl::Status Do(const KeepHistory& kept) {
    database_->SetHistory(kept.history);
    return absl::OkStatus();
  }
  absl::Status Do(const MirrorColumns& columns) {
    ASSIGN_OR_RETURN(const std::vector<std::string> dropped,
                     database_->SetEntities(columns.entities));
    state_.Dropped(dropped);
    return absl::OkStatus();
  }
  absl::Status Do(const AskForColumns&) {
    database_->ForgetSchema();
    return absl::OkStatus();
  }
  absl::Status Do(const HoldBuckets& hold) {
    for (const std::string& bucket : hold.buckets) {
      RETURN_IF_ERROR(database_->SelectBucket(bucket));
    }
    return absl::OkStatus();
  }
  absl::Status Do(const SelectBucket& select) { return database_->SelectBucket(select.bucket); }
  absl::Status Do(const ResetBucket& reset) {
    ++total_.buckets_reset;
    return database_->Reset(reset.bucket);
  }
  absl::Status Do(const EndOperations& end) { return database_->FrameDone(end.to); }
  absl::Status Do(const CompareBuckets& compare) {
    ASSIGN_OR_RETURN(const std::vector<std::string> differing,
                     database_->Differing(compare.buckets));
    return DoAll(state_.Compared(differing));
  }
  absl::Status Do(const CompleteCheckpoint& complete) {
    RETURN_IF_ERROR(database_->Complete(complete.position, complete.history));
    state_.Completed();
    completed_ = true;
    ++total_.checkpoints;
    total_.position = complete.position;
    total_.buckets = state_.buckets_announced();
    const RowCounts rows = database_->TakeRowCounts();
    total_.rows_put += rows.inserted + rows.changed;
    total_.rows_removed += rows.removed;
    total_.rows = database_->rows_shown();
    if (on_checkpoint_) {
      on_checkpoint_(total_);
    }
    return absl::OkStatus();
  }
  absl::Status Do(const ReloadBuckets& reload) {
    total_.buckets_reloaded += reload.buckets.size();
    return database_->Drop(reload.buckets);
  }
  absl::Status Do(const RollBack&) {
    database_->Rollback();
    return absl::OkStatus();
  }
  absl::Status Do(const Reconnect&) {
    reconnect_ = true;
    return absl::AbortedError("asked anew");  // nothing more of this connection is read
  }
  static absl::Status Do(const Fail& fail) { return fail.status; }

  std::unique_ptr<ServerConnection> server_;
  const int attempts_max_;
  FrameReader frames_;
  CheckpointState state_;
  std::unique_ptr<LocalDatabase> database_;
  Unusable unusable_;
  std::function<void(const PullResult&)> on_checkpoint_;
  std::function<void(const PullProgress&)> on_progress_;

  PullResult total_;
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
