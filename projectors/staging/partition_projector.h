#pragma once

#include <atomic>
#include <chrono>
#include <deque>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "eventlog/background_task.h"
#include "eventlog/end_question.h"
#include "eventlog/follower.h"
#include "eventlog/log.h"
#include "projectors/staging/history_guard.h"
#include "projectors/staging/letter_box.h"
#include "projectors/staging/side_projector.h"
#include "projectors/staging/staging_metrics.h"
#include "projectors/staging/staging_projector.h"

namespace sluice::projectors {

// Folds one partition of `changes` on a thread of its own, from Start() to Stop(), and on a second
// one those who are apart. Two more flush stores for checkpoints and ask the log for its end.
// Before it reads on, everything that this process has applied of the partition has been compared
// with the log, whoever applied it: StoreWriter remembers that, as stores outlive their projectors,
// and eventlog::ComparedReader says when (docs/fold.md, "Which history").
// Thread-safe.
class PartitionProjector : eventlog::Follower::Callbacks {
 public:
  // All must outlive the projector.
  struct Context {
    eventlog::Log& log;
    eventlog::PartitionGroup& group;
    StoreWriter& stores;
    const Clock& clock;
    const StagingOptions& options;
    StagingMetrics& metrics;
  };

  // Makes all of its threads but the first, which Start() makes; std::system_error where one can't
  // be made: what there is may then be destroyed.
  PartitionProjector(PartitionId partition, Context context);
  ~PartitionProjector() override;

  void Start();
  // Ends the batch under way soon; does not wait.
  void RequestStop();
  // RequestStop(), then waits until the last checkpoint is written.
  void Stop();

  // Ok once caught up with the end that the log had at the start, and not failing. Names the
  // partition and a code, nothing else.
  [[nodiscard]] absl::Status Health() const;
  // As StagingProjector::MayServe() of the partition.
  [[nodiscard]] absl::Status MayServe() const;
  // As SideProjector::HasLostEvents().
  [[nodiscard]] bool HasLostEvents(const OrgId& org) const { return side_.HasLostEvents(org); }

  // As StagingProjector::EndSince() of the partition; since a time of this projector's clock.
  [[nodiscard]] std::optional<absl::StatusOr<Offset>> EndSince(SteadyTime since) {
    return end_question_.Since(since);
  }
  // Has the log asked for its end, by which the projector knows how near it is, unless it is being
  // asked. Never waits: a partition without a leader holds up no other one.
  void Probe() { end_question_.Start(); }
  // One past what has been folded; kNoOffset before the start.
  Offset next() const { return follower_.next(); }
  // How many events of the log are not folded, by its end as it was told last.
  int64_t lag() const;

 private:
  absl::StatusOr<Offset> Open() override;
  // One batch, or what is left of one that failed. An error leaves what is left for the next call.
  absl::Status Step() override;
  absl::Status Fold(const std::vector<eventlog::StoredEvent>& events) override;
  bool Failed(const absl::Status& status, std::chrono::milliseconds wait) override;
  // Writes the last checkpoint.
  void Ended() override;
  // Whether the log said where the partition ends when it was asked last, and held up no comparison
  // when this was to stop.
  bool Answers() const { return !follower_.cut_off() && end_question_.answers(); }
  bool HasFailed() const;
  absl::Status ReadBatch();
  // What LetterBox has answered: an error that is no reason to stop folding is told, and passed.
  absl::Status PassLetters(const absl::Status& written);
  absl::Status CheckpointIfDue();
  // The first event whose rejection may not be in the dead letters yet; kNoOffset for none. What
  // was applied behind the events that this projector has come by is the work of an earlier one of
  // this process, which took its letters with it: the stores tell of them as the events are read.
  Offset FirstUntold() const;
  absl::Status BeginCheckpoint();
  absl::Status EndCheckpoint();
  absl::Status Checkpoint();
  void AbandonCheckpoint();
  // Until what the others have told is known, or for kOthersPatience.
  void AwaitOthers();
  // After an error of the log, or where it ends too early: it may be another one's turn.
  bool IsVerifyDue() const ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Status VerifyBatches() ABSL_LOCKS_EXCLUDED(mutex_);
  void AdaptBatch(SteadyTime::duration took);
  void NoteProgress(Offset next);
  // EndQuestion's.
  absl::StatusOr<Offset> AskEnd(SteadyTime asked) ABSL_LOCKS_EXCLUDED(mutex_);
  // The log said that it ended at `end` when it was asked at `asked`, and next() was `before`
  // before.
  void NoteEnd(Offset end, SteadyTime asked, Offset before) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void TellNear() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const PartitionId partition_;
  const Context context_;
  std::atomic<int64_t> end_{0};

  // Only the thread's own:
  LetterBox letters_;    // of what is applied
  bool dirty_ = false;   // something was applied since the last checkpoint was begun
  size_t batch_events_;  // what a batch holds now
  SteadyTime next_checkpoint_;
  SteadyTime next_look_;  // for damage that readers have found
  Offset end_at_start_;
  std::unique_ptr<PendingCheckpoint> checkpoint_;  // under way, or nullptr
  eventlog::BackgroundTask flush_;                 // flushes for the checkpoint

  mutable absl::Mutex mutex_;
  bool verify_due_ ABSL_GUARDED_BY(mutex_) = false;
  // The log was told to end before what was read of it, and has not been compared since: that it is
  // long enough again says nothing of what it holds there.
  bool doubted_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status failed_ ABSL_GUARDED_BY(mutex_);     // for good
  bool caught_up_ ABSL_GUARDED_BY(mutex_) = false;  // with the end at the start
  // When the log was asked for ends that have not been reached; ascending.
  std::deque<std::pair<Offset, SteadyTime>> ends_ ABSL_GUARDED_BY(mutex_);
  SteadyTime near_end_ ABSL_GUARDED_BY(mutex_);  // everything that was there then is folded

  eventlog::EndQuestion end_question_;
  SideProjector side_;
  eventlog::Follower follower_;
  HistoryGuard guard_;  // of the follower's thread alone
};

}  // namespace sluice::projectors
