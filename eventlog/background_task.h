#pragma once

#include <functional>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace sluice::eventlog {

// A thread that does one thing at a time for others, who look from time to time whether it is done.
// Its callers take turns, by a lock of theirs where they are several; what it runs is on its own.
class BackgroundTask {
 public:
  BackgroundTask();
  // Waits until what is under way is done.
  ~BackgroundTask();

  // `work` must not throw. Nothing may be under way.
  void Start(std::function<void()> work);
  // Nothing is under way; what the work has done is seen.
  [[nodiscard]] bool done() const;
  void Wait();

 private:
  void Run();

  mutable absl::Mutex mutex_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::function<void()> work_ ABSL_GUARDED_BY(mutex_);  // empty: nothing is under way
  std::thread thread_;
};

}  // namespace sluice::eventlog
