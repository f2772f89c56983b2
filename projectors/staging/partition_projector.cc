#include "projectors/staging/partition_projector.h"

#include <algorithm>

#include "eventlog/partition_group.h"
#include "projectors/nodes/node_directory.h"
#include "schemas/base/status.h"
#include "spdlog/spdlog.h"

namespace sluice::projectors {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kWaitMax{1000};
constexpr milliseconds kLookInterval{500};
// Instead of kLettersLook where they are slow.
constexpr milliseconds kLettersLookSlow{100};
// How long a partition waits for what others have told before it came, and looks for it. Where
// `nodes` cannot be read it is folded without, and compared once that is known.
constexpr milliseconds kOthersPatience{5'000};
constexpr milliseconds kOthersLook{10};
// A batch that takes longer is made smaller, one that takes less than half of it larger: whoever's
// event comes next waits for the batch under way.
constexpr milliseconds kBatchTime{40};
// Before it is known how long a batch takes.
constexpr size_t kBatchEventsFirst = 1'000;
constexpr size_t kBatchEventsMin = 64;
// Ends that are remembered until they are reached, so many in StagingOptions::near_end: callers ask
// for ends too, as often as they like.
constexpr int kEndsMax = 16;
// Errors that trying again cannot mend: the log does not go on from what the stores hold. A damaged
// store is no such error.
bool IsFatal(const absl::Status& status) {
  return (absl::IsDataLoss(status) && ErrorCode(status) != "store_corrupt") ||
         absl::IsOutOfRange(status);
}

absl::Status Behind() {
  return Error(StatusCode::kUnavailable, "staging_catching_up",
               "the log has not been read to the end that it had at the start");
}

absl::Status CatchingUp(PartitionId partition) {
  return Error(StatusCode::kUnavailable, "not_caught_up",
               "partition {} is behind the end of the log", partition.value());
}

}  // namespace

PartitionProjector::PartitionProjector(PartitionId partition, Context context)
    : partition_(partition),
      context_(context),
      letters_(context.log, context.clock, partition, context.options, context.metrics),
      batch_events_(std::min(context.options.batch_events_max, kBatchEventsFirst)),
      end_question_(
          context.clock, [this](SteadyTime asked) { return AskEnd(asked); },
          Error(StatusCode::kUnavailable, "not_served_here", "partition {} is being given up",
                partition.value())),
      side_(partition, context.log, context.stores, context.clock, context.options,
            context.metrics),
      follower_(context.log, context.clock, *this,
                {.topic = eventlog::Topic::kChanges,
                 .partition = partition,
                 .retry = Backoff(context.options.retry_min, context.options.retry_max),
                 .compare = [this] { return guard_.VerifyRead(); },
                 .health = Behind()}),
      guard_(partition, context.log, context.stores, context.clock, context.options.nodes,
             follower_.cancellation()) {}

PartitionProjector::~PartitionProjector() { Stop(); }

void PartitionProjector::Start() {
  next_checkpoint_ = context_.clock.SteadyNow() + context_.options.checkpoint_interval;
  follower_.Start();
}

void PartitionProjector::RequestStop() {
  end_question_.RequestStop();
  side_.RequestStop();
  follower_.RequestStop();
}

void PartitionProjector::Stop() {
  RequestStop();
  follower_.Stop();
  // Here, and not when whoever holds the projector last lets go of it, which may be a request.
  end_question_.Stop();
}

// Messages name organisations and folders: those are for the log.
absl::Status PartitionProjector::Health() const {
  const absl::Status status = follower_.Health();
  return status.ok() ? status
                     : Error(status.code(), ErrorCode(status), "partition {}: {}",
                             partition_.value(), ErrorCode(status));
}

absl::Status PartitionProjector::MayServe() const {
  absl::MutexLock lock(&mutex_);
  if (!failed_.ok()) {
    return Error(StatusCode::kUnavailable, ErrorCode(failed_), "partition {} has stopped",
                 partition_.value());
  }
  if (!caught_up_ || doubted_ ||
      context_.clock.SteadyNow() - near_end_ > context_.options.near_end ||
      context_.log.IsEndDoubted(eventlog::Topic::kChanges, partition_) ||
      context_.log.IsEndDoubted(eventlog::Topic::kProvisioning, partition_)) {
    return CatchingUp(partition_);
  }
  return absl::OkStatus();
}

int64_t PartitionProjector::lag() const {
  return std::max<int64_t>(0, end_ - std::max<int64_t>(0, next().value()));
}

absl::StatusOr<Offset> PartitionProjector::AskEnd(SteadyTime asked) {
  const Offset before = next();
  // Of an error nothing is noted: the partition's own reader tells what is wrong.
  ASSIGN_OR_RETURN(const eventlog::OffsetRange range,
                   context_.log.Range(eventlog::Topic::kChanges, partition_));
  absl::MutexLock lock(&mutex_);
  NoteEnd(range.end, asked, before);
  return range.end;
}

void PartitionProjector::NoteEnd(Offset end, SteadyTime asked, Offset before) {
  end_ = end.value();
  if (end < before) {
    verify_due_ = true;  // the log ends before what had been read of it
    doubted_ = true;
    return;
  }
  while (!ends_.empty() && asked - ends_.front().second > context_.options.near_end) {
    ends_.pop_front();  // to reach it would say nothing any more
  }
  if (next() != kNoOffset && end <= next()) {
    near_end_ = std::max(near_end_, asked);
    ends_.clear();
    TellNear();
    return;
  }
  // The one before is reached sooner, and vouches for almost as long.
  if (ends_.empty() || asked - ends_.back().second >= context_.options.near_end / kEndsMax) {
    ends_.emplace_back(end, asked);
  }
}

void PartitionProjector::NoteProgress(Offset next) {
  absl::MutexLock lock(&mutex_);
  while (!ends_.empty() && ends_.front().first <= next) {
    near_end_ = std::max(near_end_, ends_.front().second);
    ends_.pop_front();
  }
  if (next >= end_at_start_) {
    caught_up_ = true;
  }
  TellNear();
}

// An organisation that is set apart later was as near to the end as its partition.
void PartitionProjector::TellNear() {
  context_.stores.NoteNear(partition_, caught_up_ ? std::make_optional(near_end_) : std::nullopt);
}

void PartitionProjector::Ended() {
  // A checkpoint that is under way is given up, and one for the whole is made below.
  AbandonCheckpoint();
  guard_.OutliveCancellation();
  side_.Stop();
  if (HasFailed()) {
    return;
  }
  // Without the log nothing says that the checkpoint would be right; a partition that did not
  // answer last would be waited for in vain.
  if (context_.log.Health().ok() && Answers()) {
    absl::Status status = IsVerifyDue() ? VerifyBatches() : absl::OkStatus();
    if (status.ok() && !letters_.slow()) {
      status = PassLetters(letters_.Write(kWaitMax));
    }
    if (status.ok() && dirty_) {
      status = Checkpoint();
    }
    if (!status.ok()) {
      spdlog::warn("staging_checkpoint_failed partition={} error=\"{}\"", partition_.value(),
                   Message(status));
    }
    if (eventlog::IsDoubtedEnd(status)) {
      guard_.NoteDoubted();
    }
  }
  spdlog::info("staging_partition_stopped partition={}", partition_.value());
}

bool PartitionProjector::HasFailed() const {
  absl::MutexLock lock(&mutex_);
  return !failed_.ok();
}

bool PartitionProjector::Failed(const absl::Status& status, milliseconds wait) {
  if (eventlog::IsDoubtedEnd(status)) {
    absl::MutexLock lock(&mutex_);
    verify_due_ = true;  // before anything else is folded
    doubted_ = true;
  }
  if (IsFatal(status)) {
    spdlog::error("staging_partition_failed partition={} code={} error=\"{}\"", partition_.value(),
                  ErrorCode(status), Message(status));
    absl::MutexLock lock(&mutex_);
    failed_ = status;
    return false;
  }
  context_.metrics.Retried();
  spdlog::warn("staging_retry partition={} code={} error=\"{}\" retry_ms={}", partition_.value(),
               ErrorCode(status), Message(status), wait.count());
  return true;
}

absl::Status PartitionProjector::Step() {
  if (IsVerifyDue()) {
    RETURN_IF_ERROR(VerifyBatches());
  }
  RETURN_IF_ERROR(side_.History());
  RETURN_IF_ERROR(guard_.VerifyNewlyTold());
  side_.Wake();
  RETURN_IF_ERROR(letters_.MakeRoom([this] { return follower_.stopping(); }));
  RETURN_IF_ERROR(ReadBatch());
  RETURN_IF_ERROR(follower_.Fold());
  RETURN_IF_ERROR(PassLetters(letters_.Look()));
  if (context_.clock.SteadyNow() >= next_look_) {
    RETURN_IF_ERROR(context_.stores.LookForTrouble(partition_));
    next_look_ = context_.clock.SteadyNow() + kLookInterval;
  }
  // Before the checkpoint: where that fails, what was read is folded all the same.
  NoteProgress(next());
  const bool caught_up = next() >= end_at_start_;
  if (caught_up) {
    end_at_start_ = kNoOffset;  // from now on the partition counts as caught up
  }
  RETURN_IF_ERROR(CheckpointIfDue());
  follower_.SetHealth(caught_up ? absl::OkStatus() : Behind());
  return absl::OkStatus();
}

// One organisation's events that were refused hold up no other one: they are written beside the
// fold, as long as there is room for them. What waits for them is the checkpoint.
absl::Status PartitionProjector::PassLetters(const absl::Status& written) {
  context_.metrics.LettersHeld(partition_, letters_.size() + side_.letters_held());
  if (written.ok() || IsFatal(written) || absl::IsCancelled(written)) {
    return written;
  }
  context_.metrics.Retried();
  spdlog::warn("staging_letters_retry partition={} letters={} code={} error=\"{}\"",
               partition_.value(), letters_.size(), ErrorCode(written), Message(written));
  return absl::OkStatus();
}

void PartitionProjector::AwaitOthers() {
  const NodeDirectory* const nodes = context_.options.nodes;
  if (nodes == nullptr) {
    return;
  }
  const SteadyTime end = context_.clock.SteadyNow() + kOthersPatience;
  while (!nodes->Known() && context_.clock.SteadyNow() < end && follower_.Pause(kOthersLook)) {
  }
}

bool PartitionProjector::IsVerifyDue() const {
  absl::MutexLock lock(&mutex_);
  return verify_due_;
}

absl::Status PartitionProjector::VerifyBatches() {
  {
    absl::MutexLock lock(&mutex_);
    verify_due_ = false;
  }
  const absl::Status same = guard_.VerifyBatches();
  absl::MutexLock lock(&mutex_);
  verify_due_ = verify_due_ || !same.ok();
  if (same.ok()) {
    doubted_ = verify_due_;  // it may have been told again meanwhile
  }
  return same;
}

absl::StatusOr<Offset> PartitionProjector::Open() {
  AwaitOthers();
  // What the stores hold may be the work of another projector.
  RETURN_IF_ERROR(VerifyBatches());
  AbandonCheckpoint();  // reading starts at the last one, and what is read anew is behind this one
  const SteadyTime asked = context_.clock.SteadyNow();
  ASSIGN_OR_RETURN(const eventlog::OffsetRange range,
                   context_.log.Range(eventlog::Topic::kChanges, partition_));
  // By this thread alone, which applies: it also says that reading begins there again.
  const Offset from = context_.stores.CheckpointOf(partition_);
  spdlog::info("staging_partition_started partition={} from={}", partition_.value(), from.value());
  end_at_start_ = range.end;
  end_ = range.end.value();
  {
    absl::MutexLock lock(&mutex_);
    caught_up_ = false;
    ends_.assign({{range.end, asked}});
  }
  if (from >= end_at_start_) {
    follower_.SetHealth(absl::OkStatus());  // nothing to catch up with; the first read may wait
  }
  NoteProgress(from);
  return from;
}

absl::Status PartitionProjector::ReadBatch() {
  const auto until_checkpoint =
      std::chrono::duration_cast<milliseconds>(next_checkpoint_ - context_.clock.SteadyNow());
  const milliseconds letters_look = letters_.slow() ? kLettersLookSlow : kLettersLook;
  const eventlog::ReadLimits limits{
      .bytes_max = context_.options.batch_bytes_max,
      .events_max = batch_events_,
      .wait_max = letters_.empty() ? std::clamp(until_checkpoint, milliseconds(1), kWaitMax)
                                   : letters_look};
  const absl::Status read = follower_.Read(limits);
  if (read.ok()) {
    return read;
  }
  {
    absl::MutexLock lock(&mutex_);
    verify_due_ = true;
    doubted_ = doubted_ || ErrorCode(read) == "offset_beyond_end";
  }
  if (absl::IsOutOfRange(read)) {
    // Not there any more, or another log: which of the two, the event that was applied last tells.
    RETURN_IF_ERROR(guard_.VerifyHistory());
    if (ErrorCode(read) == "offset_beyond_end") {
      // Only offsets without events are missing: reading goes on behind what was applied.
      follower_.Close();
      return Error(StatusCode::kUnavailable, "log_unavailable", Message(read));
    }
  }
  return read;
}

void PartitionProjector::AdaptBatch(SteadyTime::duration took) {
  if (took > kBatchTime) {
    batch_events_ = std::max(kBatchEventsMin, batch_events_ / 2);
  } else if (took < kBatchTime / 2) {
    batch_events_ = std::min(context_.options.batch_events_max, batch_events_ * 2);
  }
}

absl::Status PartitionProjector::Fold(const std::vector<eventlog::StoredEvent>& events) {
  if (events.empty()) {
    return absl::OkStatus();
  }
  const SteadyTime start = context_.clock.SteadyNow();
  absl::StatusOr<ApplyResult> applied =
      context_.stores.Apply(partition_, events, [this] { return follower_.stopping(); });
  if (!applied.ok()) {
    if (ErrorCode(applied.status()) == "store_rewound") {
      // A store went back to what was on disk: read again from the checkpoint.
      follower_.Close();
    }
    return applied.status();
  }
  dirty_ = true;
  letters_.Add(events, applied->rejected);
  const SteadyTime::duration took = context_.clock.SteadyNow() - start;
  context_.metrics.BatchApplied(applied->counters, applied->rejected.size(), took);
  AdaptBatch(took);
  side_.Wake();
  return absl::OkStatus();
}

absl::Status PartitionProjector::CheckpointIfDue() {
  if (!flush_.done()) {
    return absl::OkStatus();
  }
  if (checkpoint_ != nullptr) {
    return EndCheckpoint();
  }
  if (context_.clock.SteadyNow() < next_checkpoint_) {
    return absl::OkStatus();
  }
  if (!dirty_) {
    next_checkpoint_ = context_.clock.SteadyNow() + context_.options.checkpoint_interval;
    return absl::OkStatus();
  }
  return BeginCheckpoint();
}

Offset PartitionProjector::FirstUntold() const {
  const Offset waiting = letters_.oldest();
  const Offset read = next();
  if (read > context_.stores.LastApplied(partition_).position) {
    return waiting;
  }
  return waiting == kNoOffset ? read : std::min(waiting, read);
}

// A checkpoint says that the stores go on from this log: not before it has been seen to be so. Its
// position is taken here; the stores are flushed while events are applied. It waits for no letter,
// but passes none that waits: whoever folds on after a crash tells of that one again.
absl::Status PartitionProjector::BeginCheckpoint() {
  RETURN_IF_ERROR(guard_.VerifyHistory());
  const Offset untold = FirstUntold();
  checkpoint_ = context_.stores.BeginCheckpoint(partition_, untold);
  next_checkpoint_ = context_.clock.SteadyNow() + context_.options.checkpoint_interval;
  dirty_ = untold != kNoOffset;
  if (checkpoint_ != nullptr) {
    flush_.Start([checkpoint = checkpoint_.get()] { checkpoint->Flush(); });
  }
  return absl::OkStatus();
}

absl::Status PartitionProjector::EndCheckpoint() {
  const absl::StatusOr<Offset> next = context_.stores.EndCheckpoint(std::move(checkpoint_));
  if (!next.ok()) {
    dirty_ = true;
    next_checkpoint_ = context_.clock.SteadyNow();
    return next.status();
  }
  context_.group.CommitHint(partition_, *next);
  return absl::OkStatus();
}

absl::Status PartitionProjector::Checkpoint() {
  RETURN_IF_ERROR(BeginCheckpoint());
  flush_.Wait();
  return checkpoint_ == nullptr ? absl::OkStatus() : EndCheckpoint();
}

void PartitionProjector::AbandonCheckpoint() {
  flush_.Wait();
  if (checkpoint_ != nullptr) {
    checkpoint_.reset();
    dirty_ = true;
  }
}

}  // namespace sluice::projectors
