#pragma once

#include <map>
#include <memory>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "eventlog/log.h"
#include "schemas/base/clock.h"
#include "schemas/base/ids.h"

namespace sluice::eventlog {

// Whether a partition that is told to end before what is known of it has lost its end. A broker
// that the others have replaced as a leader, and that is cut off from them but not from this
// process, goes on telling its own end until this process's handles have heard of the new one, each
// for itself; meanwhile one of them may have read, or another node told, what comes behind that. So
// an end is believed once it was told, over and over, for longer than that takes. Thread-safe.
class LossDoubt {
 public:
  // nullptr: the machine's clock.
  explicit LossDoubt(std::shared_ptr<const Clock> clock);

  // As Log::ConfirmLoss(): OK where the partition has been told to end before `lost`, or before
  // something lower that was asked for, for kLossConfirmed. Of the time between two answers little
  // counts.
  absl::Status Confirm(Topic topic, PartitionId partition, Offset lost) ABSL_LOCKS_EXCLUDED(mutex_);
  // The partition was told to end at `end`.
  void NoteEnd(Topic topic, PartitionId partition, Offset end) ABSL_LOCKS_EXCLUDED(mutex_);
  // As Log::IsEndDoubted(): Confirm() was asked not long before the last end was told, and none has
  // been told since that mends it.
  bool IsDoubted(Topic topic, PartitionId partition) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  struct Loss {
    Offset lost;                   // the lowest
    SteadyTime::duration told{0};  // for how long, of that
    SteadyTime last;               // told
    SteadyTime asked;              // by Confirm()
  };
  static void Count(SteadyTime now, Loss* loss);

  const std::shared_ptr<const Clock> clock_;
  absl::Mutex mutex_;
  std::map<std::pair<Topic, PartitionId>, Loss> losses_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace sluice::eventlog
