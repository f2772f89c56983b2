#include "eventlog/embedded/commit_queue.h"

#include <spdlog/spdlog.h>

#include <string_view>
#include <utility>

#include "absl/time/time.h"
#include "eventlog/embedded/event_codec.h"
#include "schemas/base/status.h"

namespace sluice::eventlog {
namespace {

// While nobody appends: how long until recorded ends are synced, and how often recovery from a
// failed write is tried.
constexpr absl::Duration kIdleInterval = absl::Seconds(1);
// What one sync takes at most, so that a long queue shows itself to readers in pieces.
constexpr size_t kGroupBytesMax = 16 << 20;

}  // namespace

CommitQueue::CommitQueue(LogStore& store, PartitionEnds& ends, LogMetrics& metrics,
                         const AppendLimits& limits, const Clock& clock)
    : store_(store),
      ends_(ends),
      metrics_(metrics),
      admission_(limits),
      clock_(clock),
      thread_([this] { Run(); }) {}

CommitQueue::~CommitQueue() {
  {
    const absl::MutexLock lock(&mu_);
    stopping_ = true;
    work_.Signal();
  }
  thread_.join();
}

void CommitQueue::Append(PartitionState& partition, const std::vector<Event>& batch,
                         Log::AppendCallback done) {
  if (batch.empty()) {
    done(std::vector<Offset>());
    return;
  }
  const absl::StatusOr<size_t> bytes = admission_.Admit(batch);
  if (!bytes.ok()) {
    metrics_.Failed(ErrorCode(bytes.status()));
    done(bytes.status());
    return;
  }
  metrics_.Queued(batch.size(), *bytes);
  Pending pending;
  pending.partition = &partition;
  pending.charge = *bytes;
  pending.since = clock_.SteadyNow();
  pending.done = std::move(done);
  pending.bytes.reserve(*bytes);
  pending.ends.reserve(batch.size());
  for (const Event& event : batch) {
    EncodeEvent(event, pending.bytes);
    pending.ends.push_back(static_cast<uint32_t>(pending.bytes.size()));
  }
  // Only now under the lock: events are encoded by whoever appends them, not while others wait. An
  // order is promised only for the calls of one thread, which come here one after the other.
  const absl::MutexLock lock(&mu_);
  queue_.push_back(std::move(pending));
  work_.Signal();
}

void CommitQueue::Run() {
  for (;;) {
    Group group = Take();
    if (!group.empty()) {
      Commit(group);
    } else if (Finished()) {
      return;
    } else {
      ends_.Sync();
      TryRecovery();
    }
  }
}

CommitQueue::Group CommitQueue::Take() {
  Group group;
  const absl::MutexLock lock(&mu_);
  while (queue_.empty() && !stopping_) {
    if (health_.ok() && !ends_.dirty()) {
      work_.Wait(&mu_);
    } else if (work_.WaitWithTimeout(&mu_, kIdleInterval)) {
      return group;
    }
  }
  for (size_t bytes = 0; !queue_.empty() && bytes < kGroupBytesMax; queue_.pop_front()) {
    bytes += queue_.front().charge;
    group.push_back(std::move(queue_.front()));
  }
  return group;
}

bool CommitQueue::Finished() const {
  const absl::MutexLock lock(&mu_);
  return stopping_ && queue_.empty();
}

void CommitQueue::Commit(Group& group) {
  std::map<PartitionState*, Offset> ends;
  const absl::Status written = Write(group, ends);
  SetHealth(written);
  if (written.ok()) {
    for (const auto& [partition, end] : ends) {
      // Synced, and not answered yet: nothing that anybody was told of lies beyond a recorded end,
      // and nothing that a kill may take lies before it. Readers see it before the answer goes out:
      // whoever is told that its event is there reads it at once.
      ends_.Record(partition->topic(), partition->id(), end);
      partition->SetEnd(end);
    }
  }
  Answer(group, written);
  ends_.SyncIfDue(clock_.SteadyNow());
}

absl::Status CommitQueue::Write(Group& group, std::map<PartitionState*, Offset>& ends) {
  const SteadyTime begin = clock_.SteadyNow();
  std::vector<LogStore::Entry> entries;
  for (Pending& pending : group) {
    PartitionState& partition = *pending.partition;
    // This thread alone moves ends, so the range's end stays right until the group is shown.
    Offset& end = ends.try_emplace(&partition, partition.range().end).first->second;
    pending.first = end;
    size_t from = 0;
    for (const size_t to : pending.ends) {
      entries.push_back({partition.topic(), partition.id(), end,
                         std::string_view(pending.bytes).substr(from, to - from)});
      from = to;
      end = Offset(end.value() + 1);
    }
  }
  // The second time with the same offsets: nobody has been told of them, and LogStore erases what
  // the first write may have left on disk in the batch of the next one.
  absl::Status written = store_.Write(entries);
  if (!written.ok() && store_.Recover().ok()) {
    written = store_.Write(entries);
  }
  if (written.ok()) {
    metrics_.Synced(entries.size(), group.size(), clock_.SteadyNow() - begin);
  }
  return written;
}

void CommitQueue::Answer(Group& group, const absl::Status& written) {
  for (Pending& pending : group) {
    const size_t count = pending.ends.size();
    metrics_.Answered(clock_.SteadyNow() - pending.since);
    if (written.ok()) {
      metrics_.Appended(count, pending.bytes.size());
      std::vector<Offset> offsets;
      offsets.reserve(count);
      for (size_t i = 0; i < count; ++i) {
        offsets.emplace_back(pending.first.value() + static_cast<int64_t>(i));
      }
      pending.done(std::move(offsets));
    } else {
      metrics_.Failed(ErrorCode(written));
      pending.done(written);
    }
    admission_.Release(count, pending.charge);
    metrics_.Unqueued(count, pending.charge);
  }
}

void CommitQueue::TryRecovery() {
  if (!Health().ok() && store_.Recover().ok()) {
    SetHealth(absl::OkStatus());
  }
}

absl::Status CommitQueue::Health() const {
  const absl::MutexLock lock(&mu_);
  return health_;
}

void CommitQueue::ReportFailure(const absl::Status& failure) {
  SetHealth(failure);
  const absl::MutexLock lock(&mu_);
  work_.Signal();
}

void CommitQueue::SetHealth(const absl::Status& health) {
  const absl::MutexLock lock(&mu_);
  if (health_.ok() && !health.ok()) {
    spdlog::error("log_write_failed code={} cause=\"{}\"", ErrorCode(health), Message(health));
  } else if (!health_.ok() && health.ok()) {
    spdlog::info("log_write_recovered");
  }
  health_ = health;
}

}  // namespace sluice::eventlog
