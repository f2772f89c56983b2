#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "eventlog/append_admission.h"
#include "eventlog/embedded/log_metrics.h"
#include "eventlog/embedded/log_store.h"
#include "eventlog/embedded/partition_ends.h"
#include "eventlog/embedded/partition_state.h"
#include "eventlog/log.h"
#include "schemas/base/clock.h"

namespace sluice::eventlog {

// Group commit: appends gather in a bounded queue; a thread takes all that is queued, gives it
// offsets, writes it with one sync, shows it to readers and answers. Thread-safe.
class CommitQueue {
 public:
  // Starts the thread. All arguments must outlive this.
  CommitQueue(LogStore& store, PartitionEnds& ends, LogMetrics& metrics, const AppendLimits& limits,
              const Clock& clock);
  // Commits and answers what is queued first.
  ~CommitQueue();

  // As Log::AppendAsync().
  void Append(PartitionState& partition, const std::vector<Event>& batch, Log::AppendCallback done)
      ABSL_LOCKS_EXCLUDED(mu_);

  // Why the last write failed, until one succeeds or the store has recovered.
  absl::Status Health() const ABSL_LOCKS_EXCLUDED(mu_);
  // Tells of a failed write by somebody else, so that the store is made to recover.
  void ReportFailure(const absl::Status& failure) ABSL_LOCKS_EXCLUDED(mu_);

 private:
  // An append that was taken: its events' bytes one after the other.
  struct Pending {
    PartitionState* partition = nullptr;
    std::string bytes;
    std::vector<uint32_t> ends;  // of each event in `bytes`
    size_t charge = 0;           // what it counts for in the queue
    SteadyTime since;
    Log::AppendCallback done;
    Offset first = kNoOffset;  // once it has offsets
  };
  using Group = std::vector<Pending>;

  void Run();
  // What is queued; empty where there is time to sync the ends or to try a recovery, or nothing
  // more will come.
  Group Take() ABSL_LOCKS_EXCLUDED(mu_);
  bool Finished() const ABSL_LOCKS_EXCLUDED(mu_);
  void Commit(Group& group);
  // Gives offsets, writes, and writes once more if the store recovers from a failure.
  absl::Status Write(Group& group, std::map<PartitionState*, Offset>& ends);
  void Answer(Group& group, const absl::Status& written);
  void TryRecovery();
  void SetHealth(const absl::Status& health) ABSL_LOCKS_EXCLUDED(mu_);

  LogStore& store_;
  PartitionEnds& ends_;  // only the thread uses it
  LogMetrics& metrics_;
  AppendAdmission admission_;  // the queue, the group being written, the callbacks that run
  const Clock& clock_;

  mutable absl::Mutex mu_;
  absl::CondVar work_;
  std::deque<Pending> queue_ ABSL_GUARDED_BY(mu_);
  absl::Status health_ ABSL_GUARDED_BY(mu_);
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::thread thread_;
};

}  // namespace sluice::eventlog
