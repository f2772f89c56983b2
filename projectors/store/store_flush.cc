// Flushes and checkpoints: the durable half of StoreManagerImpl.
#include <fmt/format.h>
#include <spdlog/spdlog.h>

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
  const Offset applied = store->applied().position;
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
  uint64_t disk_bytes = 0;
  const std::vector<StoreSet::SlotPtr> slots = stores_.All();
  for (const StoreSet::SlotPtr& slot : slots) {
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
    RETURN_IF_ERROR(FlushStore(slot));
  }
  for (const StoreSet::SlotPtr& slot : slots) {
    if (slot->registration.partition == partition && slot->durable < slot->committed) {
      return GoneBack(*slot, Offset(slot->durable));  // it was opened anew, or closed as damaged
    }
  }
  return disk_bytes;
}

absl::Status StoreManagerImpl::PutCheckpoint(PartitionId partition,
                                             const PartitionCheckpoint& checkpoint) {
  std::map<std::string, Offset> flushed;
  std::vector<StoreSet::SlotPtr> noted;
  for (StoreSet::SlotPtr& slot : stores_.All()) {
    if (slot->registration.partition == partition && slot->durable > slot->noted) {
      flushed.emplace(slot->org.value(), Offset(slot->durable));
      noted.push_back(std::move(slot));
    }
  }
  std::vector<Rejected> handled;
  {
    absl::MutexLock lock(&mutex_);
    for (const auto& [offset, rejected] : partitions_[partition].rejected_of_closed) {
      if (offset < checkpoint.next) {
        handled.push_back(rejected);
      }
    }
  }
  RETURN_IF_ERROR(node_->PutCheckpoint(partition, checkpoint, flushed, handled));
  for (const StoreSet::SlotPtr& slot : noted) {
    slot->noted = flushed.at(slot->org.value()).value();
  }
  absl::MutexLock lock(&mutex_);
  Partition& state = partitions_[partition];
  state.checkpoint = checkpoint;
  state.rejected_of_closed.erase(state.rejected_of_closed.begin(),
                                 state.rejected_of_closed.lower_bound(checkpoint.next));
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
    checkpoint = {Offset(state.applied.value() + 1), state.applied, state.event_hash};
  }
  ASSIGN_OR_RETURN(const uint64_t disk_bytes, FlushPartition(partition));
  RETURN_IF_ERROR(PutCheckpoint(partition, checkpoint));
  stores_.Reap();
  metrics_.SetDiskBytes(static_cast<double>(disk_bytes));
  metrics_.ObserveCheckpoint(steady_clock::now() - start);
  stores_.UpdateMetrics();
  return checkpoint.next;
}

}  // namespace sluice::projectors
