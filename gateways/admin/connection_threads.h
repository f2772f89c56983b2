#pragma once

#include <httplib.h>

#include <cstddef>
#include <functional>
#include <list>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace sluice::gateways {

// The threads that serve connections, one each, started as they are needed and kept. Where all are
// busy a connection is not queued: its job runs at once on the accepting thread with Refusing()
// true and must only turn it away.
class ConnectionThreads final : public httplib::TaskQueue {
 public:
  explicit ConnectionThreads(size_t threads_max) : threads_max_(threads_max) {}
  void enqueue(std::function<void()> job) override;
  void shutdown() override;
  // Is the job that asks to turn its connection away?
  static bool Refusing();

 private:
  void Work();

  const size_t threads_max_;
  absl::Mutex mutex_;
  std::list<std::function<void()>> jobs_ ABSL_GUARDED_BY(mutex_);
  size_t idle_ ABSL_GUARDED_BY(mutex_) = 0;  // threads that wait and have no job promised
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::list<std::thread> threads_;  // of the accepting thread
};

}  // namespace sluice::gateways
