#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "projectors/fold/fold.h"
#include "projectors/fold/fold_view.h"
#include "projectors/store/org_db.h"
#include "projectors/store/record_codec.h"
#include "projectors/store/rocks_snapshot.h"

namespace rocksdb {
class WriteBatch;
}  // namespace rocksdb

namespace sluice::projectors {

// One organisation's staging store. The FoldView part and Commit are for one thread at a time (the
// partition's projector); the rest is thread-safe. Readers never wait for a writer: each commit
// publishes a snapshot with the applied state and model that belong to it.
class RocksStore final : public RocksReader {
 public:
  // Makes the store when it is missing. kDataLoss, code "store_corrupt", for one that is damaged or
  // another organisation's; kFailedPrecondition, code "store_of_other_log", "store_format_newer" or
  // "store_format_older".
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<RocksStore>> Open(
      std::shared_ptr<RocksEnv> env, std::string path, const StoreIdentity& identity);

  // How far the store has come, and the definitions there: what the next batch is folded onto.
  // `partial` is set amid a large event; what is published is then the state before it.
  const AppliedState& applied() const { return applied_; }
  const std::shared_ptr<const OrgModel>& model() const { return model_; }

  // Writes a batch with its applied position, atomically but not durably, and publishes it where it
  // ends with a whole event.
  // `rejected` is kept with it until a later commit says, by `acknowledged`, that rejections of
  // events before that offset have been taken care of. On error nothing is written or published.
  [[nodiscard]] absl::Status Commit(const FoldBatch& batch, std::shared_ptr<const OrgModel> model,
                                    std::span<const Rejected> rejected, Offset acknowledged);
  // After a commit of `puts` operations: looks a little further for removals that the horizon has
  // passed, and erases them with what remembers them, and the history up to there. How far is in
  // proportion to `puts`, so that a store's size follows its live rows, but over some MiB at most
  // of operations that it passes, and of records that it changes. Not seen by readers, for whom
  // such removals are gone. Returns how many it has erased.
  [[nodiscard]] absl::StatusOr<size_t> Sweep(size_t puts);
  // Appends the kept rejections of `events`, which are all applied, from offset `from` on.
  void RejectionsOf(std::span<const eventlog::StoredEvent> events, Offset from,
                    std::vector<Rejected>* out) const;

  // Those of events from offset `from` on.
  std::vector<Rejected> RejectionsFrom(Offset from) const;

  // Makes what was committed durable. `wait` false only starts it. kResourceExhausted, code
  // "disk_full", before RocksDB gets to try.
  [[nodiscard]] absl::Status Flush(bool wait = true);
  // Ends a background error after its cause has gone. kUnavailable, code "store_fatal", where only
  // opening the store again, as it was at its last flush, can help.
  [[nodiscard]] absl::Status Resume();
  bool dirty() const { return dirty_; }  // committed since the last flush began

  // nullptr in a store that was opened amid a large event, until that is complete.
  std::shared_ptr<const RocksSnapshot> published() const;
  // How far it was when it was opened, where that was amid a large event.
  const std::optional<AppliedState>& opened_amid() const { return opened_amid_; }
  // Nobody but the store itself uses the database: closing it closes the database.
  bool idle() const;
  // The database, to be waited for after the store has gone.
  const std::shared_ptr<OrgDb>& database() const { return db_; }

  size_t memtable_bytes() const;
  uint64_t disk_bytes() const;
  const std::string& path() const { return db_->path(); }

 private:
  struct OldRemoval {
    RecordKey key;
    BucketKey bucket;
    Position position;
  };
  using Places = std::vector<std::pair<BucketKey, Position>>;
  absl::StatusOr<size_t> EraseRemovals(std::span<const OldRemoval> removals);
  absl::Status EraseStates(std::span<const OldRemoval> removals, rocksdb::WriteBatch* batch);
  absl::Status EraseRemovalsOf(const RecordKey& key, std::optional<Record> record,
                               const Places& places, rocksdb::WriteBatch* batch);
  absl::Status TrimHistory();
  explicit RocksStore(std::shared_ptr<OrgDb> db) : RocksReader(*db, nullptr), db_(std::move(db)) {}
  absl::Status Load(const StoreIdentity& identity);

  const std::shared_ptr<OrgDb> db_;
  std::string identity_to_write_;  // encoded; empty once it is in the store
  AppliedState applied_;
  std::optional<AppliedState> opened_amid_;  // not changed after Open()
  std::shared_ptr<const OrgModel> model_;
  std::vector<Rejected> rejected_;  // in the store, ascending
  std::string sweep_from_;          // in `deltas`; empty: no sweep is under way
  Offset swept_ = kNoOffset;        // the horizon of the last sweep
  size_t puts_since_sweep_ = 0;
  Offset trimmed_ = kNoOffset;   // the history up to here has been erased
  uint64_t events_at_trim_ = 0;  // AppliedState::events of then
  std::atomic<bool> dirty_{false};
  mutable absl::Mutex mutex_;
  std::shared_ptr<const RocksSnapshot> published_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace sluice::projectors
