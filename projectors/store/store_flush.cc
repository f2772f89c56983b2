// Flushes and checkpoints: the durable half of StoreManagerImpl.
#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "projectors/store/pending_checkpoint.h"
#include "projectors/store/store_manager_impl.h"
#include "schemas/base/collect.h"
#include "schemas/base/status.h"

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
  // Before the flush, which need not take along what is committed while it runs. Not
  // RocksStore::applied(), which the thread that folds it may be writing.
  const Offset applied(store->database()->applied());
  absl::Status status = store->Flush();
  if (!status.ok() && !absl::IsDataLoss(status)) {
    metrics_.CountError();
    spdlog::warn("store_flush_failed org={} error=\"{}\"", slot->org.value(), Message(status));
    status = store->Resume();
    status = status.ok() ? store->Flush() : status;
  }
  if (status.ok()) {
    // While `store` is held nobody opens it anew, with less.
    slot->durable = applied.value();
    metrics_.ObserveFlush(steady_clock::now() - start);
  }
  store.reset();
  if (ErrorCode(status) == "store_fatal") {
    return Recover(slot);
  }
  return stores_.Explain(slot, status);
}

StoreManagerImpl::Pending::~Pending() { manager_.SetCheckpointing(partition, false); }

void StoreManagerImpl::Pending::Flush() {
  flushed = Collect(dirty, [&](const auto& slot) { return manager_.FlushStore(slot); });
}

void StoreManagerImpl::SetCheckpointing(PartitionId partition, bool under_way) {
  absl::MutexLock rebuild_lock(&RebuildMutex(partition));
  absl::MutexLock lock(&mutex_);
  partitions_[partition].checkpointing = under_way;
}

void StoreManagerImpl::CollectDirty(Pending* pending) {
  for (const StoreSet::SlotPtr& slot : stores_.All()) {
    const bool of_partition = slot->registration.partition == pending->partition;
    if (of_partition) {
      // What it had on disk counts, too: a folder with less may have come in its place by the end.
      pending->committed.emplace_back(slot, std::max(slot->committed.load(), slot->noted.load()));
    }
    if (!slot->open) {
      continue;
    }
    absl::MutexLock lock(&slot->mutex);
    if (slot->store == nullptr) {
      continue;
    }
    pending->disk_bytes += slot->store->disk_bytes();
    if (of_partition && slot->store->dirty() && !slot->flush_failed) {
      // All are started before the first is waited for: the threads flush several at once.
      (void)slot->store->Flush(/*wait=*/false);
      pending->dirty.push_back(slot);
    }
  }
}

std::unique_ptr<PendingCheckpoint> StoreManagerImpl::BeginCheckpoint(PartitionId partition,
                                                                     Offset untold) {
  PartitionCheckpoint checkpoint;
  {
    absl::MutexLock lock(&mutex_);
    const Partition& state = partitions_[partition];
    if (state.applied == kNoOffset || state.applied < state.checkpoint.next) {
      return nullptr;
    }
    checkpoint = {Offset(state.applied.value() + 1), state.applied, state.event_hash,
                  state.control};
    if (untold != kNoOffset) {
      // Whoever reads on from there after a crash comes by the event, and its store tells of the
      // rejection again.
      checkpoint = state.checkpoint;
      for (const PartitionCheckpoint& before : state.before_rejections) {
        checkpoint = before.next <= untold ? before : checkpoint;
      }
    }
  }
  // A rebuild that has begun is in `apart` from here on, and none begins until the end.
  SetCheckpointing(partition, true);
  auto pending = std::make_unique<Pending>(*this, partition, checkpoint);
  pending->apart = apart_.Of(partition);
  CollectDirty(pending.get());
  return pending;
}

absl::Status StoreManagerImpl::NoteFlushFailure(const StoreSet::SlotPtr& slot,
                                                const absl::Status& why) {
  const PartitionId partition = slot->registration.partition;
  if (!options_.sets_apart || (!absl::IsDataLoss(why) && !IsTroubleOfStore(why))) {
    return why;
  }
  if (absl::IsDataLoss(why)) {
    if (!IsApart(partition, slot->org)) {
      SetApart(partition, slot->org, slot->registration.opened, why);
    }
    return absl::OkStatus();
  }
  // Not beyond the last checkpoint, which is all that is known to be in the dead letters of what
  // was rejected: this is remembered now, whatever becomes of the checkpoint, and after a crash the
  // main thread passes over all of the organisation's events.
  const Offset next = std::min(slot->NextOnDisk(), LastCheckpoint(partition).next);
  if (!IsApart(partition, slot->org)) {
    // Where the node store cannot be written to either, it is the disk's trouble, and not one
    // store's.
    RETURN_IF_ERROR(node_->PutApart(partition, {slot->org, next, ErrorCode(why), true}));
  }
  // In this order: who is given back is not waiting for a flush, or is set apart again right now.
  slot->flush_failed = true;
  if (!IsApart(partition, slot->org)) {
    SetApart(partition, slot->org, next, why);
  }
  return absl::OkStatus();
}

absl::Status StoreManagerImpl::TakeFlushed(Pending* pending) {
  const PartitionId partition = pending->partition;
  for (size_t i = 0; i < pending->dirty.size(); ++i) {
    const StoreSet::SlotPtr& slot = pending->dirty[i];
    if (const absl::Status& flushed = pending->flushed.at(i);
        !flushed.ok() && stores_.Find(slot->org) == slot) {
      RETURN_IF_ERROR(NoteFlushFailure(slot, flushed));
      pending->behind.insert(slot);
    }
  }
  for (const auto& [slot, before] : pending->committed) {
    if (slot->flush_failed) {
      pending->behind.insert(slot);
      if (!IsApart(partition, slot->org) && stores_.Find(slot->org) == slot) {
        SetApart(
            partition, slot->org, slot->NextOnDisk(),
            Error(StatusCode::kInternal, "store_io_error", "what it holds is not on disk yet"));
      }
    }
    if (slot->durable >= before) {
      continue;
    }
    pending->behind.insert(slot);
    // Where it was opened anew, or closed as damaged. Of one that is apart, its own thread sees it.
    if (!IsApart(partition, slot->org)) {
      const absl::Status rewound = GoneBack(slot);
      if (!options_.sets_apart) {
        return rewound;
      }
    }
  }
  return absl::OkStatus();
}

// A checkpoint says: of each store of the partition everything below it is on disk, or, where the
// organisation is among `apart`, everything below its position there.
std::vector<ApartOrg> StoreManagerImpl::ApartAfterFlush(const Pending& pending) {
  std::map<std::string, ApartOrg> apart;
  const auto note = [&](const ApartOrg& org) {
    const auto [found, added] = apart.try_emplace(org.org.value(), org);
    found->second.next = std::min(found->second.next, org.next);
  };
  for (const ApartSet::Entry& entry : apart_.Of(pending.partition)) {
    // Not beyond the checkpoint. Of whoever was set apart since, what its store held at the begin
    // was flushed; what came later need not be. And what the main thread has rejected from there on
    // need not be in the dead letters.
    ApartOrg at_begin = entry.state;
    at_begin.next = std::min(entry.state.next, pending.checkpoint.next);
    note(at_begin);
  }
  for (const ApartSet::Entry& before : pending.apart) {
    // What was applied since the flush began need not be on disk, also where it was given back. An
    // organisation that has no store now was closed, which is remembered, or has none to lack.
    if (apart.contains(before.state.org.value()) || stores_.Find(before.state.org) != nullptr) {
      note(before.state);
    }
  }
  for (const auto& [org, state] : apart) {
    if (const StoreSet::SlotPtr slot = stores_.Find(state.org);
        slot != nullptr && slot->durable < slot->committed) {
      ApartOrg on_disk = state;
      on_disk.next = slot->NextOnDisk();
      note(on_disk);
    }
  }
  for (const StoreSet::SlotPtr& slot : pending.behind) {
    if (stores_.Find(slot->org) == slot) {
      note({slot->org, slot->NextOnDisk(), "store_io_error", true});
    }
  }
  return Collect(apart, [](auto& entry) { return std::move(entry.second); });
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
    // What came after the position has not been compared with the log, and maybe nothing of the
    // store has: one that has more is compared when it is opened again.
    const int64_t vouched = std::min<int64_t>(slot->durable, checkpoint.applied.value());
    if (slot->registration.partition == partition && slot->checked && vouched > slot->noted) {
      flushed.emplace(slot->org.value(), Offset(vouched));
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
  RETURN_IF_ERROR(NoteRewind(partition));
  RETURN_IF_ERROR(node_->PutCheckpoint(partition, checkpoint, parts));
  for (const StoreSet::SlotPtr& slot : noted) {
    slot->noted = flushed.at(slot->org.value()).value();
  }
  absl::MutexLock lock(&mutex_);
  Partition& state = partitions_[partition];
  state.checkpoint = checkpoint;
  std::erase_if(state.before_rejections,
                [&](const PartitionCheckpoint& before) { return before.next < checkpoint.next; });
  state.rejected_of_closed.erase(state.rejected_of_closed.begin(),
                                 state.rejected_of_closed.lower_bound(handled));
  state.rejected_without_store.erase(state.rejected_without_store.begin(),
                                     state.rejected_without_store.lower_bound({handled, 0}));
  return absl::OkStatus();
}

absl::StatusOr<Offset> StoreManagerImpl::EndCheckpoint(
    std::unique_ptr<PendingCheckpoint> pending_checkpoint) {
  auto& pending = static_cast<Pending&>(*pending_checkpoint);
  const PartitionId partition = pending.partition;
  bool rewound = false;
  {
    absl::MutexLock lock(&mutex_);
    rewound = partitions_[partition].rewound;
  }
  if (rewound) {
    return RewoundError(partition);  // what is read anew is behind the position of the begin
  }
  // Last of all the claim: whoever it speaks for is on disk by now, or named with it as apart. A
  // crash before it costs reading from the last checkpoint again, one after it nothing.
  RETURN_IF_ERROR(TakeFlushed(&pending));
  RETURN_IF_ERROR(PutCheckpoint(partition, pending.checkpoint, ApartAfterFlush(pending)));
  stores_.Reap();
  metrics_.SetDiskBytes(static_cast<double>(pending.disk_bytes));
  metrics_.ObserveCheckpoint(steady_clock::now() - pending.began);
  stores_.UpdateMetrics();
  return pending.checkpoint.next;
}

}  // namespace sluice::projectors
