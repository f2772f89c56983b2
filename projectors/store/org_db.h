#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "projectors/store/rocks_env.h"

namespace rocksdb {
class ColumnFamilyHandle;
class DB;
}  // namespace rocksdb

namespace sluice::projectors {

// Of a store that holds less than it was known to hold.
inline constexpr std::string_view kStoreRewound = "store_rewound";

// Of a store that is read as a whole, a part a call: the next call goes on.
inline constexpr std::string_view kStoreReading = "store_reading";

// Is `code` that of one store's trouble which the next try has mended? It is being read, or was
// opened anew.
[[nodiscard]] inline bool IsSoonOver(std::string_view code) {
  return code == "store_busy" || code == "store_reopened" || code == kStoreReading;
}

// An open RocksDB of one organisation. Shared by its store and its snapshots: closed when the last
// of them goes. Thread-safe as RocksDB is.
class OrgDb {
 public:
  // Makes the database when it is missing. kDataLoss, code "store_corrupt", for a damaged one;
  // the errors of PrepareFolder.
  [[nodiscard]] static absl::StatusOr<std::shared_ptr<OrgDb>> Open(std::shared_ptr<RocksEnv> env,
                                                                   std::string path);
  ~OrgDb();

  rocksdb::DB& db() const { return *db_; }
  rocksdb::ColumnFamilyHandle* defaults() const { return handles_[0]; }
  rocksdb::ColumnFamilyHandle* records() const { return handles_[1]; }
  rocksdb::ColumnFamilyHandle* deltas() const { return handles_[2]; }
  rocksdb::ColumnFamilyHandle* change_sets() const { return handles_[3]; }
  rocksdb::ColumnFamilyHandle* links() const { return handles_[4]; }
  rocksdb::ColumnFamilyHandle* places() const { return handles_[5]; }
  const std::vector<rocksdb::ColumnFamilyHandle*>& handles() const { return handles_; }

  RocksEnv& env() const { return *env_; }
  const std::string& path() const { return path_; }
  int64_t applied() const { return applied_.load(); }
  void set_applied(int64_t offset) { applied_.store(offset); }
  // AppliedState::events of what was applied.
  uint64_t events() const { return events_.load(); }
  void set_events(uint64_t events) { events_.store(events); }
  // What a reader met says that the data are damaged: the store is to be built anew. Returns
  // `status`, where it says so with the code "store_corrupt".
  absl::Status Note(absl::Status status) const;
  bool damaged() const { return damaged_; }
  // A reader met an error of the disk (code "store_io_error").
  bool io_failed() const { return io_failed_; }
  // Where that is so, reads every block of the tables that there are at the first call: what is
  // written later was written by a disk that is well. Tables are read until `time` is over, one at
  // least, for whoever else has to be done on the caller's thread: kUnavailable, code
  // "store_reading", while some are left, from which the next call goes on; OK, and it is so no
  // more; or what is wrong, after which it begins anew. By one thread at a time.
  [[nodiscard]] absl::Status ReadOn(std::chrono::milliseconds time);
  // Tells compactions how far the store has come on disk: what they drop is gone, and after a crash
  // the store goes on from there, not from what it had applied.
  void set_flushed_events(uint64_t events) { flushed_events_->store(events); }

 private:
  OrgDb() = default;
  std::vector<std::string> Tables() const;
  absl::Status ReadTable(const std::string& name) const;
  std::shared_ptr<RocksEnv> env_;
  std::string path_;
  mutable std::atomic<bool> damaged_{false};
  mutable std::atomic<bool> io_failed_{false};
  std::vector<std::string> to_read_;  // tables that ReadOn() has yet to read
  std::atomic<int64_t> applied_{-1};
  std::atomic<uint64_t> events_{0};
  std::shared_ptr<std::atomic<uint64_t>> flushed_events_;
  rocksdb::DB* db_ = nullptr;
  std::vector<rocksdb::ColumnFamilyHandle*> handles_;
};

}  // namespace sluice::projectors
