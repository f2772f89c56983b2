#pragma once

#include <optional>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "eventlog/background_task.h"
#include "eventlog/log.h"
#include "schemas/base/clock.h"

namespace sluice::projectors {

// Asks the log where a partition ends, on a thread of its own: a partition without a leader keeps
// nobody but those who ask for it. Thread-safe.
class EndQuestion {
 public:
  // Makes the thread: std::system_error where it can't be made. All must outlive the question.
  EndQuestion(eventlog::Log& log, const Clock& clock, eventlog::Topic topic, PartitionId partition);
  // Waits for an answer that is under way.
  ~EndQuestion() = default;

  // The end, as of an answer that was asked for no longer than `ago` ago, or why there was none;
  // nullopt while it is being asked for: look again, with the greater age that the caller's own
  // question then has. Never waits; whoever looks meanwhile shares one question. kUnavailable after
  // Stop().
  [[nodiscard]] std::optional<absl::StatusOr<Offset>> Since(SteadyTime::duration ago)
      ABSL_LOCKS_EXCLUDED(mutex_);
  // Nothing is asked any more, and nothing is under way when it returns.
  void Stop() ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  struct Answer {
    SteadyTime asked;
    absl::StatusOr<Offset> end;
  };

  void Ask() ABSL_LOCKS_EXCLUDED(mutex_);

  eventlog::Log& log_;
  const Clock& clock_;
  const eventlog::Topic topic_;
  const PartitionId partition_;
  absl::Mutex mutex_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::optional<Answer> answer_ ABSL_GUARDED_BY(mutex_);  // the last
  eventlog::BackgroundTask task_;                         // started under mutex_
};

}  // namespace sluice::projectors
