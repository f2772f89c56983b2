#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "projectors/store/change_collector.h"
#include "projectors/store/rocks_env.h"
#include "projectors/store/rocks_store.h"
#include "projectors/store/store_metrics.h"

namespace sluice::projectors {

// The stores that there are, opened on demand, idle ones closed when too many are open, and the
// folders of closed organisations deleted once nobody reads them. Thread-safe.
class StoreSet {
 public:
  // One organisation's store, open or not.
  struct Slot {
    Slot(OrgId org_in, OrgRegistration registration_in, std::string path_in)
        : org(std::move(org_in)), registration(registration_in), path(std::move(path_in)) {}
    const OrgId org;
    const OrgRegistration registration;
    const std::string path;
    std::atomic<uint64_t> last_used{0};
    // By a reader, for whom it could not be opened: the projector is to look after it.
    std::atomic<bool> damage_seen{false};
    std::atomic<bool> io_error_seen{false};
    std::atomic<bool> behind_seen{false};
    std::atomic<bool> open{false};  // tells whether there is a store, without the lock
    // Positions (Offset): last committed in this process; known to be on disk; said to be on disk
    // by the node store. A store that has less than it should is noticed by these.
    std::atomic<int64_t> committed{kNoOffset.value()};
    std::atomic<int64_t> durable{kNoOffset.value()};
    std::atomic<int64_t> noted{kNoOffset.value()};
    // The first event that it may lack on disk.
    Offset NextOnDisk() const { return std::max(Offset(durable + 1), registration.opened); }
    // A checkpoint could not flush it. From then on that is for the thread that folds it apart: it
    // is not given back before.
    std::atomic<bool> flush_failed{false};
    ChangeCollector changes;  // by the partition's thread only
    // The turn of the partition (StoreManagerImpl::Partition::reading) in which the rejections of
    // an event that is applied in part have been told of.
    std::atomic<uint64_t> told_in{0};
    absl::Mutex mutex;
    // Its history has been compared with the log's. Until then it is neither read nor written to,
    // and no checkpoint vouches for it. Once true it stays so, but for a folder that was exchanged
    // and for Doubt().
    std::atomic<bool> checked{false};
    uint32_t doubts ABSL_GUARDED_BY(mutex) = 0;  // how often it stopped being so
    // How often it was set back. Who has looked whether it may be shown, and finds another number
    // when it has read, may have read what is older than what was shown before.
    std::atomic<uint32_t> set_back{0};
    AppliedState opened_at ABSL_GUARDED_BY(mutex);  // what is to be compared
    // It was opened with less than it was known to have. It is not used before SetBack().
    bool behind ABSL_GUARDED_BY(mutex) = false;
    std::shared_ptr<RocksStore> store ABSL_GUARDED_BY(mutex);
    bool retired ABSL_GUARDED_BY(mutex) = false;
  };
  using SlotPtr = std::shared_ptr<Slot>;
  // Says whether what the store has applied may be gone on from. May block.
  using HistoryCheck = std::function<absl::Status(const Slot&, const AppliedState&)>;

  // Before the first store is opened.
  void SetHistoryCheck(HistoryCheck check) { check_ = std::move(check); }

  StoreSet(std::shared_ptr<RocksEnv> env, StoreMetrics& metrics, std::string orgs_path,
           std::string log_id);

  // nullptr where there is none.
  SlotPtr Find(const OrgId& org) const;
  // Ascending by organisation.
  std::vector<SlotPtr> All() const;
  std::string PathOf(const OrgId& org, uint32_t incarnation) const;

  // Knows of a store that is on disk, at least up to `flushed`.
  void Add(const OrgId& org, const OrgRegistration& registration, Offset flushed);
  // Makes an empty store, in the place of any leftovers; unknown to the others until Publish.
  [[nodiscard]] absl::StatusOr<SlotPtr> Create(const OrgId& org,
                                               const OrgRegistration& registration);
  void Publish(SlotPtr slot);
  // Forgets a store; its folder goes when the last reader has.
  void Retire(const SlotPtr& slot);

  // The open store. kNotFound, code "org_not_found", for a retired one; code "store_missing" where
  // its folder has gone; the errors of RocksStore::Open; kAborted, code "store_rewound", where it
  // holds less than it did at a checkpoint or in this process: who folds it has it set apart, and
  // calls SetBack(). A reader may be refused with
  // kResourceExhausted, code "stores_busy", where twice the limit are open and none is idle.
  // It is not to be used before it is Slot::checked.
  [[nodiscard]] absl::StatusOr<std::shared_ptr<RocksStore>> Acquire(const SlotPtr& slot,
                                                                    bool reader);
  // Asks the HistoryCheck, unless it is `checked`, and makes it so, unless it was doubted
  // meanwhile: what was found out then says nothing. The errors of Acquire() for a reader, and of
  // the check. Blocks.
  [[nodiscard]] absl::Status Compare(const SlotPtr& slot);
  // Its history is known to be the log's, by events that were read.
  static void MarkChecked(Slot& slot);
  // The store is compared again before it is read or folded. By the thread that folds it.
  void Doubt(Slot& slot) const;
  // Closes a broken store and opens it as it was at its last flush. kUnavailable while it is in
  // use.
  [[nodiscard]] absl::Status Reopen(const SlotPtr& slot);

  // Forgets a store and renames its folder to <path>.damaged-<n>, in place of an earlier one of
  // that kind. kUnavailable, code "store_busy", while it is being read; "store_io_error".
  [[nodiscard]] absl::Status MoveAside(const SlotPtr& slot);

  // Has a store that was opened anew less than was committed to it, or known to be on disk?
  [[nodiscard]] static bool HasLost(Slot& slot);
  // Up to where it is there, as far as is known.
  [[nodiscard]] static Offset Held(Slot& slot);
  // The organisation is hidden and apart, from what follows `held` on: its store may be used. What
  // was known of it counts for nothing where it had been seen to have more on disk: it is another
  // folder, which is compared with the log. Does nothing where less is there than `held`.
  void SetBack(Slot& slot, Offset held);

  // What to tell of an error of the store: names organisation and folder. Closes a damaged store,
  // so that it is noticed when its folder is deleted.
  [[nodiscard]] absl::Status Explain(const SlotPtr& slot, const absl::Status& error);

  // Closes idle stores, least recently used first, until no more than the limit are open.
  void EvictIdle();
  // Deletes the folders of retired stores that nobody reads any more.
  void Reap();
  // Starts a flush of the store that holds most, when memtables are near their limit.
  void RelieveMemory();
  // Flushes and closes all. The first error; the rest are closed all the same.
  [[nodiscard]] absl::Status CloseAll();

  size_t open_count() const { return static_cast<size_t>(open_count_.load()); }
  void UpdateMetrics();

 private:
  absl::Status Open(Slot& slot) ABSL_EXCLUSIVE_LOCKS_REQUIRED(slot.mutex);
  void Close(Slot& slot) ABSL_EXCLUSIVE_LOCKS_REQUIRED(slot.mutex);
  // kUnavailable, code "store_busy", while it is in use; `wanted`: what for, "opened anew".
  absl::Status CloseUnlessBusy(Slot& slot, std::string_view wanted)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(slot.mutex);
  bool Evict(Slot& slot);
  void Forget(const SlotPtr& slot) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::vector<SlotPtr> OpenSlots() const;  // least recently used first

  const std::shared_ptr<RocksEnv> env_;
  StoreMetrics& metrics_;
  const std::string orgs_path_;
  const std::string log_id_;
  HistoryCheck check_;
  std::atomic<uint64_t> tick_{0};
  std::atomic<int64_t> open_count_{0};
  mutable absl::Mutex mutex_;  // taken after a slot's, never before
  std::map<std::string, SlotPtr> slots_ ABSL_GUARDED_BY(mutex_);
  // Retired databases: deleted when the only reference left is this one.
  std::vector<std::shared_ptr<OrgDb>> retired_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace sluice::projectors
