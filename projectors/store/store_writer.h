#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "eventlog/event.h"
#include "projectors/fold/fold.h"
#include "projectors/store/apart_writer.h"
#include "schemas/base/clock.h"
#include "schemas/base/ids.h"

namespace sluice::projectors {

// A checkpoint that has been begun (StoreWriter::BeginCheckpoint). Where it is destroyed instead
// of being ended nothing has been written.
class PendingCheckpoint {
 public:
  virtual ~PendingCheckpoint() = default;
  // Makes durable what had been applied when it was begun. Blocks; once, on any thread.
  virtual void Flush() = 0;
};

// What the driver of the fold writes to the staging stores, and what it has to know of them to read
// on. Thread-safe; Apply() for one partition is called by one thread at a time.
class StoreWriter : public ApartWriter {
 public:
  // Where reading a partition must start: every store of the partition holds what lies before.
  // Whoever calls it reads from there on: the call also ends what "store_rewound" (below) asks for,
  // and is for the thread that calls Apply().
  virtual Offset CheckpointOf(PartitionId partition) = 0;
  // The last event of the partition that was applied before the checkpoint, for VerifyContinuity:
  // position and event hash only; kNoOffset where it is not known (a store is being built anew).
  virtual AppliedState CheckpointState(PartitionId partition) = 0;
  // The last event of each Apply() of something new since NoteCompared(); ascending. As with
  // LastApplied(), it does not matter who called it. The newest kSinceComparedMax are kept.
  static constexpr size_t kSinceComparedMax = 256;
  virtual std::vector<std::pair<Offset, uint64_t>> AppliedSinceCompared(PartitionId partition) = 0;
  // The log was seen to hold all of these up to `last`, which is kept: what is applied after it may
  // be of another history, which it tells though all that comes then fits.
  virtual void NoteCompared(PartitionId partition, Offset last) = 0;
  // LastApplied() is about to be compared, because the log may be another one. It says nothing of
  // stores that have applied more: they are compared before anything more is applied to them, or
  // read of them. By the thread that calls Apply().
  virtual void DoubtStoresAhead(PartitionId partition) = 0;
  // The newest event by which a store of the partition was made or removed, position and hash: to
  // be compared too before reading on, for that is remembered at once, whatever the checkpoint.
  virtual AppliedState LastNoted(PartitionId partition) = 0;
  // Remembers, over restarts, that an event was applied and that the log does not hold it: what has
  // been applied since may be of another history, with which all other comparisons fit.
  virtual absl::Status NoteLost(PartitionId partition, Offset offset, uint64_t event_hash) = 0;
  // That event, to be compared before reading on: the log may have been restored since.
  virtual AppliedState LastLost(PartitionId partition) = 0;
  // Of the events up to LastApplied().
  virtual ControlMark LastControl(PartitionId partition) = 0;

  // Folds events of one partition (any organisations, in log order) into their stores. Events that
  // a store has applied are skipped. On error nothing after the last whole organisation batch is
  // lost: call again with the same events. `partition` progress is remembered for the next
  // checkpoint. Rejections are ascending by offset, and of these events only; they are kept with
  // the store until the checkpoint passes them, so that reading on after a crash gives them again:
  // dead-letter them before a checkpoint is begun, or tell BeginCheckpoint() which are not, and
  // expect some twice.
  //
  // What goes wrong             | with options.sets_apart        | without
  // ----------------------------+--------------------------------+--------------------------------
  // an event of many rows       | the rest of it is folded apart | it is folded in parts; where
  //                             |                                | `stopping` says so: kCancelled
  // a store is damaged or       | its organisation is set apart, | kDataLoss, kFailedPrecondition:
  // another's, or the fold      | the answer is OK               | the others' events are applied
  // fails (kInternal)           |                                |
  // a store's folder has gone,  | as above                       | kAborted "store_rewound": call
  // or the store went back to   |                                | CheckpointOf(), read from there;
  // what was on disk            |                                | Apply() refuses until then
  // a store's folder is behind  | as above; it goes on from what | kDataLoss
  // the checkpoint              | is there                       |
  // the log is another          | kDataLoss "log_truncated", "log_diverged"
  // the disk is full or fails   | kResourceExhausted "disk_full", kUnavailable: call again
  virtual absl::StatusOr<ApplyResult> Apply(PartitionId partition,
                                            std::span<const eventlog::StoredEvent> events,
                                            absl::FunctionRef<bool()> stopping) = 0;
  absl::StatusOr<ApplyResult> Apply(PartitionId partition,
                                    std::span<const eventlog::StoredEvent> events) {
    return Apply(partition, events, [] { return false; });
  }

  // Flushes the partition's dirty stores and then writes its checkpoint, while events are applied.
  // Begin takes the position, and End writes it: both are for the thread that calls Apply(), and
  // one is under way at a time; the flush between them may be on another thread. What is applied
  // after Begin is not claimed. A store that cannot be flushed is set apart with what it lacks on
  // disk, and flushed by AdvanceApart(); the checkpoint goes on. `untold`: the first event whose
  // rejection is not in the dead letters yet, kNoOffset for none. The checkpoint does not pass it:
  // it stays at the end of some batch before, or where it was, while the stores are flushed as far
  // as they are. Begin: nullptr where nothing has been applied since the last one.
  virtual std::unique_ptr<PendingCheckpoint> BeginCheckpoint(PartitionId partition,
                                                             Offset untold) = 0;
  // After Flush(). Returns the checkpoint's offset (the next to read), which may then be committed
  // as lag hint.
  virtual absl::StatusOr<Offset> EndCheckpoint(std::unique_ptr<PendingCheckpoint> pending) = 0;

  // Sets apart whose stores were found damaged by readers, and compares with the log the stores
  // that an earlier process flushed after its last checkpoint. To be called now and then by the
  // thread that calls Apply(). kDataLoss, code "log_truncated" or "log_diverged", where a store of
  // the partition is of another history; also where a reader has found that.
  [[nodiscard]] virtual absl::Status LookForTrouble(PartitionId partition) = 0;

  // At `near` everything in the partition's log was folded, but for who is apart; nullopt: not
  // since the partition was opened. Who is set apart from now on was as near as that.
  virtual void NoteNear(PartitionId partition, std::optional<SteadyTime> near) = 0;

  // Applied offset of the partition: the last event handed to Apply whole, kNoOffset for none.
  virtual Offset Applied(PartitionId partition) = 0;
};

}  // namespace sluice::projectors
