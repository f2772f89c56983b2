#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "eventlog/cancellation.h"
#include "eventlog/compared_reader.h"
#include "eventlog/log.h"
#include "schemas/base/backoff.h"
#include "schemas/base/clock.h"

namespace sluice::eventlog {

// A thread that follows one partition of one topic: it opens the partition, reads on, has what it
// read folded, and tries again after an error, with back-off and for ever. After an error what was
// applied is compared with the log before anything is read (ComparedReader). What is particular to
// whoever follows is in the callbacks, which run on that thread.
// Thread-safe, but for the methods that are said to be the thread's own.
class Follower {
 public:
  class Callbacks {
   public:
    virtual ~Callbacks() = default;
    // Where to begin: before the first read, after Close(), and where the log ends before offsets
    // that were passed over. Where events have been read, reading goes on behind the last of them
    // whatever this says, unless they were given up by Close().
    virtual absl::StatusOr<Offset> Open() = 0;
    // What is due, and a ReadOn(); called again and again.
    virtual absl::Status Step() = 0;
    // Takes what was read, also where nothing came. After an error it is called with the same
    // events before anything more is read.
    virtual absl::Status Fold(const std::vector<StoredEvent>& events) = 0;
    // Open() or Step() failed, as Health() tells already, and is tried again after `wait`: not
    // where this returns false.
    virtual bool Failed(const absl::Status& status, std::chrono::milliseconds wait) = 0;
    // The last call: after RequestStop(), or where it is not tried again.
    virtual void Ended() {}
  };
  struct Options {
    Topic topic;
    PartitionId partition;
    Backoff retry{std::chrono::milliseconds(50), std::chrono::milliseconds(2'000)};
    ComparedReader::Compare compare = {};  // of what was applied; else of what was read last
    absl::Status health = {};              // before the first round
  };

  // All must outlive it.
  Follower(Log& log, const Clock& clock, Callbacks& callbacks, Options options);
  ~Follower();

  // Makes the thread, once: std::system_error where it can't be made.
  void Start();
  // Ends reads under way, those of comparisons that have cancellation() included. Does not wait.
  void RequestStop() ABSL_LOCKS_EXCLUDED(mutex_);
  // RequestStop(), and waits for the callback under way and for Ended(). By one thread, and before
  // the callbacks are destroyed.
  void Stop();
  [[nodiscard]] bool stopping() const ABSL_LOCKS_EXCLUDED(mutex_);
  // A comparison was waiting for the log when it was told to stop.
  [[nodiscard]] bool cut_off() const ABSL_LOCKS_EXCLUDED(mutex_);
  // Waits for `delay`; false as soon as it is told to stop.
  bool Pause(std::chrono::milliseconds delay) ABSL_LOCKS_EXCLUDED(mutex_);

  // The last error of a round, until SetHealth() is called: a round that went well may have come to
  // no end that its owner is waiting for.
  [[nodiscard]] absl::Status Health() const ABSL_LOCKS_EXCLUDED(mutex_);
  void SetHealth(absl::Status health) ABSL_LOCKS_EXCLUDED(mutex_);
  // Below it everything is folded; kNoOffset before the partition was opened.
  [[nodiscard]] Offset next() const { return Offset(next_); }
  [[nodiscard]] Cancellation& cancellation() { return cancellation_; }

  // The thread's own:
  // Read() and Fold().
  absl::Status ReadOn(const ReadLimits& limits);
  // Reads on, unless there is something that was read and has not been folded. Errors as
  // ComparedReader::Read().
  absl::Status Read(const ReadLimits& limits);
  // Has it folded, after which next() is behind it.
  absl::Status Fold();
  // The last event that was read since the partition was opened; kNoOffset for none.
  [[nodiscard]] Offset last() const;
  // Gives up what was read: it is opened anew. The round under way ends with an error.
  void Close() ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  void Run();
  absl::Status Open() ABSL_LOCKS_EXCLUDED(mutex_);
  // False where the thread is to end.
  bool AwaitRetry(const absl::Status& status);
  ComparedReader* reader() const ABSL_LOCKS_EXCLUDED(mutex_);

  Log& log_;
  const Clock& clock_;
  Callbacks& callbacks_;
  const Topic topic_;
  const PartitionId partition_;
  const ComparedReader::Compare compare_;
  std::atomic<int64_t> next_{kNoOffset.value()};
  // The thread's own:
  Backoff retry_;
  bool opened_ = false;
  std::vector<StoredEvent> events_;  // read, not folded

  Cancellation cancellation_;
  mutable absl::Mutex mutex_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  bool cut_off_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status health_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<ComparedReader> reader_ ABSL_GUARDED_BY(mutex_);  // made by the thread alone
  std::thread thread_;
};

}  // namespace sluice::eventlog
