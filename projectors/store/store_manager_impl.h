#pragma once

#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "projectors/store/node_store.h"
#include "projectors/store/store_manager.h"
#include "projectors/store/store_metrics.h"
#include "projectors/store/store_set.h"
#include "projectors/store/subscriptions.h"

namespace sluice::projectors {

// See StoreManager.
class StoreManagerImpl final : public StoreManager {
 public:
  StoreManagerImpl(StoreOptions options, std::shared_ptr<RocksEnv> env,
                   std::unique_ptr<NodeStore> node);
  ~StoreManagerImpl() override;

  // Takes over what the node store says; sends partitions back whose stores have gone.
  absl::Status Load();

  Offset CheckpointOf(PartitionId partition) override;
  AppliedState CheckpointState(PartitionId partition) override;
  absl::StatusOr<ApplyResult> Apply(PartitionId partition,
                                    std::span<const eventlog::StoredEvent> events,
                                    absl::FunctionRef<bool()> stopping) override;
  absl::StatusOr<Offset> Checkpoint(PartitionId partition) override;
  Offset Applied(PartitionId partition) override;

  absl::StatusOr<std::shared_ptr<const OrgSnapshot>> Snapshot(const OrgId& org) override;
  absl::StatusOr<std::optional<Offset>> FindChangeSet(const OrgId& org, std::string_view source,
                                                      std::string_view id) override;
  uint64_t Subscribe(const OrgId& org, AppliedCallback callback) override;
  void Unsubscribe(uint64_t subscription) override;
  Offset AppliedOf(const OrgId& org) override;
  absl::StatusOr<std::vector<OrgStat>> ListStores() override;
  absl::Status Verify(const OrgId& org) override;
  absl::StatusOr<std::string> Digest(const OrgId& org) override;
  absl::Status Close() override;

 private:
  using Events = std::span<const eventlog::StoredEvent>;
  struct Partition {
    PartitionCheckpoint checkpoint;
    // Last event handed to Apply whole.
    Offset applied = kNoOffset;
    uint64_t event_hash = 0;
    bool rewound = false;  // reading must start at the checkpoint again
    // Of organisations that are closed, and that no checkpoint has passed; by offset.
    std::multimap<Offset, Rejected> rejected_of_closed;
  };

  absl::Status ApplyGroups(PartitionId partition, Events events, absl::FunctionRef<bool()> stopping,
                           ApplyResult* result);
  absl::Status ApplyOrg(PartitionId partition, std::string_view org, Events events,
                        absl::FunctionRef<bool()> stopping, ApplyResult* result);
  // Each takes a prefix of `events` and returns its length; 0 where a part of the first is done.
  absl::StatusOr<size_t> ApplyToStore(const StoreSet::SlotPtr& slot, Events events,
                                      ApplyResult* result);
  absl::StatusOr<size_t> ApplyWithoutStore(PartitionId partition, const OrgId& org, Events events,
                                           ApplyResult* result);
  absl::Status CommitTo(const StoreSet::SlotPtr& slot, RocksStore& store, const FoldResult& fold,
                        Offset acknowledged);
  // `rejected`: those of the organisation that no checkpoint has passed.
  absl::Status CloseOrg(PartitionId partition, const OrgId& org, const ClosedMark& mark,
                        std::span<const Rejected> rejected);
  void RejectionsOfClosed(PartitionId partition, Events events, ApplyResult* result);
  absl::Status MakeStore(PartitionId partition, const OrgId& org, Offset opened,
                         const FoldResult& fold);
  absl::Status Recover(const StoreSet::SlotPtr& slot);
  // The store has less than was committed to it: its partition is read again. Returns that error.
  absl::Status GoneBack(StoreSet::Slot& slot, Offset applied);
  absl::Status RemoveOlder(const NodeStore::State& state);
  absl::Status RewindMissing(const std::vector<StoreSet::SlotPtr>& missing);
  absl::Status RewoundError(PartitionId partition);
  // Flushes what is dirty; returns the bytes on disk of the open stores of all partitions.
  absl::StatusOr<uint64_t> FlushPartition(PartitionId partition);
  absl::Status FlushStore(const StoreSet::SlotPtr& slot);
  absl::Status PutCheckpoint(PartitionId partition, const PartitionCheckpoint& checkpoint);
  void RemoveLeftovers(const NodeStore::State& state);
  Offset ClosedUntil(const OrgId& org);
  std::shared_ptr<const OrgModel> ModelWithoutStore(const OrgId& org);
  PartitionCheckpoint LastCheckpoint(PartitionId partition);
  absl::StatusOr<std::shared_ptr<const RocksSnapshot>> Published(const OrgId& org);

  const StoreOptions options_;
  const std::shared_ptr<RocksEnv> env_;
  StoreMetrics metrics_;
  std::unique_ptr<NodeStore> node_;
  StoreSet stores_;
  Subscriptions subscriptions_;
  absl::Mutex mutex_;
  std::map<PartitionId, Partition> partitions_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, ClosedMark> closed_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace sluice::projectors
