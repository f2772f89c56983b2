// What StoreManagerImpl remembers of each partition's progress, to be compared with the log.
#include <algorithm>
#include <utility>

#include "projectors/store/store_manager_impl.h"
#include "schemas/base/status.h"

namespace sluice::projectors {
namespace {

// Places of checkpoints that pass no rejection.
constexpr size_t kBeforeRejectionsMax = 256;
// Rejections that no store keeps. No more letters wait to be written than half of that and what a
// batch makes, and the oldest are written first.
constexpr size_t kWithoutStoreMax = 20'000;

AppliedState StateOf(Offset position, uint64_t event_hash) {
  AppliedState state;
  state.position = position;
  state.event_hash = event_hash;
  return state;
}
AppliedState StateOf(const NotedEvent& event) { return StateOf(event.offset, event.event_hash); }

}  // namespace

void StoreManagerImpl::NoteApplied(PartitionId partition, Events events, ApplyResult* result) {
  absl::MutexLock lock(&mutex_);
  Partition& state = partitions_[partition];
  for (const Rejected& told : result->rejected) {
    state.untold.erase({told.offset, told.op_index});
  }
  for (auto& [place, rejected] : std::exchange(state.untold, {})) {
    if (place.first >= events.front().offset && place.first <= events.back().offset) {
      result->rejected.push_back(std::move(rejected));
    }
  }
  std::ranges::stable_sort(result->rejected, {}, &Rejected::offset);
  if (!result->rejected.empty() && state.applied != kNoOffset &&
      state.applied < events.front().offset) {
    auto& before = state.before_rejections;
    before.push_back(
        {Offset(state.applied.value() + 1), state.applied, state.event_hash, state.control});
    if (before.size() > kBeforeRejectionsMax) {
      // Every other one: a checkpoint that must stay back stays back a batch more.
      size_t index = 0;
      std::erase_if(before, [&](const PartitionCheckpoint&) { return index++ % 2 == 1; });
    }
  }
  if (events.back().offset > state.applied) {
    state.applied = events.back().offset;
    state.event_hash = eventlog::EventHash(events.back().event);
    state.since_compared.emplace_back(state.applied, state.event_hash);
    if (state.since_compared.size() > kSinceComparedMax) {
      state.since_compared.pop_front();
    }
  }
  for (const eventlog::StoredEvent& event : events) {
    if (event.event.answers > state.control.answers) {
      state.control = {event.offset, event.event.answers, event.event.id};
    }
  }
}

std::vector<Rejected> StoreManagerImpl::RejectedWithoutStore(PartitionId partition,
                                                             const OrgId& org, Offset end) {
  std::vector<Rejected> rejected;
  absl::MutexLock lock(&mutex_);
  for (const auto& [place, of] : partitions_[partition].rejected_without_store) {
    if (place.first < end && of.first == org) {
      rejected.push_back(of.second);
    }
  }
  return rejected;
}

void StoreManagerImpl::NoteRejectedWithoutStore(PartitionId partition, const OrgId& org,
                                                std::span<const Rejected> rejected) {
  absl::MutexLock lock(&mutex_);
  auto& noted = partitions_[partition].rejected_without_store;
  for (const Rejected& one : rejected) {
    noted.insert_or_assign({one.offset, one.op_index}, std::pair(org, one));
    if (noted.size() > kWithoutStoreMax) {
      noted.erase(noted.begin());
    }
  }
}

AppliedState StoreManagerImpl::LastApplied(PartitionId partition) {
  absl::MutexLock lock(&mutex_);
  return StateOf(partitions_[partition].applied, partitions_[partition].event_hash);
}

std::vector<std::pair<Offset, uint64_t>> StoreManagerImpl::AppliedSinceCompared(
    PartitionId partition) {
  absl::MutexLock lock(&mutex_);
  const auto& since = partitions_[partition].since_compared;
  return {since.begin(), since.end()};
}

void StoreManagerImpl::NoteCompared(PartitionId partition, Offset last) {
  absl::MutexLock lock(&mutex_);
  std::erase_if(partitions_[partition].since_compared,
                [&](const std::pair<Offset, uint64_t>& one) { return one.first < last; });
}

ControlMark StoreManagerImpl::LastControl(PartitionId partition) {
  absl::MutexLock lock(&mutex_);
  return partitions_[partition].control;
}

AppliedState StoreManagerImpl::CheckpointState(PartitionId partition) {
  const PartitionCheckpoint checkpoint = LastCheckpoint(partition);
  return StateOf(checkpoint.applied, checkpoint.event_hash);
}

Offset StoreManagerImpl::Applied(PartitionId partition) {
  absl::MutexLock lock(&mutex_);
  return partitions_[partition].applied;
}

NotedEvent StoreManagerImpl::Newer(PartitionId partition, Offset offset, uint64_t event_hash) {
  absl::MutexLock lock(&mutex_);
  return offset > partitions_[partition].noted.offset ? NotedEvent{offset, event_hash}
                                                      : partitions_[partition].noted;
}

void StoreManagerImpl::Note(PartitionId partition, const NotedEvent& noted) {
  absl::MutexLock lock(&mutex_);
  NotedEvent& current = partitions_[partition].noted;
  current = noted.offset > current.offset ? noted : current;
}

AppliedState StoreManagerImpl::LastNoted(PartitionId partition) {
  absl::MutexLock lock(&mutex_);
  return StateOf(partitions_[partition].noted);
}

absl::Status StoreManagerImpl::NoteLost(PartitionId partition, Offset offset, uint64_t event_hash) {
  RETURN_IF_ERROR(node_->PutLost(partition, {offset, event_hash}));
  absl::MutexLock lock(&mutex_);
  partitions_[partition].lost = {offset, event_hash};
  return absl::OkStatus();
}

AppliedState StoreManagerImpl::LastLost(PartitionId partition) {
  absl::MutexLock lock(&mutex_);
  return StateOf(partitions_[partition].lost);
}

}  // namespace sluice::projectors
