#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "eventlog/log.h"
#include "projectors/staging/letter_box.h"
#include "projectors/staging/staging_projector.h"

namespace sluice::projectors {

// The second thread of a partition: folds the organisations that are apart, with a reader of its
// own, until each has caught up with the main thread and is given back (docs/fold.md, "Apart").
// They take turns of one step each; one that fails waits longer each time, alone. Thread-safe.
class SideFolder {
 public:
  // All must outlive it.
  SideFolder(PartitionId partition, eventlog::Log& log, StoreManager& stores, const Clock& clock,
             const StagingOptions& options, StagingMetrics& metrics);
  ~SideFolder();

  // Starts the thread, if there is none yet and somebody is apart. Called by the main thread.
  void StartIfNeeded();
  // Does not wait.
  void RequestStop();
  void Stop();

 private:
  // What is under way for one organisation.
  struct Work {
    explicit Work(LetterBox box) : letters(std::move(box)) {}
    uint64_t generation = 0;                    // ApartOrg's
    Offset through;                             // its events below it are in `events`, or done
    std::vector<eventlog::StoredEvent> events;  // the first `done` of them are applied
    size_t done = 0;
    size_t bytes = 0;
    LetterBox letters;
    std::chrono::milliseconds backoff{0};
    SteadyTime retry_at;
  };

  void Run();
  // One step of everybody who has work, then more events for those who have none. How long to wait
  // before the next turn.
  std::chrono::milliseconds Turn(const std::vector<ApartOrg>& apart);
  // Drops the work of those given back; begins that of those whose position was changed.
  void Match(const std::vector<ApartOrg>& apart);
  void Step(const ApartOrg& apart, Work& work);
  absl::Status TryStep(const ApartOrg& apart, Work& work);
  // Reads a batch for those who wait for events; false where nobody does.
  absl::StatusOr<bool> ReadMore(const std::vector<ApartOrg>& apart);
  void Fail(std::string_view org, Work& work, const absl::Status& status);
  bool stopping() const;

  const PartitionId partition_;
  eventlog::Log& log_;
  StoreManager& stores_;
  const Clock& clock_;
  const StagingOptions& options_;
  StagingMetrics& metrics_;
  std::map<std::string, Work> work_;  // the thread's own
  mutable absl::Mutex mutex_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::unique_ptr<eventlog::Reader> reader_ ABSL_GUARDED_BY(mutex_);  // made by the thread alone
  std::thread thread_;                                                // of the main thread
};

}  // namespace sluice::projectors
