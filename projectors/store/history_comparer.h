#pragma once

#include <chrono>
#include <cstddef>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "projectors/store/store_metrics.h"
#include "projectors/store/store_set.h"
#include "schemas/base/ids.h"

namespace sluice::projectors {

// Compares stores with the log beside those who need it: a thread for each partition that has had a
// store to compare, which does one after the other. The log may take long to answer, and nobody's
// thread is held for that: neither those that all readers share, nor one that has to end before its
// partition is given back. Thread-safe.
class HistoryComparer {
 public:
  // Compares a store (StoreSet::Compare), and returns its error. May block.
  using Compare = std::function<absl::Status(const StoreSet::SlotPtr&)>;

  // `metrics` must outlive it.
  HistoryComparer(Compare compare, StoreMetrics& metrics);
  ~HistoryComparer();  // Stop()

  // Has the store compared, after those that somebody waits for, to whom it gives way where as many
  // stores wait as may. False where that is so already, and once it has stopped. Ask again later.
  bool Ask(const StoreSet::SlotPtr& slot) ABSL_LOCKS_EXCLUDED(mutex_);

  // Waits until the store is Slot::checked. The comparison's error; kUnavailable, code
  // "log_unavailable", where that takes more than 3 s, and then it goes on, so that the next call
  // may find it done.
  [[nodiscard]] absl::Status Await(const StoreSet::SlotPtr& slot) ABSL_LOCKS_EXCLUDED(mutex_);
  // The same for who is folded apart, whose thread is nobody else's: as long as the comparison goes
  // on, up to 30 s in all, but for 3 s at most once `stopping` says so.
  [[nodiscard]] absl::Status AwaitApart(const StoreSet::SlotPtr& slot,
                                        absl::FunctionRef<bool()> stopping)
      ABSL_LOCKS_EXCLUDED(mutex_);
  // The same for a reader, which waits for half a second, counted from the begin of the comparison
  // under way in the partition, its own or another one's: who comes while the log does not answer
  // is told at once. kResourceExhausted, code "stores_busy".
  [[nodiscard]] absl::Status AwaitForReader(const StoreSet::SlotPtr& slot)
      ABSL_LOCKS_EXCLUDED(mutex_);

  // Refuses all that come, and waits for the comparisons under way.
  void Stop() ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  using Time = std::chrono::steady_clock::time_point;
  struct Job {
    StoreSet::SlotPtr slot;
    bool done = false;
    absl::Status status{};
    int waiters = 0;  // in AwaitDone()
  };
  using JobPtr = std::shared_ptr<Job>;
  // Of one partition.
  struct Lane {
    std::deque<JobPtr> waiting;
    JobPtr under_way;
    Time began;  // that one
    std::thread thread;
  };

  // Takes out of the row of a partition the last one that nobody waits for, if there is one.
  static bool MakeRoom(Lane& lane);
  absl::StatusOr<JobPtr> Enqueue(const StoreSet::SlotPtr& slot, bool first)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status AwaitDone(const StoreSet::SlotPtr& slot, bool reader) ABSL_LOCKS_EXCLUDED(mutex_);
  bool IsAsked(const StoreSet::SlotPtr& slot) const ABSL_LOCKS_EXCLUDED(mutex_);
  void Run(Lane& lane) ABSL_LOCKS_EXCLUDED(mutex_);

  const Compare compare_;
  StoreMetrics& metrics_;
  mutable absl::Mutex mutex_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::map<PartitionId, Lane> lanes_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace sluice::projectors
