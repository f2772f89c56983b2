#pragma once

#include <cstddef>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "schemas/base/ids.h"

namespace sluice::gateways {

struct RunPoolOptions {
  size_t runs_max = 32;       // at once, each with a thread
  size_t per_org_max = 2;     // at once, of one organisation
  size_t per_host_max = 8;    // at once, of one source system, whoever's
  size_t queue_max = 10'000;  // that wait for a place
};

// Threads for the runs of sources. Organisations take turns, and none has more than its places, so
// that a slow source holds up no other. Thread-safe.
class RunPool {
 public:
  explicit RunPool(RunPoolOptions options) : options_(options) {}
  ~RunPool() { Stop(); }

  // Has `run` called on a thread of the pool, once. It must not throw. False where the queue is
  // full, no thread can be had, or the pool was stopped: it is not called then. `host`: "" for one
  // that has no limit.
  [[nodiscard]] bool Add(const OrgId& org, std::string host, std::function<void()> run);
  // Waits for the runs under way; those that wait are not called.
  void Stop();

  [[nodiscard]] size_t running() const;
  [[nodiscard]] size_t queued() const;

 private:
  struct Waiting {
    std::string host;
    std::function<void()> run;
  };
  struct Next {
    std::string org;
    Waiting waiting;
  };

  void Work();
  [[nodiscard]] bool HasNext() const ABSL_SHARED_LOCKS_REQUIRED(mutex_);
  // Whose turn it is, of those who have a place.
  [[nodiscard]] std::deque<std::string>::const_iterator FindTurn() const
      ABSL_SHARED_LOCKS_REQUIRED(mutex_);
  // Of the organisation's queue the first that has a place.
  [[nodiscard]] std::optional<size_t> FirstOf(const std::string& org) const
      ABSL_SHARED_LOCKS_REQUIRED(mutex_);
  Next TakeNext() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const RunPoolOptions options_;
  mutable absl::Mutex mutex_;
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
  std::map<std::string, std::deque<Waiting>> queues_ ABSL_GUARDED_BY(mutex_);  // by org; none empty
  std::deque<std::string> turns_ ABSL_GUARDED_BY(mutex_);                      // their keys
  std::map<std::string, size_t> orgs_ ABSL_GUARDED_BY(mutex_);                 // places taken
  std::map<std::string, size_t> hosts_ ABSL_GUARDED_BY(mutex_);
  size_t queued_ ABSL_GUARDED_BY(mutex_) = 0;
  size_t running_ ABSL_GUARDED_BY(mutex_) = 0;
  std::vector<std::thread> threads_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace sluice::gateways
