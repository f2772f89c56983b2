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
#include "projectors/staging/fold.h"
#include "projectors/staging/fold_view.h"
#include "projectors/store/org_db.h"
#include "projectors/store/record_codec.h"
#include "projectors/store/rocks_snapshot.h"

namespace sluice::projectors {

// One organisation's staging store. The FoldView part and Commit are for one thread at a time (the
// partition's projector); the rest is thread-safe. Readers never wait for a writer: each commit
// publishes a snapshot with the applied state and model that belong to it.
class RocksStore final : public FoldView {
 public:
  // Makes the store when it is missing. kDataLoss, code "store_corrupt", for one that is damaged or
  // another organisation's; kFailedPrecondition, code "store_of_other_log" or "store_format_newer".
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<RocksStore>> Open(
      std::shared_ptr<RocksEnv> env, std::string path, const StoreIdentity& identity);

  absl::StatusOr<std::vector<std::optional<Record>>> GetRecords(
      std::span<const RecordKey> keys) override;
  absl::StatusOr<std::vector<std::optional<Offset>>> GetChangeSets(
      std::span<const std::string> keys) override;
  absl::StatusOr<std::vector<std::optional<BucketState>>> GetBuckets(
      std::span<const BucketKey> keys) override;
  absl::Status ForEachRecord(
      EntityId entity,
      absl::FunctionRef<absl::Status(const RecordKey&, const Record&)> visit) override;

  // Writes a batch with its applied position, atomically but not durably, and publishes it.
  // `rejected` is kept with it until a later commit says, by `acknowledged`, that rejections of
  // events before that offset have been taken care of. On error nothing is written or published.
  [[nodiscard]] absl::Status Commit(const FoldBatch& batch, std::shared_ptr<const OrgModel> model,
                                    std::span<const Rejected> rejected, Offset acknowledged);
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

  std::shared_ptr<const RocksSnapshot> published() const;
  // Nobody but the store itself uses the database: closing it closes the database.
  bool idle() const;
  // The database, to be waited for after the store has gone.
  const std::shared_ptr<OrgDb>& database() const { return db_; }

  size_t memtable_bytes() const;
  uint64_t disk_bytes() const;
  const std::string& path() const { return db_->path(); }

 private:
  explicit RocksStore(std::shared_ptr<OrgDb> db) : db_(std::move(db)) {}
  absl::Status Load(const StoreIdentity& identity);
  RocksReader latest() const { return {*db_, nullptr}; }

  const std::shared_ptr<OrgDb> db_;
  std::string identity_to_write_;   // encoded; empty once it is in the store
  std::vector<Rejected> rejected_;  // in the store, ascending
  std::atomic<bool> dirty_{false};
  mutable absl::Mutex mutex_;
  std::shared_ptr<const RocksSnapshot> published_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace sluice::projectors
