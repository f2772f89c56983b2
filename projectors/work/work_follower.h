#pragma once

#include <chrono>
#include <functional>
#include <vector>

#include "absl/status/status.h"
#include "eventlog/follower.h"
#include "eventlog/log.h"
#include "schemas/base/clock.h"
#include "schemas/base/ids.h"

namespace sluice::projectors {

// Follows one partition of `work` from its begin. What `work` has lost is lost: then it is read
// anew, as nothing hangs on it that `changes` does not tell better. Thread-safe.
class WorkFollower : eventlog::Follower::Callbacks {
 public:
  // Called on the follower's thread.
  struct Folds {
    std::function<void(bool whole)> begin;  // what was read before counts no more
    std::function<void(const std::vector<eventlog::StoredEvent>&)> apply;
  };

  // `log` and `clock` must outlive it.
  WorkFollower(eventlog::Log& log, const Clock& clock, PartitionId partition, Folds folds);
  ~WorkFollower() override { Stop(); }

  // As eventlog::Follower.
  void Start() { follower_.Start(); }
  void RequestStop() { follower_.RequestStop(); }
  void Stop() { follower_.Stop(); }
  [[nodiscard]] absl::Status Health() const { return follower_.Health(); }
  [[nodiscard]] Offset next() const { return follower_.next(); }

 private:
  absl::StatusOr<Offset> Open() override;
  absl::Status Step() override;
  absl::Status Fold(const std::vector<eventlog::StoredEvent>& events) override;
  bool Failed(const absl::Status& status, std::chrono::milliseconds wait) override;

  eventlog::Log& log_;
  const PartitionId partition_;
  const Folds folds_;
  bool begun_ = false;
  eventlog::Follower follower_;
};

}  // namespace sluice::projectors
