#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "eventlog/epoch.h"
#include "eventlog/log.h"
#include "schemas/base/clock.h"

namespace rocksdb {
class DB;
class Status;
class WriteBatch;
}  // namespace rocksdb

namespace sluice::eventlog {

// The embedded log's RocksDB: keys, bytes and errors, but no queue, no waiting and no notion of the
// current end. Thread-safe, except that only one thread may call Write() and Recover().
class LogStore {
 public:
  // One event to write.
  struct Entry {
    Topic topic;
    PartitionId partition;
    Offset offset;
    std::string_view bytes;
  };

  // What an opening may do. A tool that only looks takes a log as it is: any partition count, and
  // nothing is made that is missing.
  enum class Use { kServe, kInspect };

  // Opens the store or, to serve, makes a new one, named by `clock` and chance. Errors as
  // EmbeddedLog::Open().
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<LogStore>> Open(const std::string& path,
                                                                      int32_t partitions,
                                                                      const Clock& clock,
                                                                      Use use = Use::kServe);
  ~LogStore();

  // "<name>#<epoch>"; the name alone where a log of before epochs is inspected.
  const std::string& log_id() const { return log_id_; }
  // As Log::FormerIds().
  std::vector<std::string> former_ids() const { return FormerIdsOf(log_name_, former_epochs_); }
  // Made with the log, the same in every epoch.
  const std::string& log_name() const { return log_name_; }
  int32_t partitions() const { return partitions_; }

  // Writes a new random epoch, synced, which is part of log_id() from then on.
  [[nodiscard]] absl::Status StartEpoch();

  // What the partition holds, from its stored begin and its last key.
  [[nodiscard]] absl::StatusOr<OffsetRange> LoadRange(Topic topic, PartitionId partition) const;

  // Writes `entries` atomically and syncs; each partition's offsets go on from its end. After a
  // failure (kUnavailable) they may be on disk nevertheless: what is there is removed by the next
  // Write() that succeeds, or found by the next process as one whole batch.
  [[nodiscard]] absl::Status Write(const std::vector<Entry>& entries);

  // Makes the store writable again after a failed Write(); an error while the cause lasts.
  [[nodiscard]] absl::Status Recover();

  // Removes [old_begin, begin) and stores `begin`, synced.
  [[nodiscard]] absl::Status RemoveBefore(Topic topic, PartitionId partition, Offset old_begin,
                                          Offset begin);

  // Calls `visit` for the events from `from` on and before `end`, until it returns false. The bytes
  // are valid during the call.
  [[nodiscard]] absl::Status Scan(Topic topic, PartitionId partition, Offset from, Offset end,
                                  absl::FunctionRef<bool(Offset, std::string_view)> visit) const;

 private:
  LogStore(std::string path, std::unique_ptr<rocksdb::DB> db);

  // Checks a former log's description, or writes a new one's.
  absl::Status LoadDescription(int32_t partitions, const Clock& clock, Use use);
  absl::Status WriteDescription(int32_t partitions, const Clock& clock);
  // The value of a key of the description; empty where there is none.
  absl::StatusOr<std::string> Get(std::string_view key) const ABSL_LOCKS_EXCLUDED(db_mu_);
  absl::Status WriteSynced(rocksdb::WriteBatch& batch) ABSL_LOCKS_EXCLUDED(db_mu_);
  // Remembers what a failed write may have left.
  void Doubt(const std::vector<Entry>& entries);
  absl::Status WriteError(const rocksdb::Status& status) const;
  absl::Status ReadError(const rocksdb::Status& status) const;

  const std::string path_;
  // Shared by all uses of the database, exclusive while it is opened anew.
  mutable absl::Mutex db_mu_;
  std::unique_ptr<rocksdb::DB> db_ ABSL_GUARDED_BY(db_mu_);
  std::atomic<bool> must_reopen_ = false;  // a write has failed
  std::string log_name_;
  std::string log_id_;
  std::vector<std::string> former_epochs_;  // oldest first
  int32_t partitions_ = 0;
  // Key ranges, first to end, that failed writes may have left; by their first key.
  std::map<std::string, std::string> doubtful_;
};

}  // namespace sluice::eventlog
