#pragma once

#include <chrono>
#include <cstddef>
#include <deque>
#include <functional>
#include <list>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "schemas/base/clock.h"
#include "schemas/base/ids.h"

namespace sluice::gateways {

struct RunPoolOptions {
  size_t runs_max = 32;       // at once, each with a thread
  size_t per_org_max = 2;     // at once, of one organisation
  size_t per_host_max = 8;    // at once, of one source system, whoever's
  size_t queue_max = 10'000;  // that wait for a place, and one of each organisation beside them
  // How long a run that can give its place back has it for sure; 0: as long as it lasts.
  std::chrono::milliseconds turn{0};
};

// Threads for the runs of sources. Organisations take turns, and none has more than its places, so
// that a slow source holds up no other. Thread-safe.
class RunPool {
 public:
  explicit RunPool(RunPoolOptions options) : options_(options) {}
  ~RunPool() { Stop(); }

  // Has `run` called on a thread of the pool, once. It must not throw. False where the queue is
  // full, no thread can be had, or the pool was stopped: it is not called then. `host`: "" for one
  // that has no limit. `give_back`, of a run that lasts, asks it to end soon; it is called once at
  // most, maybe when the run has ended by itself. Empty: it is not asked.
  [[nodiscard]] bool Add(const OrgId& org, std::string host, std::function<void()> run,
                         std::function<void()> give_back = {});
  // Asks runs whose turn is over for their places, where others wait for these: no more runs than
  // wait, those first that have had theirs longest. To be called again and again.
  void TakeTurns(SteadyTime now) ABSL_LOCKS_EXCLUDED(mutex_);
  // Waits for the runs under way; those that wait are not called.
  void Stop();

  [[nodiscard]] size_t running() const;
  [[nodiscard]] size_t queued() const;

 private:
  struct Waiting {
    std::string host;
    std::function<void()> run;
    std::function<void()> give_back;
  };
  struct Running {
    std::string org;
    std::string host;
    std::function<void()> give_back;  // empty once it was called
    SteadyTime since{};               // when TakeTurns() saw it first
    bool asked = false;
  };
  struct Next {
    std::function<void()> run;
    std::list<Running>::iterator place;
  };

  void Work();
  [[nodiscard]] bool HasPlace(std::string_view org, const std::string& host) const
      ABSL_SHARED_LOCKS_REQUIRED(mutex_);
  // Whose turn it is, of those who have a place.
  [[nodiscard]] std::deque<std::string>::const_iterator FindTurn() const
      ABSL_SHARED_LOCKS_REQUIRED(mutex_);
  // Of the organisation's queue the first that has a place.
  [[nodiscard]] std::optional<size_t> FirstOf(const std::string& org) const
      ABSL_SHARED_LOCKS_REQUIRED(mutex_);
  Next TakeNext() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void End(std::list<Running>::iterator place) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // The run that is to make room for the organisation's next one; nullptr: none, for now.
  [[nodiscard]] Running* FindOver(const std::string& org, SteadyTime now)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const RunPoolOptions options_;
  mutable absl::Mutex mutex_;
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
  // Whether one that waits has a place: looked for where that can have changed, and not at each
  // unlock by each thread.
  bool has_next_ ABSL_GUARDED_BY(mutex_) = false;
  std::map<std::string, std::deque<Waiting>> queues_ ABSL_GUARDED_BY(mutex_);  // by org; none empty
  std::deque<std::string> turns_ ABSL_GUARDED_BY(mutex_);                      // their keys
  std::map<std::string, size_t, std::less<>> orgs_ ABSL_GUARDED_BY(mutex_);    // places taken
  std::map<std::string, size_t, std::less<>> hosts_ ABSL_GUARDED_BY(mutex_);
  size_t queued_ ABSL_GUARDED_BY(mutex_) = 0;
  std::list<Running> running_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::thread> threads_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace sluice::gateways
