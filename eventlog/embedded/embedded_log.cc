#include "eventlog/embedded/embedded_log.h"

#include <algorithm>
#include <utility>

#include "eventlog/embedded/commit_queue.h"
#include "eventlog/embedded/event_codec.h"
#include "eventlog/embedded/log_metrics.h"
#include "eventlog/embedded/log_store.h"
#include "eventlog/embedded/partition_ends.h"
#include "eventlog/embedded/partition_reader.h"
#include "eventlog/embedded/partition_state.h"
#include "schemas/base/status.h"

namespace sluice::eventlog {

class EmbeddedLog::Impl {
 public:
  Impl(EmbeddedLogOptions options, std::unique_ptr<LogStore> store)
      : options_(std::move(options)),
        store_(std::move(store)),
        metrics_(options_.metrics, options_.limits) {}

  // Finds each partition's range, compares it with where it ended, and starts the writer.
  absl::Status Start() {
    ASSIGN_OR_RETURN(ends_,
                     PartitionEnds::Open(options_.path, store_->log_name(), store_->partitions()));
    for (const Topic topic : kAllTopics) {
      for (int32_t p = 0; p < CountOf(topic); ++p) {
        auto state = std::make_unique<PartitionState>(topic, PartitionId(p));
        ASSIGN_OR_RETURN(const OffsetRange range, store_->LoadRange(topic, PartitionId(p)));
        state->SetRange(range);
        RETURN_IF_ERROR(CheckEnd(topic, PartitionId(p), range.end));
        partitions_[static_cast<size_t>(topic)].push_back(std::move(state));
      }
    }
    queue_ =
        std::make_unique<CommitQueue>(*store_, *ends_, metrics_, options_.limits, *options_.clock);
    return absl::OkStatus();
  }

  int32_t CountOf(Topic topic) const { return topic == Topic::kNodes ? 1 : store_->partitions(); }

  // What was acknowledged must be there. After a kill more may be, whose record was not written.
  absl::Status CheckEnd(Topic topic, PartitionId partition, Offset end) {
    const Offset recorded = ends_->Recorded(topic, partition);
    if (options_.inspect || recorded == end) {
      return absl::OkStatus();
    }
    if (recorded > end) {
      return Error(StatusCode::kDataLoss, "log_truncated",
                   "{}-{} of the log {} ended at offset {} and ends at {} now: {} acknowledged "
                   "events are lost (a file was cut short, removed or put back); restore the log; "
                   "or, to go on with what it holds, run `sluice log new-epoch`, after which "
                   "stores are built anew and clients start afresh",
                   TopicName(topic), partition.value(), options_.path, recorded.value(),
                   end.value(), recorded.value() - end.value());
    }
    if (recorded != kNoOffset || end > Offset(0)) {
      ends_->Record(topic, partition, end);
    }
    return absl::OkStatus();
  }

  absl::StatusOr<PartitionState*> Find(Topic topic, PartitionId partition) const {
    if (partition.value() < 0 || partition.value() >= CountOf(topic)) {
      return Invalid("invalid_argument", "partition {} of topic {} does not exist: it has {}",
                     partition.value(), TopicName(topic), CountOf(topic));
    }
    return partitions_[static_cast<size_t>(topic)][static_cast<size_t>(partition.value())].get();
  }

  absl::Status Truncate(PartitionState& partition, Offset begin) {
    const absl::MutexLock lock(&partition.truncating());
    const OffsetRange range = partition.range();
    begin = std::min(begin, range.end);
    if (begin <= range.begin) {
      return absl::OkStatus();
    }
    absl::Status removed =
        store_->RemoveBefore(partition.topic(), partition.id(), range.begin, begin);
    if (!removed.ok()) {
      queue_->ReportFailure(removed);
      return removed;
    }
    partition.SetBegin(begin);
    return removed;
  }

  LogStore& store() { return *store_; }
  CommitQueue& queue() { return *queue_; }

 private:
  const EmbeddedLogOptions options_;
  const std::unique_ptr<LogStore> store_;
  std::unique_ptr<PartitionEnds> ends_;  // used by the queue's thread once that runs
  LogMetrics metrics_;
  // By topic, then by partition.
  std::vector<std::unique_ptr<PartitionState>> partitions_[std::size(kAllTopics)];
  std::unique_ptr<CommitQueue> queue_;  // last: its thread uses all the others
};

absl::StatusOr<std::unique_ptr<EmbeddedLog>> EmbeddedLog::Open(EmbeddedLogOptions options) {
  if (options.path.empty() || (options.partitions < 1 && !options.inspect)) {
    return Invalid("invalid_argument",
                   "a log needs a path and at least 1 partition, not \"{}\" and {}", options.path,
                   options.partitions);
  }
  ASSIGN_OR_RETURN(auto store, LogStore::Open(options.path, options.partitions, *options.clock,
                                              options.inspect ? LogStore::Use::kInspect
                                                              : LogStore::Use::kServe));
  auto impl = std::make_unique<Impl>(std::move(options), std::move(store));
  RETURN_IF_ERROR(impl->Start());
  return std::unique_ptr<EmbeddedLog>(new EmbeddedLog(std::move(impl)));
}

absl::StatusOr<EpochChange> EmbeddedLog::StartEpoch(const EmbeddedLogOptions& options) {
  ASSIGN_OR_RETURN(const auto store, LogStore::Open(options.path, options.partitions,
                                                    *options.clock, LogStore::Use::kInspect));
  for (int32_t p = 0; p < store->partitions(); ++p) {
    ASSIGN_OR_RETURN(const OffsetRange changes, store->LoadRange(Topic::kChanges, PartitionId(p)));
    if (changes.begin > Offset(0)) {
      return Error(StatusCode::kFailedPrecondition, "log_begins_late",
                   "changes-{} of the log {} begins at offset {}: its stores cannot be built anew, "
                   "as those of a new epoch would be; keep the stores",
                   p, options.path, changes.begin.value());
    }
  }
  EpochChange change{.id_before = store->log_id(), .id = ""};
  // The epoch first: were the process killed in between, the log would still be refused, and the
  // command is given again.
  RETURN_IF_ERROR(store->StartEpoch());
  ASSIGN_OR_RETURN(const auto ends,
                   PartitionEnds::Open(options.path, store->log_name(), store->partitions()));
  for (const Topic topic : kAllTopics) {
    for (int32_t p = 0; p < (topic == Topic::kNodes ? 1 : store->partitions()); ++p) {
      ASSIGN_OR_RETURN(const OffsetRange range, store->LoadRange(topic, PartitionId(p)));
      ends->Record(topic, PartitionId(p), range.end);
    }
  }
  change.id = store->log_id();
  return change;
}

EmbeddedLog::EmbeddedLog(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

EmbeddedLog::~EmbeddedLog() = default;

const std::string& EmbeddedLog::id() const { return impl_->store().log_id(); }

std::vector<std::string> EmbeddedLog::FormerIds() const { return impl_->store().former_ids(); }

int32_t EmbeddedLog::PartitionCount(Topic topic) const { return impl_->CountOf(topic); }

void EmbeddedLog::AppendAsync(Topic topic, PartitionId partition, std::vector<Event> batch,
                              AppendCallback done) {
  const auto state = impl_->Find(topic, partition);
  if (!state.ok()) {
    done(state.status());
    return;
  }
  impl_->queue().Append(**state, batch, std::move(done));
}

absl::StatusOr<std::unique_ptr<Reader>> EmbeddedLog::OpenReader(Topic topic, PartitionId partition,
                                                                Offset from) {
  ASSIGN_OR_RETURN(PartitionState * state, impl_->Find(topic, partition));
  return std::make_unique<PartitionReader>(impl_->store(), *state, from);
}

absl::StatusOr<OffsetRange> EmbeddedLog::Range(Topic topic, PartitionId partition) {
  ASSIGN_OR_RETURN(const PartitionState* state, impl_->Find(topic, partition));
  return state->range();
}

absl::Status EmbeddedLog::TruncateBefore(Topic topic, PartitionId partition, Offset begin) {
  ASSIGN_OR_RETURN(PartitionState * state, impl_->Find(topic, partition));
  return impl_->Truncate(*state, begin);
}

absl::Status EmbeddedLog::Health() { return impl_->queue().Health(); }

}  // namespace sluice::eventlog
