#pragma once

#include <cstddef>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "eventlog/log.h"

namespace sluice::eventlog {

// Holds the appends of a log to its AppendLimits, and counts what was taken and is not answered
// yet. Thread-safe.
class AppendAdmission {
 public:
  explicit AppendAdmission(const AppendLimits& limits) : limits_(limits) {}

  // Takes `batch` in and returns its bytes, as Event::ByteSize() counts them, or says why not; then
  // nothing is counted. In this order: kInvalidArgument, code "too_large", for the first event over
  // the limit, and for a batch that even an empty queue could not take; kResourceExhausted, code
  // "append_queue_full".
  absl::StatusOr<size_t> Admit(const std::vector<Event>& batch) ABSL_LOCKS_EXCLUDED(mutex_);

  // A batch of so many events and bytes was answered: call it when the callback has returned. What
  // callbacks still hold counts, or one that is slow would have the queue grow behind it without a
  // limit.
  void Release(size_t events, size_t bytes) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  const AppendLimits limits_;
  absl::Mutex mutex_;
  size_t events_held_ ABSL_GUARDED_BY(mutex_) = 0;
  size_t bytes_held_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace sluice::eventlog
