#include "projectors/staging/partition_folder.h"

#include <algorithm>
#include <utility>

#include "absl/time/time.h"
#include "eventlog/partition_group.h"
#include "fmt/format.h"
#include "projectors/staging/dead_letter.h"
#include "schemas/status.h"
#include "spdlog/spdlog.h"

namespace sluice::projectors {
namespace {

constexpr std::chrono::milliseconds kWaitMax{1000};
constexpr std::chrono::seconds kLagInterval{1};
constexpr size_t kLettersPerAppend = 100;
constexpr size_t kLetterBytesPerAppend = 1 << 20;
// An end that no event comes before (Kafka's control records) is reached when nothing comes.
constexpr int kEmptyReadsAtEnd = 3;

// Errors that trying again cannot mend: the log does not go on from what the stores hold. A damaged
// store is no such error: it is built anew as soon as its folder has been deleted.
bool IsFatal(const absl::Status& status) {
  return (status.code() == absl::StatusCode::kDataLoss && ErrorCode(status) != "store_corrupt") ||
         status.code() == absl::StatusCode::kOutOfRange;
}

absl::Status Cancelled() {
  return Error(absl::StatusCode::kCancelled, "cancelled", "the projector is stopping");
}

}  // namespace

PartitionFolder::PartitionFolder(PartitionId partition, Context context)
    : partition_(partition),
      context_(context),
      jitter_(std::random_device()()),
      health_(Error(absl::StatusCode::kUnavailable, "staging_catching_up",
                    fmt::format("partition {} has not been read yet", partition.value()))) {}

PartitionFolder::~PartitionFolder() { Stop(); }

void PartitionFolder::Start() {
  thread_ = std::thread([this] { Run(); });
}

void PartitionFolder::RequestStop() {
  absl::MutexLock lock(&mutex_);
  stopping_ = true;
  if (reader_ != nullptr) {
    reader_->Cancel();
  }
}

void PartitionFolder::Stop() {
  RequestStop();
  if (thread_.joinable()) {
    thread_.join();
  }
}

absl::Status PartitionFolder::Health() const {
  absl::MutexLock lock(&mutex_);
  return health_;
}

bool PartitionFolder::stopping() const {
  absl::MutexLock lock(&mutex_);
  return stopping_;
}

void PartitionFolder::SetHealth(absl::Status status) {
  absl::MutexLock lock(&mutex_);
  health_ = std::move(status);
}

void PartitionFolder::Run() {
  spdlog::info("staging_partition_started partition={} from={}", partition_.value(),
               context_.stores.CheckpointOf(partition_).value());
  next_checkpoint_ = context_.clock.SteadyNow() + context_.options.checkpoint_interval;
  absl::Status status;
  while (!stopping()) {
    status = Step();
    if (status.ok()) {
      backoff_ = std::chrono::milliseconds(0);
      continue;
    }
    if (stopping()) {
      break;
    }
    SetHealth(Annotate(status, fmt::format("partition {}", partition_.value())));
    if (IsFatal(status)) {
      spdlog::error("staging_partition_failed partition={} code={} error=\"{}\"",
                    partition_.value(), ErrorCode(status), Message(status));
      return;
    }
    context_.metrics.Retried();
    spdlog::warn("staging_retry partition={} code={} error=\"{}\"", partition_.value(),
                 ErrorCode(status), Message(status));
    BackOff();
  }
  // Rejected events that are not in the dead letters yet are told of again from the old checkpoint.
  if (dirty_ && letters_.empty()) {
    status = Checkpoint();
    if (!status.ok()) {
      spdlog::warn("staging_checkpoint_failed partition={} error=\"{}\"", partition_.value(),
                   Message(status));
    }
  }
  spdlog::info("staging_partition_stopped partition={}", partition_.value());
}

absl::Status PartitionFolder::Step() {
  RETURN_IF_ERROR(OpenReader());
  if (events_.empty() && letters_.empty()) {
    RETURN_IF_ERROR(ReadBatch());
  }
  if (!events_.empty()) {
    RETURN_IF_ERROR(ApplyBatch());
  }
  RETURN_IF_ERROR(WriteDeadLetters());
  RETURN_IF_ERROR(CheckpointIfDue());
  const Offset next = [this] {
    absl::MutexLock lock(&mutex_);
    return reader_->next();
  }();
  MeasureLag(next);
  if (next >= end_at_start_ || empty_reads_ >= kEmptyReadsAtEnd) {
    end_at_start_ = kNoOffset;  // from now on the partition counts as caught up
    SetHealth(absl::OkStatus());
  } else {
    SetHealth(Error(absl::StatusCode::kUnavailable, "staging_catching_up",
                    fmt::format("partition {} is at offset {} of {}", partition_.value(),
                                next.value(), end_at_start_.value())));
  }
  return absl::OkStatus();
}

absl::Status PartitionFolder::OpenReader() {
  {
    absl::MutexLock lock(&mutex_);
    if (reader_ != nullptr) {
      return absl::OkStatus();
    }
  }
  const AppliedState state = context_.stores.CheckpointState(partition_);
  RETURN_IF_ERROR(eventlog::VerifyContinuity(context_.log, eventlog::Topic::kChanges, partition_,
                                             state.position, state.event_hash));
  ASSIGN_OR_RETURN(const eventlog::OffsetRange range,
                   context_.log.Range(eventlog::Topic::kChanges, partition_));
  const Offset from = context_.stores.CheckpointOf(partition_);
  ASSIGN_OR_RETURN(std::unique_ptr<eventlog::Reader> reader,
                   context_.log.OpenReader(eventlog::Topic::kChanges, partition_, from));
  end_at_start_ = range.end;
  absl::MutexLock lock(&mutex_);
  if (stopping_) {
    return Cancelled();
  }
  reader_ = std::move(reader);
  if (from >= end_at_start_) {
    health_ = absl::OkStatus();  // nothing to catch up with, and the first read may wait
  }
  return absl::OkStatus();
}

absl::Status PartitionFolder::ReadBatch() {
  eventlog::Reader* reader = nullptr;
  {
    absl::MutexLock lock(&mutex_);
    reader = reader_.get();
  }
  const auto until_checkpoint = std::chrono::duration_cast<std::chrono::milliseconds>(
      next_checkpoint_ - context_.clock.SteadyNow());
  const eventlog::ReadLimits limits{
      .bytes_max = context_.options.batch_bytes_max,
      .events_max = context_.options.batch_events_max,
      .wait_max = std::clamp(until_checkpoint, std::chrono::milliseconds(1), kWaitMax)};
  ASSIGN_OR_RETURN(events_, reader->Read(limits));
  empty_reads_ = events_.empty() ? empty_reads_ + 1 : 0;
  return absl::OkStatus();
}

absl::Status PartitionFolder::ApplyBatch() {
  const SteadyTime start = context_.clock.SteadyNow();
  absl::StatusOr<ApplyResult> applied =
      context_.stores.Apply(partition_, events_, [this] { return stopping(); });
  if (!applied.ok()) {
    if (ErrorCode(applied.status()) == "store_rewound") {
      // A store went back to what was on disk: read again from the checkpoint.
      events_.clear();
      absl::MutexLock lock(&mutex_);
      reader_.reset();
    }
    return applied.status();
  }
  dirty_ = true;
  for (const Rejected& rejected : applied->rejected) {
    const auto original = std::lower_bound(
        events_.begin(), events_.end(), rejected.offset,
        [](const eventlog::StoredEvent& event, Offset offset) { return event.offset < offset; });
    if (original == events_.end() || original->offset != rejected.offset) {
      continue;
    }
    spdlog::warn("staging_rejected partition={} offset={} op={} code={} org={}", partition_.value(),
                 rejected.offset.value(), rejected.op_index, rejected.code,
                 original->event.subject);
    letters_.push_back(MakeDeadLetter(partition_, *original, rejected, context_.clock.Now()));
  }
  context_.metrics.BatchApplied(applied->counters, applied->rejected.size(),
                                context_.clock.SteadyNow() - start);
  events_.clear();
  return absl::OkStatus();
}

// Appends in small batches; what is durable is taken from letters_, so that a failure repeats only
// the rest.
absl::Status PartitionFolder::WriteDeadLetters() {
  while (!letters_.empty()) {
    const PartitionId target =
        context_.log.PartitionFor(eventlog::Topic::kDeadletter, letters_.front().key);
    size_t count = 0;
    size_t bytes = 0;
    while (count < letters_.size() && count < kLettersPerAppend &&
           (count == 0 || bytes + letters_[count].ByteSize() <= kLetterBytesPerAppend) &&
           context_.log.PartitionFor(eventlog::Topic::kDeadletter, letters_[count].key) == target) {
      bytes += letters_[count++].ByteSize();
    }
    const auto end = letters_.begin() + static_cast<std::ptrdiff_t>(count);
    const absl::Status status = AppendDeadLetters(target, {letters_.begin(), end});
    if (ErrorCode(status) == "too_large") {
      const auto largest = std::max_element(
          letters_.begin(), end,
          [](const auto& a, const auto& b) { return a.ByteSize() < b.ByteSize(); });
      *largest = WithoutOriginal(*largest);
    }
    RETURN_IF_ERROR(status);
    context_.metrics.DeadLettered(count);
    letters_.erase(letters_.begin(), end);
  }
  return absl::OkStatus();
}

absl::Status PartitionFolder::AppendDeadLetters(PartitionId partition,
                                                std::vector<eventlog::Event> letters) {
  // Shared with the callback, which may come after a stop has ended the wait.
  struct Answer {
    absl::Mutex mutex;
    bool done ABSL_GUARDED_BY(mutex) = false;
    absl::Status status ABSL_GUARDED_BY(mutex);
  };
  const auto answer = std::make_shared<Answer>();
  context_.log.AppendAsync(eventlog::Topic::kDeadletter, partition, std::move(letters),
                           [answer](const absl::StatusOr<std::vector<Offset>>& offsets) {
                             absl::MutexLock lock(&answer->mutex);
                             answer->done = true;
                             answer->status = offsets.status();
                           });
  absl::MutexLock lock(&answer->mutex);
  while (!answer->mutex.AwaitWithTimeout(absl::Condition(&answer->done), absl::Milliseconds(100))) {
    if (stopping()) {
      return Cancelled();
    }
  }
  return answer->status;
}

absl::Status PartitionFolder::CheckpointIfDue() {
  if (context_.clock.SteadyNow() < next_checkpoint_) {
    return absl::OkStatus();
  }
  if (!dirty_) {
    next_checkpoint_ = context_.clock.SteadyNow() + context_.options.checkpoint_interval;
    return absl::OkStatus();
  }
  return Checkpoint();
}

absl::Status PartitionFolder::Checkpoint() {
  ASSIGN_OR_RETURN(const Offset next, context_.stores.Checkpoint(partition_));
  context_.group.CommitHint(partition_, next);
  dirty_ = false;
  next_checkpoint_ = context_.clock.SteadyNow() + context_.options.checkpoint_interval;
  return absl::OkStatus();
}

void PartitionFolder::MeasureLag(Offset next) {
  const SteadyTime now = context_.clock.SteadyNow();
  if (now < next_lag_) {
    return;
  }
  next_lag_ = now + kLagInterval;
  const auto range = context_.log.Range(eventlog::Topic::kChanges, partition_);
  if (range.ok()) {
    context_.metrics.Lag(partition_, std::max<int64_t>(0, range->end.value() - next.value()));
  }
}

void PartitionFolder::BackOff() {
  const StagingOptions& options = context_.options;
  backoff_ = std::clamp(backoff_ * 2, options.retry_min, options.retry_max);
  // Between half and the whole: processes that failed together do not come back together.
  const auto half = backoff_.count() / 2;
  const int64_t wait = half + static_cast<int64_t>(jitter_() % static_cast<uint64_t>(half + 1));
  absl::MutexLock lock(&mutex_);
  mutex_.AwaitWithTimeout(absl::Condition(&stopping_), absl::Milliseconds(wait));
}

}  // namespace sluice::projectors
