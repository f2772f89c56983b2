#pragma once

#include <chrono>
#include <memory>
#include <random>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "eventlog/log.h"
#include "projectors/staging/staging_metrics.h"
#include "projectors/staging/staging_projector.h"

namespace sluice::projectors {

// Folds one partition of `changes` on a thread of its own, from Start() to Stop(). Thread-safe.
class PartitionFolder {
 public:
  // All must outlive the folder.
  struct Context {
    eventlog::Log& log;
    eventlog::PartitionGroup& group;
    StoreManager& stores;
    const Clock& clock;
    const StagingOptions& options;
    StagingMetrics& metrics;
  };

  PartitionFolder(PartitionId partition, Context context);
  ~PartitionFolder();

  void Start();
  // Ends the batch under way soon; does not wait.
  void RequestStop();
  // RequestStop(), then waits until the last checkpoint is written.
  void Stop();

  // Ok once caught up with the end that the log had at the start, and not failing.
  [[nodiscard]] absl::Status Health() const;

 private:
  void Run();
  // One batch, or what is left of one that failed. An error leaves what is left for the next call.
  absl::Status Step();
  absl::Status OpenReader();
  absl::Status ReadBatch();
  absl::Status ApplyBatch();
  absl::Status WriteDeadLetters();
  absl::Status AppendDeadLetters(PartitionId partition, std::vector<eventlog::Event> letters);
  absl::Status CheckpointIfDue();
  absl::Status Checkpoint();
  void MeasureLag(Offset next);

  bool stopping() const;
  void SetHealth(absl::Status status);
  // Waits before a step is tried again: exponential, with jitter; ends at Stop().
  void BackOff();

  const PartitionId partition_;
  const Context context_;

  // Only the thread's own:
  std::vector<eventlog::StoredEvent> events_;  // read, not yet applied
  std::vector<eventlog::Event> letters_;       // applied, to be dead-lettered
  bool dirty_ = false;                         // something was applied since the last checkpoint
  SteadyTime next_checkpoint_;
  SteadyTime next_lag_;
  Offset end_at_start_;
  int empty_reads_ = 0;
  std::chrono::milliseconds backoff_{0};
  std::minstd_rand jitter_;

  mutable absl::Mutex mutex_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::unique_ptr<eventlog::Reader> reader_ ABSL_GUARDED_BY(mutex_);  // made by the thread alone
  absl::Status health_ ABSL_GUARDED_BY(mutex_);

  std::thread thread_;
};

}  // namespace sluice::projectors
