#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "eventlog/cancellation.h"
#include "eventlog/log.h"
#include "projectors/staging/letter_box.h"
#include "projectors/staging/staging_projector.h"
#include "schemas/base/backoff.h"

namespace sluice::projectors {

// The second thread of a partition: folds the organisations that are apart, with readers of its
// own, until each has caught up with the main thread and is given back (docs/fold.md, "Apart").
// They take turns of one step each; one that fails lets go of its events and waits longer each
// time, alone. Events are read for whoever waits at the lowest place and at the highest, in turns,
// so that a long history does not hold up those who are near the end. Thread-safe.
//
// As eventlog::ComparedReader has it, and for each organisation alone: what was read is not applied
// before the log has been seen to hold still, after that read, what its store has applied and what
// was passed over for it.
//
// It is no eventlog::Follower: that one reads one place of the partition forward and, after an
// error, waits as a whole. Here many wait at places of their own, which the stores set anew, and
// the failure of one must not hold up the others.
class SideProjector {
 public:
  // All must outlive it. Makes the thread, so that nobody's going apart can fail for want of one;
  // std::system_error where it can't be made.
  SideProjector(PartitionId partition, eventlog::Log& log, ApartWriter& stores, const Clock& clock,
                const StagingOptions& options, StagingMetrics& metrics);
  ~SideProjector();

  // Sets the thread to work where somebody is apart; it sleeps until then. Called by the main
  // thread, not before it has seen that the stores go on from this log.
  void Wake();
  // Does not wait.
  void RequestStop();
  void Stop();

  // Apart, and the log does not hold its next events any more (code "offset_below_begin"): it
  // cannot go on, and is looked for from time to time.
  [[nodiscard]] bool HasLostEvents(const OrgId& org) const;
  // kDataLoss, code "log_truncated" or "log_diverged", once the log no longer holds what was read.
  // (Of what a store has applied StoreWriter::LookForTrouble() tells.)
  [[nodiscard]] absl::Status History() const;
  // Dead letters of those who are apart that are not durable yet.
  size_t letters_held() const { return letters_held_; }

 private:
  // What is under way for one organisation.
  struct Work {
    explicit Work(LetterBox box) : letters(std::move(box)) {}
    uint64_t generation = 0;  // ApartOrg's
    // Its events below it are in `events`, or done; `passed` is the last event of all that was read
    // below it, whoever's, with its hash. At the begin it is what the main thread applied last.
    Offset through;
    std::pair<Offset, uint64_t> passed{kNoOffset, 0};
    // Likewise before `events` were read.
    Offset through_before;
    std::pair<Offset, uint64_t> passed_before{kNoOffset, 0};
    // Place::number of the last events that were read for it, and of the last read, if of none:
    // what comes then may come over another connection, and is compared all the same.
    uint64_t compared = 0;
    uint64_t looked = 0;
    std::vector<eventlog::StoredEvent> events;  // the first `done` of them are applied
    size_t done = 0;
    size_t bytes = 0;
    LetterBox letters;  // of what was applied
    // Of its store, which is this process's alone: each failure counts, and when it is tried again.
    Backoff backoff{std::chrono::milliseconds(100), std::chrono::milliseconds(60'000),
                    Backoff::Jitter::kNone};
    SteadyTime retry_at;
    std::string failure;   // the code that it failed with last
    bool reading = false;  // its store is read as a whole, a part each step, before anything else

    void DropEvents();
    // Takes over what was read below `next`; `last` is the last event of that.
    void PassTo(Offset next, std::pair<Offset, uint64_t> last);
    // Takes over what was read up to `last`.
    void PassThrough(const eventlog::StoredEvent& last);
  };
  // Somebody to read for.
  struct Waiting {
    const ApartOrg* apart;
    Work* work;
    bool full = false;
  };

  void Run();
  // False when it stops.
  bool AwaitWake();
  // Until nobody is apart any more.
  void FoldApart();
  // One step of everybody who has work, then more events for those who have none. How long to wait
  // before the next turn.
  std::chrono::milliseconds Turn(const std::vector<ApartOrg>& apart);
  // Drops the work of those given back; begins that of those whose position was changed.
  void Match(const std::vector<ApartOrg>& apart);
  void Step(const ApartOrg& apart, Work& work);
  absl::Status TryStep(const ApartOrg& apart, Work& work);
  // Everything of the organisation below Work::through is done.
  absl::Status Advance(const ApartOrg& apart, Work& work);

  // Reads for those who wait, and waits for the first event; true where something came.
  bool ReadMore(const std::vector<ApartOrg>& apart, std::chrono::milliseconds wait);
  std::vector<Waiting> WaitingOf(const std::vector<ApartOrg>& apart);
  // A reader, and the number of its session: another one may be of another history.
  struct Place {
    std::unique_ptr<eventlog::Reader> reader;
    uint64_t session = 0;
    uint64_t number = 0;
  };
  // The one that stands at `from`, or one that is opened there: not that which stands at `other`.
  // It comes first.
  absl::StatusOr<eventlog::Reader*> ReaderAt(Offset from, Offset other);
  // The number of what the reader that comes first has just read.
  uint64_t NumberOfRead();
  // Compares the stores of those who are to be given what was read under `number`, and what was
  // read for them, with the log.
  absl::Status Compare(uint64_t number, bool came, const std::vector<Waiting>& waiting);
  absl::StatusOr<bool> ReadAt(Offset from, Offset other, std::chrono::milliseconds wait,
                              std::vector<Waiting> waiting);
  void HandOut(std::vector<eventlog::StoredEvent> batch, Offset next,
               std::vector<Waiting>& waiting);
  void NoteReadFailure(const absl::Status& status, std::vector<Waiting>& waiting);
  void CloseReaders();
  size_t Held() const;

  void Fail(std::string_view org, Work& work, const absl::Status& status);
  bool stopping() const;

  const PartitionId partition_;
  eventlog::Log& log_;
  ApartWriter& stores_;
  const Clock& clock_;
  const StagingOptions& options_;
  StagingMetrics& metrics_;
  // The thread's own:
  std::map<std::string, Work> work_;
  bool highest_first_ = false;
  Backoff read_backoff_{std::chrono::milliseconds(100), std::chrono::milliseconds(10'000)};
  SteadyTime read_at_;
  uint64_t sessions_ = 0;
  eventlog::Cancellation comparing_;
  std::atomic<size_t> letters_held_ = 0;  // written by the thread alone

  mutable absl::Mutex mutex_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  bool woken_ ABSL_GUARDED_BY(mutex_) = false;
  // Made and moved by the thread alone; cancelled by others. The last used comes first.
  std::array<Place, 2> places_ ABSL_GUARDED_BY(mutex_);
  std::set<std::string> lost_events_ ABSL_GUARDED_BY(mutex_);
  absl::Status history_ ABSL_GUARDED_BY(mutex_);
  std::thread thread_;
};

}  // namespace sluice::projectors
