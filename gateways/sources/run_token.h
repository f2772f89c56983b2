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
  };

  // `clock` must outlive it.
  explicit RunToken(const Clock& clock) : clock_(clock) { Touch(); }

  // The first reason stays.
  void Cancel(Why why) ABSL_LOCKS_EXCLUDED(mutex_);
  [[nodiscard]] Why why() const { return why_; }
  [[nodiscard]] bool cancelled() const { return why_ != Why::kNone; }
  // False as soon as it is cancelled.
  bool Pause(std::chrono::milliseconds delay) ABSL_LOCKS_EXCLUDED(mutex_);

  void Touch() { touched_ = clock_.SteadyNow().time_since_epoch().count(); }
  [[nodiscard]] SteadyTime touched() const { return SteadyTime(SteadyTime::duration(touched_)); }

 private:
  const Clock& clock_;
  std::atomic<Why> why_{Why::kNone};
  std::atomic<SteadyTime::rep> touched_{0};
  absl::Mutex mutex_;
};

}  // namespace sluice::gateways
