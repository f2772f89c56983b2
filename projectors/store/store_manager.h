#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "eventlog/base/clock.h"
#include "eventlog/base/ids.h"
#include "projectors/staging/control_mark.h"
#include "projectors/staging/fold.h"
#include "projectors/store/applied_change.h"
#include "projectors/store/org_store.h"

namespace prometheus {
class Registry;
}

namespace sluice::projectors {

struct StoreOptions {
  std::string path;  // folder of all stores; made when missing
  // Stores of another log are refused, code "store_of_other_log". Empty: there must be stores, of
  // whatever log (for looking at them).
  std::string log_id;
  // Ids that this log had before (Log::FormerIds()): stores of one of these are deleted and built
  // anew, because positions of another epoch mean nothing.
  std::vector<std::string> former_log_ids;
  size_t block_cache_bytes = 256 << 20;   // shared by all stores
  size_t write_buffer_bytes = 256 << 20;  // shared by all stores: near it the largest is flushed
  size_t open_stores_max = 1'000;  // past it idle stores are flushed and closed, least recent first
  std::chrono::milliseconds checkpoint_interval{30'000};
  FoldOptions fold;
  // Called before a store is first read, or applied to, that has applied an event which no
  // checkpoint vouches for, unless the events that Apply() is given have shown it: is it in the log
  // still? What it returns is the reader's error; with kDataLoss, code "log_truncated" or
  // "log_diverged", Apply() ends. May block; thread-safe. Empty: not asked.
  std::function<absl::Status(PartitionId, Offset applied, uint64_t event_hash)> check_history;
  // Apply() may set organisations apart: whoever says so has a second thread for each partition
  // that folds them (ApplyApart). Otherwise large events are folded at once, and an organisation's
  // trouble is Apply()'s error.
  bool sets_apart = false;
  std::shared_ptr<prometheus::Registry> registry;
};

// An organisation that its partition's main thread passes over (docs/fold.md, "Apart").
struct ApartOrg {
  OrgId org;
  Offset next;          // its events from here on are to be folded apart
  std::string reason;   // "large_event", or the code of what is wrong with its store
  bool hidden = false;  // readers are told "not_caught_up" until it is given back
  // Another one where `next` has been set anew: what was read for the old one is not to be folded.
  uint64_t generation = 0;
  // When it was last known to hold all that the log had; never since the process started: nullopt.
  std::optional<SteadyTime> near = std::nullopt;
};

struct ApplyResult {
  std::vector<Rejected> rejected;
  FoldCounters counters;
};

// A checkpoint that has been begun (StoreManager::BeginCheckpoint). Where it is destroyed instead
// of being ended nothing has been written.
class PendingCheckpoint {
 public:
  virtual ~PendingCheckpoint() = default;
  // Makes durable what had been applied when it was begun. Blocks; once, on any thread.
  virtual void Flush() = 0;
};

// All staging stores of this process: one RocksDB an organisation and incarnation, opened on
// demand, and a small node store with each partition's checkpoint. Thread-safe; Apply for one
// partition is called by one thread at a time.
class StoreManager {
 public:
  // kFailedPrecondition, code "store_of_other_log", "store_read_only", "store_in_use" or
  // "store_format_newer"; kDataLoss, code "store_corrupt", where the node store is damaged;
  // kResourceExhausted, code "disk_full". A store
  // whose folder has gone is built anew: its partition's checkpoint goes back to its OrgOpened.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<StoreManager>> Open(StoreOptions options);
  virtual ~StoreManager() = default;

  // ---- for the staging projector ----

  // Where reading a partition must start: every store of the partition holds what lies before.
  // Whoever calls it reads from there on: the call also ends what "store_rewound" (below) asks for.
  virtual Offset CheckpointOf(PartitionId partition) = 0;
  // The last event of the partition that was applied before the checkpoint, for VerifyContinuity:
  // position and event hash only; kNoOffset where it is not known (a store is being built anew).
  virtual AppliedState CheckpointState(PartitionId partition) = 0;
  // Likewise of the last event that was handed to Apply whole; after a start, of the checkpoint's.
  virtual AppliedState LastApplied(PartitionId partition) { return CheckpointState(partition); }
  // The last event of each Apply() of something new since NoteCompared(); ascending. As with
  // LastApplied(), it does not matter who called it. The newest kSinceComparedMax are kept.
  static constexpr size_t kSinceComparedMax = 256;
  virtual std::vector<std::pair<Offset, uint64_t>> AppliedSinceCompared(PartitionId) { return {}; }
  // The log was seen to hold all of these up to `last`, which is kept: what is applied after it may
  // be of another history, which it tells though all that comes then fits.
  virtual void NoteCompared(PartitionId, Offset /*last*/) {}
  // LastApplied() is about to be compared, because the log may be another one. It says nothing of
  // stores that have applied more: they are compared before anything more is applied to them, or
  // read of them. By the thread that calls Apply().
  virtual void DoubtStoresAhead(PartitionId) {}
  // The newest event by which a store of the partition was made or removed, position and hash: to
  // be compared too before reading on, for that is remembered at once, whatever the checkpoint.
  virtual AppliedState LastNoted(PartitionId) { return {}; }
  // Remembers, over restarts, that an event was applied and that the log does not hold it: what has
  // been applied since may be of another history, with which all other comparisons fit.
  virtual absl::Status NoteLost(PartitionId, Offset /*offset*/, uint64_t /*event_hash*/) {
    return absl::OkStatus();
  }
  // That event, to be compared before reading on: the log may have been restored since.
  virtual AppliedState LastLost(PartitionId) { return {}; }
  // Of the events up to LastApplied().
  virtual ControlMark LastControl(PartitionId) { return {}; }

  // Folds events of one partition (any organisations, in log order) into their stores. Events that
  // a store has applied are skipped. On error nothing after the last whole organisation batch is
  // lost: call again with the same events. `partition` progress is remembered for the next
  // checkpoint. Rejections are ascending by offset, and of these events only; they are kept with
  // the store until the checkpoint passes them, so that reading on after a crash gives them again:
  // dead-letter them before calling Checkpoint(), or tell BeginCheckpoint() which are not, and
  // expect some twice.
  //
  // What goes wrong            | with options.sets_apart          | without
  // ---------------------------+----------------------------------+---------------------------------
  // an event of many rows      | the rest of it is folded apart   | it is folded in parts; where
  //                            |                                  | `stopping` says so: kCancelled
  // a store is damaged or      | its organisation is set apart,   | kDataLoss, kFailedPrecondition:
  // another's, or the fold     | the answer is OK                 | the others' events are applied
  // fails (kInternal)          |                                  |
  // a store's folder has gone, | as above                         | kAborted "store_rewound": call
  // or it went back to what    |                                  | CheckpointOf(), read from
  // there; was on disk                |                                  | Apply refuses until then
  // a store's folder is behind | as above; it goes on from what   | kDataLoss
  // the checkpoint             | is there                         |
  // the log is another         | kDataLoss "log_truncated", "log_diverged"
  // the disk is full or fails  | kResourceExhausted "disk_full", kUnavailable: call again
  virtual absl::StatusOr<ApplyResult> Apply(PartitionId partition,
                                            std::span<const eventlog::StoredEvent> events,
                                            absl::FunctionRef<bool()> stopping) = 0;
  absl::StatusOr<ApplyResult> Apply(PartitionId partition,
                                    std::span<const eventlog::StoredEvent> events) {
    return Apply(partition, events, [] { return false; });
  }

  // Flushes the partition's dirty stores and then writes its checkpoint. Returns the checkpoint's
  // offset (the next to read), which may then be committed as lag hint.
  // Blocks; the three steps below, one after the other.
  virtual absl::StatusOr<Offset> Checkpoint(PartitionId partition) = 0;

  // The same while events are applied. Begin takes the position, and End writes it: both are for
  // the thread that calls Apply(), and one is under way at a time; the flush between them is for
  // another thread. What is applied after Begin is not claimed. A store that cannot be flushed is
  // set apart with what it lacks on disk, and flushed by AdvanceApart(); the checkpoint goes on.
  // `untold`: the first event whose rejection is not in the dead letters yet, kNoOffset for none.
  // The checkpoint does not pass it: it stays at the end of some batch before, or where it was,
  // while the stores are flushed as far as they are.
  // Begin: nullptr where nothing has been applied since the last one.
  virtual std::unique_ptr<PendingCheckpoint> BeginCheckpoint(PartitionId /*partition*/,
                                                             Offset /*untold*/) {
    return nullptr;
  }
  // As Checkpoint(). After Flush().
  virtual absl::StatusOr<Offset> EndCheckpoint(std::unique_ptr<PendingCheckpoint> /*pending*/) {
    return kNoOffset;
  }

  // Sets apart whose stores were found damaged by readers, and compares with the log the stores
  // that an earlier process flushed after its last checkpoint. To be called now and then by the
  // thread that calls Apply(). kDataLoss, code "log_truncated" or "log_diverged", where a store of
  // the partition is of another history; also where a reader has found that.
  [[nodiscard]] virtual absl::Status LookForTrouble(PartitionId /*partition*/) {
    return absl::OkStatus();
  }

  // At `near` everything in the partition's log was folded, but for who is apart; nullopt: not
  // since the partition was opened. Who is set apart from now on was as near as that.
  virtual void NoteNear(PartitionId /*partition*/, std::optional<SteadyTime> /*near*/) {}

  // Applied offset of the partition: the last event handed to Apply whole, kNoOffset for none.
  virtual Offset Applied(PartitionId partition) = 0;

  // ---- for the partition's second thread, which folds who is apart ----

  virtual std::vector<ApartOrg> ApartOf(PartitionId /*partition*/) { return {}; }
  virtual std::optional<ApartOrg> ApartStateOf(PartitionId /*partition*/, const OrgId& /*org*/) {
    return std::nullopt;
  }
  // From where on its events are needed: `next`, or what follows what its store holds already, for
  // instance because the folder came back from a backup, and what of it is to be dead-lettered and
  // is in the log from `begin` on. Opens the store, so it may set `next` anew.
  virtual Offset ApartFrom(PartitionId /*partition*/, const ApartOrg& apart, Offset /*begin*/) {
    return apart.next;
  }
  // Compares what the organisation's store has applied with the log, before it is given events of
  // a reader that may be of another history. kDataLoss, code "log_truncated" or "log_diverged",
  // which LookForTrouble() tells the main thread, too; kUnavailable where the log cannot tell now.
  // What is wrong with the store itself is told by ApplyApart(). Waits up to 30 s for a log that
  // takes long, but some seconds at most once `stopping` says so.
  [[nodiscard]] virtual absl::Status CheckApart(PartitionId /*partition*/,
                                                const ApartOrg& /*apart*/,
                                                absl::FunctionRef<bool()> /*stopping*/) {
    return absl::OkStatus();
  }
  // Takes the first of `events`, which are all of the organisation's from that place on, in order,
  // and adds to `result`. `apart` is as ApartOf() gave it. Returns how many are done: at least one,
  // or 0 where the first is done in part. kAborted, code "apart_changed", where `next` has been set
  // anew; any other error is the organisation's own, to be retried with back-off.
  virtual absl::StatusOr<size_t> ApplyApart(PartitionId /*partition*/, const ApartOrg& /*apart*/,
                                            std::span<const eventlog::StoredEvent> events,
                                            ApplyResult* /*result*/) {
    return events.size();
  }
  // Everything of the organisation below `next` is applied, and its rejections dead-lettered. True
  // where it is given back to the main thread; nothing is done where its own `next` has been set
  // anew. May flush its store, or read some of it: kUnavailable, code "store_reading", says that it
  // gets on, and is to be called again; another error is its own, to be retried with back-off.
  virtual absl::StatusOr<bool> AdvanceApart(PartitionId /*partition*/, const ApartOrg& /*apart*/,
                                            Offset /*next*/) {
    return false;
  }

  // ---- for readers ----

  // kNotFound, code "org_not_found", where no open organisation of that name has been applied here.
  // kResourceExhausted, code "stores_busy", where twice the limit of stores are open and in use, or
  // the log is slow to tell whether it holds what the store does;
  // kUnavailable, code "not_caught_up", for a store that was opened amid a large event or is being
  // built anew; code "log_truncated" or "log_diverged" where it has events that the log has not.
  virtual absl::StatusOr<std::shared_ptr<const OrgSnapshot>> Snapshot(const OrgId& org) = 0;

  // The offset at which (source, id) was applied within the window, nullopt otherwise.
  virtual absl::StatusOr<std::optional<Offset>> FindChangeSet(const OrgId& org,
                                                              std::string_view source,
                                                              std::string_view id) = 0;

  using AppliedCallback = projectors::AppliedCallback;
  // Calls `callback` after each batch applied to `org` that readers see (also when it is closed,
  // with its last offset) until Unsubscribe returns. Whatever differs between two snapshots is
  // named by the calls that come between the first and right after the second. The callback must
  // only enqueue: it runs on the projector's thread.
  virtual uint64_t Subscribe(const OrgId& org, AppliedCallback callback) = 0;
  virtual void Unsubscribe(uint64_t subscription) = 0;

  // The organisation's last applied event, kNoOffset where nothing of it has been applied here.
  virtual Offset AppliedOf(const OrgId& org) = 0;
  // The same by what is known without opening a store, for whoever asks for many: less, where the
  // store has not been opened since the start and its partition has not caught up.
  virtual Offset KnownAppliedOf(const OrgId& org) { return AppliedOf(org); }

  struct OrgStat {
    OrgId org;
    PartitionId partition;
    uint32_t incarnation = 0;
    AppliedState applied;
    uint64_t disk_bytes = 0;
    // Why the store cannot be read now: `applied` says nothing then, unless it has `partial`. That
    // is a store which was left amid a large event, as it was found.
    absl::Status status{};
  };
  // Stores on disk, ascending by organisation.
  virtual absl::StatusOr<std::vector<OrgStat>> ListStores() = 0;

  // Checks a whole store against itself: every delta belongs to its record, counts and checksums of
  // every bucket by computing them anew. kDataLoss with the first difference.
  virtual absl::Status Verify(const OrgId& org) = 0;

  // A 128-bit digest, as hex, over the live content of a store in canonical order (records, deltas,
  // buckets, model, applied position): equal for equal folds.
  virtual absl::StatusOr<std::string> Digest(const OrgId& org) = 0;

  // Flushes and closes everything; writes no checkpoint. Nothing may be called afterwards.
  virtual absl::Status Close() = 0;
};

}  // namespace sluice::projectors
