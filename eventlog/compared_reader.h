#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "eventlog/cancellation.h"
#include "eventlog/log.h"
#include "schemas/base/clock.h"

namespace sluice::eventlog {

// A reader for whoever folds what it returns. The invariant: before anything is read on, everything
// that this process has applied since it last compared has been compared with the log. So what was
// read is held back until the log has been seen to hold still, after that read, what was applied
// last. In this order: a log that had lost that before the read does not hold it after the read,
// either, whereas one that held it before may have lost it by then.
//
// It is compared
// - where the events are the first, or of another session() of the reader than those before; where
//   nothing comes, too, once the session has changed;
// - where that was not done for half a minute, whatever comes: a leader may change without any
//   connection ending, and where the new one's log is no longer nothing would ever come of it;
// - where none had come for a second: what comes next may be of another history, whatever the
//   reader knows of its connections, and no broker comes back, and no leader is elected, in less;
// - after an error, and after Doubt(), also before anything is read: that the log has lost its end
//   is told though nothing comes.
//
// To compare the last event is enough: a log loses its end only, and each event was compared, or
// came with one that was, before the next session's were joined to it.
// Not thread-safe, but for Cancel().
class ComparedReader {
 public:
  // Says whether the log holds what was applied; may block.
  using Compare = std::function<absl::Status()>;

  // Reads from `from` on. `compare`: what was applied, where that is more than what this reader has
  // returned. Log and clock must outlive it.
  ComparedReader(Log& log, const Clock& clock, Topic topic, PartitionId partition, Offset from,
                 Compare compare = {});

  // As Reader::Read(); or the error of the comparison, after which what was read is read again.
  // After "offset_beyond_end" it goes on behind the last event that it returned: where that is not
  // lost, only offsets without events are.
  absl::StatusOr<std::vector<StoredEvent>> Read(const ReadLimits& limits);
  // What was applied is compared before anything more is read.
  void Doubt() { doubted_ = true; }

  // One past what Read() has returned, or passed over, or where it began.
  Offset next() const { return next_; }
  // The last event that Read() has returned; kNoOffset for none.
  Offset last() const { return last_; }
  // As Reader::Cancel(), of all reads to come; ends its own comparison, too. A Compare is its
  // maker's to be ended.
  void Cancel() ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  absl::StatusOr<Reader*> Open() ABSL_LOCKS_EXCLUDED(mutex_);
  void Close() ABSL_LOCKS_EXCLUDED(mutex_);
  // Whether what came now, of this session, may be of another history than what came before.
  bool IsDoubtful(uint64_t session, bool has_events);
  absl::Status CompareApplied();

  Log& log_;
  const Clock& clock_;
  const Topic topic_;
  const PartitionId partition_;
  const Compare compare_;
  Offset next_;
  Offset last_ = kNoOffset;
  uint64_t last_hash_ = 0;
  // The reader's session at the last comparison, and whether events came then: what comes after
  // nothing need not come over a connection that was there already.
  struct Compared {
    uint64_t session;
    bool with_events;
  };
  std::optional<Compared> compared_;
  SteadyTime compared_at_;
  SteadyTime heard_;  // when events came last, or were first waited for
  bool doubted_ = false;
  Cancellation comparing_;

  absl::Mutex mutex_;
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;
  std::unique_ptr<Reader> reader_ ABSL_GUARDED_BY(mutex_);  // made by the reading thread alone
};

}  // namespace sluice::eventlog
