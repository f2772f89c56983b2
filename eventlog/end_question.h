#pragma once

#include <functional>
#include <optional>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "eventlog/background_task.h"
#include "schemas/base/clock.h"
#include "schemas/base/ids.h"

namespace sluice::eventlog {

// Asks where a partition ends, on a thread of its own: a partition without a leader keeps nobody
// but those who ask for it. Thread-safe.
class EndQuestion {
 public:
  // Asks the log, and has done what depends on the answer when it returns: then others see it.
  // `asked`: when the question was put. Called without a lock, never twice at once.
  using Ask = std::function<absl::StatusOr<Offset>(SteadyTime asked)>;

  // Makes the thread: std::system_error where it can't be made. `clock`, and what `ask` uses, must
  // outlive the question. `stopped`: the answer once it is to stop.
  EndQuestion(const Clock& clock, Ask ask, absl::Status stopped);
  // Waits for an answer that is under way.
  ~EndQuestion() = default;

  // The end, as of an answer that was asked for at `since` or later, by the question's clock, or
  // why there was none; nullopt while it is being asked for: look again, with the same `since`.
  // Never waits; whoever looks meanwhile shares one question.
  [[nodiscard]] std::optional<absl::StatusOr<Offset>> Since(SteadyTime since)
      ABSL_LOCKS_EXCLUDED(mutex_);
  // Has it asked, unless it is being asked, or is to stop. Never waits.
  void Start() ABSL_LOCKS_EXCLUDED(mutex_);
  // The last answer was no error; true before the first.
  [[nodiscard]] bool answers() const ABSL_LOCKS_EXCLUDED(mutex_);

  // Nothing is asked any more. Does not wait.
  void RequestStop() ABSL_LOCKS_EXCLUDED(mutex_);
  // RequestStop(), and nothing is under way when it returns.
  void Stop() ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  struct Answer {
    SteadyTime asked;
    absl::StatusOr<Offset> end;
  };

  void StartTask() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Run() ABSL_LOCKS_EXCLUDED(mutex_);

  const Clock& clock_;
  const Ask ask_;
  const absl::Status stopped_;
  mutable absl::Mutex mutex_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::optional<Answer> answer_ ABSL_GUARDED_BY(mutex_);  // the last
  BackgroundTask task_;                                   // started under mutex_
};

}  // namespace sluice::eventlog
