#pragma once

#include <algorithm>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "eventlog/log.h"
#include "tests/support/forwarding_log.h"

namespace sluice::testing {

// A log whose readers of one topic come to an offset and then get nothing, as where a broker holds
// answers back, until Release(). Thread-safe.
class StallingLog final : public FilteringLog {
 public:
  StallingLog(eventlog::Log& log, eventlog::Topic topic, Offset at)
      : FilteringLog(log), topic_(topic), at_(at) {}

  void Release() {
    absl::MutexLock lock(&mutex_);
    released_ = true;
  }
  void StallAt(Offset at) {
    absl::MutexLock lock(&mutex_);
    at_ = at;
    released_ = false;
  }
  // Waits until so many reads have come back with nothing.
  void AwaitEmptyReads(int count) {
    absl::MutexLock lock(&mutex_);
    const auto enough = [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return empty_reads_ >= count; };
    mutex_.AwaitWithTimeout(absl::Condition(&enough), absl::Seconds(60));
  }

 private:
  Events ReadFrom(FilteredReader& reader, const eventlog::ReadLimits& limits) override {
    eventlog::ReadLimits shortened = limits;
    if (reader.topic == topic_) {
      absl::MutexLock lock(&mutex_);
      if (!released_ && reader.next() >= at_) {
        ++empty_reads_;
        return std::vector<eventlog::StoredEvent>();
      }
      if (!released_) {
        shortened.events_max = std::min(shortened.events_max,
                                        static_cast<size_t>(at_.value() - reader.next().value()));
      }
    }
    return reader.ReadOn(shortened);
  }

  const eventlog::Topic topic_;
  absl::Mutex mutex_;
  Offset at_ ABSL_GUARDED_BY(mutex_);
  bool released_ ABSL_GUARDED_BY(mutex_) = false;
  int empty_reads_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace sluice::testing
