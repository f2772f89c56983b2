#pragma once

#include <chrono>
#include <cstddef>
#include <map>
#include <memory>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "eventlog/log.h"
#include "schemas/base/ids.h"

namespace sluice::eventlog {

// How one partition's appends get on. What is appended behind an event must not become durable when
// that one does not: so once something has failed, all is refused until everything that was handed
// over before has its answer, and then one batch goes alone until it is confirmed. Thread-safe.
class PartitionAppends {
 public:
  // A batch is about to be handed over; false: it is to be refused.
  bool Take();
  // One that was held back is to be refused: what comes behind it waits for its answer likewise.
  void TakeRefused();
  // One event of what was handed over is durable.
  void Confirmed();
  // One event of what was handed over is not, or that is not known.
  void Failed();
  // A batch that was taken has had its answer: its callback has returned.
  void Answered();

  // Time goes by.
  void Pass(std::chrono::milliseconds passed);
  // For how long nothing has been confirmed of what is in flight; 0 where nothing is.
  std::chrono::milliseconds silent_for() const;
  bool in_flight() const;
  // Has something failed since the last batch that was taken alone?
  bool failing() const;

 private:
  enum class State { kWell, kFailing, kOneAlone };

  mutable absl::Mutex mutex_;
  State state_ ABSL_GUARDED_BY(mutex_) = State::kWell;
  size_t in_flight_ ABSL_GUARDED_BY(mutex_) = 0;  // batches
  std::chrono::milliseconds silent_for_ ABSL_GUARDED_BY(mutex_){0};
};

// That of all partitions. Thread-safe.
class AppendProgress {
 public:
  // `silence_max`: the partition that confirms nothing for so long is silent.
  explicit AppendProgress(std::chrono::milliseconds silence_max) : silence_max_(silence_max) {}

  // Stays until this goes.
  PartitionAppends& Of(Topic topic, PartitionId partition);

  // Time goes by: is one silent by now?
  bool Pass(std::chrono::milliseconds passed);
  // Is anything in flight to partitions that are not silent?
  bool OthersInFlight() const;

 private:
  const std::chrono::milliseconds silence_max_;
  mutable absl::Mutex mutex_;
  std::map<std::pair<Topic, PartitionId>, std::unique_ptr<PartitionAppends>> partitions_
      ABSL_GUARDED_BY(mutex_);
};

}  // namespace sluice::eventlog
