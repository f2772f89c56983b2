#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "schemas/base/clock.h"

namespace sluice::gateways {

// By which a run is told to end, and tells that it lives. Thread-safe.
class RunToken {
 public:
  enum class Why : uint8_t {
    kNone,        // it goes on
    kStop,        // the partition is given up, or the process ends
    kChanged,     // the source was defined otherwise, or is gone
    kStalled,     // nothing has come of it for too long
    kSuperseded,  // another attempt counts
    kTurn,        // it has had its place for long, and others wait for one
  };
  // While one is there the run waits for what is not its source's, the log or the fold: that time
  // does not count as one in which nothing came. By the run's thread.
  class Hold {
   public:
    explicit Hold(RunToken& token);
    ~Hold();
    Hold(const Hold&) = delete;
    Hold& operator=(const Hold&) = delete;

   private:
    RunToken& token_;
  };

  // `clock` must outlive it.
  explicit RunToken(const Clock& clock) : clock_(clock), touched_(clock.SteadyNow()) {}

  // The first reason stays.
  void Cancel(Why why) ABSL_LOCKS_EXCLUDED(mutex_);
  [[nodiscard]] Why why() const { return why_; }
  [[nodiscard]] bool cancelled() const { return why_ != Why::kNone; }
  // False as soon as it is cancelled.
  bool Pause(std::chrono::milliseconds delay) ABSL_LOCKS_EXCLUDED(mutex_);

  // Something came of the source.
  void Touch() ABSL_LOCKS_EXCLUDED(mutex_);
  // When that was last; later by as long as the run has been held since.
  [[nodiscard]] SteadyTime touched() const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  const Clock& clock_;
  std::atomic<Why> why_{Why::kNone};
  mutable absl::Mutex mutex_;
  SteadyTime touched_ ABSL_GUARDED_BY(mutex_);
  int holds_ ABSL_GUARDED_BY(mutex_) = 0;
  SteadyTime held_since_ ABSL_GUARDED_BY(mutex_);  // of touched_ it has not been added yet
};

}  // namespace sluice::gateways
