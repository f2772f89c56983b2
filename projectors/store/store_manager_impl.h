#pragma once

#include <array>
#include <atomic>
#include <deque>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "projectors/store/apart_set.h"
#include "projectors/store/history_comparer.h"
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
  // `checkpointed`: when an earlier process last wrote to the node store.
  void Remember(const NodeStore::State& state) ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Status Load(std::filesystem::file_time_type checkpointed = {});

  Offset CheckpointOf(PartitionId partition) override;
  AppliedState CheckpointState(PartitionId partition) override;
  AppliedState LastApplied(PartitionId partition) override;
  ControlMark LastControl(PartitionId partition) override;
  std::vector<std::pair<Offset, uint64_t>> AppliedSinceCompared(PartitionId partition) override;
  void NoteCompared(PartitionId partition, Offset last) override;
  void DoubtStoresAhead(PartitionId partition) override;
  AppliedState LastNoted(PartitionId partition) override;
  absl::Status NoteLost(PartitionId partition, Offset offset, uint64_t event_hash) override;
  AppliedState LastLost(PartitionId partition) override;
  absl::StatusOr<ApplyResult> Apply(PartitionId partition,
                                    std::span<const eventlog::StoredEvent> events,
                                    absl::FunctionRef<bool()> stopping) override;
  std::unique_ptr<PendingCheckpoint> BeginCheckpoint(PartitionId partition, Offset untold) override;
  absl::StatusOr<Offset> EndCheckpoint(std::unique_ptr<PendingCheckpoint> pending) override;
  void NoteNear(PartitionId partition, std::optional<SteadyTime> near) override {
    apart_.NoteNear(partition, near);
  }
  absl::Status LookForTrouble(PartitionId partition) override;
  Offset Applied(PartitionId partition) override;
  std::vector<ApartOrg> ApartOf(PartitionId partition) override;
  std::optional<ApartOrg> ApartStateOf(PartitionId partition, const OrgId& org) override;
  Offset ApartFrom(PartitionId partition, const ApartOrg& apart, Offset begin) override;
  absl::Status CheckApart(PartitionId partition, const ApartOrg& apart,
                          absl::FunctionRef<bool()> stopping) override;
  absl::StatusOr<size_t> ApplyApart(PartitionId partition, const ApartOrg& apart,
                                    std::span<const eventlog::StoredEvent> events,
                                    ApplyResult* result) override;
  absl::StatusOr<bool> AdvanceApart(PartitionId partition, const ApartOrg& apart,
                                    Offset next) override;

  absl::StatusOr<std::shared_ptr<const OrgSnapshot>> Snapshot(const OrgId& org) override;
  absl::StatusOr<std::optional<Offset>> FindChangeSet(const OrgId& org, std::string_view source,
                                                      std::string_view id) override;
  uint64_t Subscribe(const OrgId& org, AppliedCallback callback) override;
  void Unsubscribe(uint64_t subscription) override;
  Offset AppliedUntil(PartitionId partition, const OrgId& org) override;
  Offset AppliedOf(const OrgId& org) override;
  Offset KnownAppliedOf(const OrgId& org) override;
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
    ControlMark control;                                     // of all events up to `applied`
    std::deque<std::pair<Offset, uint64_t>> since_compared;  // as AppliedSinceCompared()
    // Where checkpoints may be that do not pass a rejection: what was applied before each batch
    // with some, or before some of these; ascending, none below `checkpoint`.
    std::deque<PartitionCheckpoint> before_rejections;
    // Of an Apply() that has failed: the next one tells them. By offset and operation.
    std::map<std::pair<Offset, uint32_t>, Rejected> untold;
    bool stores_ahead = true;  // some may have applied more than `applied`
    NotedEvent noted;          // as the node store has it
    NotedEvent lost;           // likewise
    bool rewound = false;      // reading must start at the checkpoint again
    uint64_t reading = 1;      // how often it has been read from the checkpoint on
    // Whose stores had gone, so that the checkpoint went back; the node store has yet to know.
    std::map<std::string, PartitionId> gone = {};
    // Of organisations that are closed, and that no checkpoint has passed; by offset.
    std::multimap<Offset, Rejected> rejected_of_closed;
    // What was refused while its organisation had no store, and that no checkpoint has passed, by
    // offset and operation: the next store of the organisation keeps it, for whoever skips its
    // event then. The newest kWithoutStoreMax (store_progress.cc).
    std::map<std::pair<Offset, uint32_t>, std::pair<OrgId, Rejected>> rejected_without_store = {};
    // A store of the partition was found to be of another history than the log's.
    absl::Status other_history = {};
    bool checkpointing = false;  // no rebuild begins
  };
  class Pending;  // store_flush.cc

  // What one organisation's events are folded with.
  struct Turn {
    const FoldOptions& fold;
    Offset acknowledged;  // rejections of events below it are in the dead letters
    ApplyResult* result;
    uint64_t reading;  // Partition::reading
  };
  absl::Status ApplyGroups(PartitionId partition, Events events, absl::FunctionRef<bool()> stopping,
                           ApplyResult* result);
  absl::Status ApplyOrg(PartitionId partition, std::string_view org, Events events,
                        absl::FunctionRef<bool()> stopping, const Turn& turn);
  // Each takes a prefix of `events` and returns its length; 0 where a part of the first is done.
  absl::StatusOr<size_t> ApplyOne(PartitionId partition, const OrgId& org, Events events,
                                  const Turn& turn);
  absl::StatusOr<size_t> ApplyToStore(const StoreSet::SlotPtr& slot, Events events,
                                      const Turn& turn);
  absl::StatusOr<size_t> ApplyWithoutStore(PartitionId partition, const OrgId& org, Events events,
                                           const Turn& turn);

  // Errors of one store's files that may pass.
  static bool IsTroubleOfStore(const absl::Status& status);

  // Who is apart (store_apart.cc). `next`: the first event that its store lacks.
  void SetApart(PartitionId partition, const OrgId& org, Offset next, const absl::Status& why);
  void PutApart(PartitionId partition, ApartSet::Entry entry);
  bool FailsForGood(const ApartSet::Entry& entry) const;
  // Moves what is left of the store away and has the node store remember from where it is made
  // anew.
  absl::Status BeginRebuild(PartitionId partition, const ApartSet::Entry& entry);
  // Is `org` apart, and not to be shown? `slot`: its store, or nullptr.
  bool Hidden(const OrgId& org, const StoreSet::SlotPtr& slot);
  absl::Status CheckHistory(const StoreSet::Slot& slot, const AppliedState& applied);
  // On a thread of comparer_.
  absl::Status CompareStore(const StoreSet::SlotPtr& slot);
  absl::Status CompareAhead(const StoreSet::SlotPtr& slot, const AppliedState& applied,
                            Events events);
  absl::Mutex& RebuildMutex(PartitionId partition) {
    return rebuild_mutexes_[static_cast<size_t>(partition.value()) % rebuild_mutexes_.size()];
  }
  // `events` have been applied, with this result: adds what an earlier Apply() of them left untold.
  void NoteApplied(PartitionId partition, Events events, ApplyResult* result);
  // What of those who are apart a checkpoint may remember.
  std::vector<ApartOrg> ApartAfterFlush(const Pending& pending);
  bool IsApart(PartitionId partition, const OrgId& org) const {
    return options_.sets_apart && apart_.Find(partition, org.value()).has_value();
  }
  absl::Status CommitTo(const StoreSet::SlotPtr& slot, RocksStore& store, const FoldResult& fold,
                        std::span<const Rejected> rejected, Offset acknowledged);
  // `rejected`: those of the organisation that no checkpoint has passed.
  absl::Status CloseOrg(PartitionId partition, const OrgId& org, const ClosedMark& mark,
                        uint64_t event_hash, std::span<const Rejected> rejected);
  void RejectionsOfClosed(PartitionId partition, Events events, ApplyResult* result);
  // `rejected`: likewise.
  absl::Status MakeStore(PartitionId partition, const OrgId& org,
                         const eventlog::StoredEvent& opened, const FoldResult& fold,
                         std::span<const Rejected> rejected);
  // Of the organisation's events before `end`; and of those that were folded just now.
  std::vector<Rejected> RejectedWithoutStore(PartitionId partition, const OrgId& org, Offset end);
  void NoteRejectedWithoutStore(PartitionId partition, const OrgId& org,
                                std::span<const Rejected> rejected);
  // The newer of this event and the one that is noted.
  NotedEvent Newer(PartitionId partition, Offset offset, uint64_t event_hash);
  void Note(PartitionId partition, const NotedEvent& noted);
  absl::Status Recover(const StoreSet::SlotPtr& slot);
  // The store has less than it was known to have: its organisation is set apart, or its partition
  // read again. Returns that error.
  absl::Status GoneBack(const StoreSet::SlotPtr& slot);
  // What is said of such a store where nobody can be set apart.
  static absl::Status BehindCheckpoint(StoreSet::Slot& slot);
  // A reader could not open the store: LookForTrouble() looks after it.
  void NoteTrouble(StoreSet::Slot& slot, const absl::Status& why);
  absl::Status Missing(const StoreSet::SlotPtr& slot);
  absl::Status RemoveFormer();
  void LookForDamage(PartitionId partition);
  void LookAhead(PartitionId partition);
  // Its history is compared again.
  void Doubt(const StoreSet::SlotPtr& slot);
  void NoteAhead(const StoreSet::SlotPtr& slot) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status RemoveOlder(const NodeStore::State& state);
  void RewindMissing(const std::vector<StoreSet::SlotPtr>& missing);
  // Has the node store know what RewindMissing() did. Until then the folders may be put back.
  absl::Status NoteRewind(PartitionId partition);
  absl::Status RewoundError(PartitionId partition);
  // Each step of a checkpoint.
  void CollectDirty(Pending* pending);
  absl::Status TakeFlushed(Pending* pending);
  void SetCheckpointing(PartitionId partition, bool under_way);
  // Sets apart, or leaves so, whose flush has failed with `why`; an error is everybody's.
  absl::Status NoteFlushFailure(const StoreSet::SlotPtr& slot, const absl::Status& why);
  absl::Status FlushStore(const StoreSet::SlotPtr& slot);
  // Flushes what NoteFlushFailure() has put off.
  absl::Status FlushApart(const StoreSet::SlotPtr& slot, const ApartOrg& apart);
  // Tries whether the store of one that is apart for "store_io_error" can be opened again.
  absl::Status OpenApart(const StoreSet::SlotPtr& slot, const ApartOrg& apart);
  absl::Status PutCheckpoint(PartitionId partition, const PartitionCheckpoint& checkpoint,
                             std::vector<ApartOrg> apart);
  void RemoveLeftovers(const NodeStore::State& state);
  uint64_t ReadingOf(PartitionId partition);
  Offset ClosedUntil(const OrgId& org);
  std::shared_ptr<const OrgModel> ModelWithoutStore(const OrgId& org);
  PartitionCheckpoint LastCheckpoint(PartitionId partition);
  absl::StatusOr<std::shared_ptr<const RocksSnapshot>> Published(const OrgId& org);
  absl::StatusOr<std::shared_ptr<const RocksSnapshot>> PublishedOf(const StoreSet::SlotPtr& slot);

  const StoreOptions options_;
  const FoldOptions turn_;         // of Apply(): a step is small where the rest can be done apart
  const FoldOptions shared_step_;  // of ApplyApart(), where several are: as small
  const std::shared_ptr<RocksEnv> env_;
  StoreMetrics metrics_;
  std::unique_ptr<NodeStore> node_;
  StoreSet stores_;
  Subscriptions subscriptions_;
  ApartSet apart_;
  std::atomic<bool> damage_seen_{false};  // of some slot
  // A rebuild does not begin between the begin and the end of a checkpoint, which would forget it.
  // By partition, which several share when there are many; taken before any other.
  std::array<absl::Mutex, 64> rebuild_mutexes_;
  // Held from the look at what is noted until it has been written: a partition's two threads make
  // and close stores, and the newest event must stay. Before mutex_.
  absl::Mutex noting_;
  absl::Mutex mutex_;
  std::map<PartitionId, Partition> partitions_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, ClosedMark> closed_ ABSL_GUARDED_BY(mutex_);
  // They have, or may have, more than the last checkpoint vouches for: to be compared with the log.
  std::vector<StoreSet::SlotPtr> ahead_ ABSL_GUARDED_BY(mutex_);
  HistoryComparer comparer_;  // ends before what it uses
};

}  // namespace sluice::projectors
