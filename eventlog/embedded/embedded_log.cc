#include "eventlog/embedded/embedded_log.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "eventlog/embedded/commit_queue.h"
#include "eventlog/embedded/event_codec.h"
#include "eventlog/embedded/log_metrics.h"
#include "eventlog/embedded/log_store.h"
#include "eventlog/embedded/partition_reader.h"
#include "eventlog/embedded/partition_state.h"
#include "schemas/status.h"

namespace sluice::eventlog {

class EmbeddedLog::Impl {
 public:
  Impl(EmbeddedLogOptions options, std::unique_ptr<LogStore> store)
      : options_(std::move(options)),
        store_(std::move(store)),
        metrics_(options_.metrics, options_.limits) {}

  // Finds each partition's range and starts the writer.
  absl::Status Start() {
    for (const Topic topic : kAllTopics) {
      for (int32_t p = 0; p < CountOf(topic); ++p) {
        auto state = std::make_unique<PartitionState>(topic, PartitionId(p));
        ASSIGN_OR_RETURN(const OffsetRange range, store_->LoadRange(topic, PartitionId(p)));
        state->SetRange(range);
        partitions_[static_cast<size_t>(topic)].push_back(std::move(state));
      }
    }
    queue_ = std::make_unique<CommitQueue>(*store_, metrics_, options_.limits, *options_.clock);
    return absl::OkStatus();
  }

  int32_t CountOf(Topic topic) const { return topic == Topic::kNodes ? 1 : options_.partitions; }

  absl::StatusOr<PartitionState*> Find(Topic topic, PartitionId partition) const {
    if (partition.value() < 0 || partition.value() >= CountOf(topic)) {
      return Error(absl::StatusCode::kInvalidArgument, "invalid_argument",
                   fmt::format("partition {} of topic {} does not exist: it has {}",
                               partition.value(), TopicName(topic), CountOf(topic)));
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
  LogMetrics metrics_;
  // By topic, then by partition.
  std::vector<std::unique_ptr<PartitionState>> partitions_[std::size(kAllTopics)];
  std::unique_ptr<CommitQueue> queue_;  // last: its thread uses all the others
};

absl::StatusOr<std::unique_ptr<EmbeddedLog>> EmbeddedLog::Open(EmbeddedLogOptions options) {
  if (options.path.empty() || options.partitions < 1) {
    return Error(absl::StatusCode::kInvalidArgument, "invalid_argument",
                 fmt::format("a log needs a path and at least 1 partition, not \"{}\" and {}",
                             options.path, options.partitions));
  }
  ASSIGN_OR_RETURN(auto store, LogStore::Open(options.path, options.partitions, *options.clock));
  auto impl = std::make_unique<Impl>(std::move(options), std::move(store));
  RETURN_IF_ERROR(impl->Start());
  return std::unique_ptr<EmbeddedLog>(new EmbeddedLog(std::move(impl)));
}

EmbeddedLog::EmbeddedLog(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

EmbeddedLog::~EmbeddedLog() = default;

const std::string& EmbeddedLog::id() const { return impl_->store().log_id(); }

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
