// Flushes and checkpoints: the durable half of StoreManagerImpl.
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "projectors/store/store_manager_impl.h"
#include "schemas/status.h"

namespace sluice::projectors {

using std::chrono::steady_clock;

absl::Status StoreManagerImpl::FlushStore(const StoreSet::SlotPtr& slot) {
  std::shared_ptr<RocksStore> store;
  {
    absl::MutexLock lock(&slot->mutex);
    store = slot->store;
  }
  if (store == nullptr) {
    return absl::OkStatus();  // closed meanwhile, so flushed
  }
  const auto start = steady_clock::now();
  // Not RocksStore::applied(), which the thread that folds it apart may be writing.
  const Offset applied(store->database()->applied());
  absl::Status status = store->Flush();
  if (!status.ok() && !absl::IsDataLoss(status)) {
    metrics_.CountError();
    spdlog::warn("store_flush_failed org={} error=\"{}\"", slot->org.value(), Message(status));
    status = store->Resume();
    status = status.ok() ? store->Flush() : status;
  }
  store.reset();
  if (ErrorCode(status) == "store_fatal") {
    return Recover(slot);
  }
  if (status.ok()) {
    slot->durable = applied.value();
    metrics_.ObserveFlush(steady_clock::now() - start);
  }
  return stores_.Explain(slot, status);
}

absl::StatusOr<uint64_t> StoreManagerImpl::FlushPartition(PartitionId partition) {
  std::vector<StoreSet::SlotPtr> dirty;
  std::vector<std::pair<StoreSet::SlotPtr, int64_t>> committed;  // before the flush
  uint64_t disk_bytes = 0;
  for (const StoreSet::SlotPtr& slot : stores_.All()) {
    if (slot->registration.partition == partition) {
      committed.emplace_back(slot, slot->committed);
    }
    if (!slot->open) {
      continue;
    }
    absl::MutexLock lock(&slot->mutex);
    if (slot->store == nullptr) {
      continue;
    }
    disk_bytes += slot->store->disk_bytes();
    if (slot->registration.partition == partition && slot->store->dirty()) {
      // All are started before the first is waited for: the threads flush several at once.
      (void)slot->store->Flush(/*wait=*/false);
      dirty.push_back(slot);
    }
  }
  for (const StoreSet::SlotPtr& slot : dirty) {
    const absl::Status flushed = FlushStore(slot);
    if (flushed.ok() || !options_.sets_apart || !absl::IsDataLoss(flushed)) {
      RETURN_IF_ERROR(flushed);
    } else if (!IsApart(partition, slot->org)) {
      SetApart(partition, slot->org, slot->registration.opened, flushed);
    }
  }
  for (const auto& [slot, before] : committed) {
    // Where it was opened anew, or closed as damaged. Of one that is apart, its own thread sees it.
    if (slot->durable < before && !IsApart(partition, slot->org)) {
      const absl::Status rewound = GoneBack(*slot, Offset(slot->durable));
      if (!options_.sets_apart) {
        return rewound;
      }
    }
  }
  return disk_bytes;
}

absl::Status StoreManagerImpl::PutCheckpoint(PartitionId partition,
                                             const PartitionCheckpoint& checkpoint,
                                             std::vector<ApartOrg> apart) {
  NodeStore::CheckpointParts parts;
  std::map<std::string, Offset>& flushed = parts.flushed;
  std::vector<StoreSet::SlotPtr> noted;
  // Who is apart may still have rejections to tell of from its own position on.
  Offset handled = checkpoint.next;
  for (const ApartOrg& org : apart) {
    handled = std::min(handled, org.next);
  }
  parts.apart = std::move(apart);
  for (StoreSet::SlotPtr& slot : stores_.All()) {
    if (slot->registration.partition == partition && slot->durable > slot->noted) {
      flushed.emplace(slot->org.value(), Offset(slot->durable));
      noted.push_back(std::move(slot));
    }
  }
  {
    absl::MutexLock lock(&mutex_);
    for (const auto& [offset, rejected] : partitions_[partition].rejected_of_closed) {
      if (offset < handled) {
        parts.handled.push_back(rejected);
      }
    }
  }
  RETURN_IF_ERROR(node_->PutCheckpoint(partition, checkpoint, parts));
  for (const StoreSet::SlotPtr& slot : noted) {
    slot->noted = flushed.at(slot->org.value()).value();
  }
  absl::MutexLock lock(&mutex_);
  Partition& state = partitions_[partition];
  state.checkpoint = checkpoint;
  state.rejected_of_closed.erase(state.rejected_of_closed.begin(),
                                 state.rejected_of_closed.lower_bound(handled));
  return absl::OkStatus();
}

absl::StatusOr<Offset> StoreManagerImpl::Checkpoint(PartitionId partition) {
  const auto start = steady_clock::now();
  PartitionCheckpoint checkpoint;
  {
    absl::MutexLock lock(&mutex_);
    const Partition& state = partitions_[partition];
    if (state.applied == kNoOffset || state.applied < state.checkpoint.next) {
      return state.checkpoint.next;
    }
    checkpoint = {Offset(state.applied.value() + 1), state.applied, state.event_hash,
                  state.control};
  }
  absl::MutexLock rebuild_lock(&RebuildMutex(partition));
  const std::vector<ApartSet::Entry> apart = apart_.Of(partition);
  ASSIGN_OR_RETURN(const uint64_t disk_bytes, FlushPartition(partition));
  RETURN_IF_ERROR(PutCheckpoint(partition, checkpoint, ApartAfterFlush(partition, apart)));
  stores_.Reap();
  metrics_.SetDiskBytes(static_cast<double>(disk_bytes));
  metrics_.ObserveCheckpoint(steady_clock::now() - start);
  stores_.UpdateMetrics();
  return checkpoint.next;
}

}  // namespace sluice::projectors
