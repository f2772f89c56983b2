#pragma once

#include <atomic>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "eventlog/log.h"

namespace sluice::eventlog {

// What readers may see of one partition, and who waits for more. Thread-safe.
class PartitionState {
 public:
  PartitionState(Topic topic, PartitionId id) : topic_(topic), id_(id) {}

  Topic topic() const { return topic_; }
  PartitionId id() const { return id_; }

  OffsetRange range() const {
    const absl::MutexLock lock(&mu_);
    return range_;
  }
  void SetRange(OffsetRange range) {
    const absl::MutexLock lock(&mu_);
    range_ = range;
  }
  void SetBegin(Offset begin) {
    const absl::MutexLock lock(&mu_);
    range_.begin = begin;
  }
  // Shows readers what lies before `end`, and wakes those that wait for it.
  void SetEnd(Offset end) {
    const absl::MutexLock lock(&mu_);
    range_.end = end;
    changed_.SignalAll();
  }

  // Waits until the end is not `end`, `cancelled` holds or `deadline` has passed; the range then.
  OffsetRange WaitBeyond(Offset end, const std::atomic<bool>& cancelled, absl::Time deadline) {
    const absl::MutexLock lock(&mu_);
    while (range_.end == end && !cancelled && !changed_.WaitWithDeadline(&mu_, deadline)) {
    }
    return range_;
  }
  // Sets `cancelled` and wakes whoever waits with it.
  void Cancel(std::atomic<bool>& cancelled) {
    const absl::MutexLock lock(&mu_);
    cancelled = true;
    changed_.SignalAll();
  }

  // Held while events are being removed; taken before mu_.
  absl::Mutex& truncating() ABSL_LOCK_RETURNED(truncating_) { return truncating_; }

 private:
  const Topic topic_;
  const PartitionId id_;
  absl::Mutex truncating_ ABSL_ACQUIRED_BEFORE(mu_);
  mutable absl::Mutex mu_;
  absl::CondVar changed_;
  OffsetRange range_ ABSL_GUARDED_BY(mu_){Offset(0), Offset(0)};
};

}  // namespace sluice::eventlog
