#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

namespace rocksdb {
class Env;
class Status;
struct ColumnFamilyDescriptor;
struct DBOptions;
struct Options;
}  // namespace rocksdb

namespace sluice::projectors {

// What all stores of a process share: block cache, write buffer manager, rate limiter, background
// threads, and the options that follow from there being thousands of stores. Thread-safe.
class RocksEnv {
 public:
  struct Limits {
    size_t block_cache_bytes = 256 << 20;
    size_t write_buffer_bytes = 256 << 20;
    size_t open_stores_max = 1'000;
    int64_t dedup_window = 1'000'000;  // change sets two windows back are compacted away
  };
  explicit RocksEnv(const Limits& limits);
  ~RocksEnv();

  // For an organisation's store.
  rocksdb::DBOptions DatabaseOptions() const;
  // Of the same, in the order default, records, deltas, changesets, links, places.
  // `flushed_events` is where compactions read how far the store has come on disk:
  // AppliedState::events there.
  std::vector<rocksdb::ColumnFamilyDescriptor> StoreFamilies(
      std::shared_ptr<const std::atomic<uint64_t>> flushed_events) const;
  // For the node store: small, with a write-ahead log.
  rocksdb::Options NodeOptions() const;

  // How many stores may be open at once: what was asked for, or less where the process may not have
  // as many file descriptors.
  size_t open_stores_max() const { return open_stores_max_; }
  size_t cache_bytes() const;
  size_t memtable_bytes() const;
  size_t write_buffer_bytes() const { return limits_.write_buffer_bytes; }
  size_t block_cache_bytes() const { return limits_.block_cache_bytes; }
  // Snapshots that are alive, one of each open store's own included.
  std::atomic<int64_t>& snapshots() { return snapshots_; }
  // A reader met damage in some open store (OrgDb::damaged()).
  std::atomic<bool>& damage_seen() { return damage_seen_; }

 private:
  struct Shared;
  Limits limits_;
  size_t open_stores_max_ = 0;
  int max_open_files_ = 0;  // of one store
  std::unique_ptr<Shared> shared_;
  std::atomic<int64_t> snapshots_{0};
  std::atomic<bool> damage_seen_{false};
};

// RocksDB's environment, but that it opens nothing that is no regular file: a pipe in the place of
// a table would hold up for ever whoever opens it, and a folder would fail as if the disk did. Such
// a file is damage (rocksdb::Status::Corruption). Must outlive the databases. Thread-safe.
[[nodiscard]] std::unique_ptr<rocksdb::Env> NewRegularFilesEnv();

// A RocksDB error as ours, with `what` (such as "reading records of store /data/orgs/a/1") before
// it: kResourceExhausted "disk_full"; kDataLoss "store_corrupt"; kFailedPrecondition "store_in_use"
// or "store_read_only"; kUnavailable "store_io_error" for the rest, which may pass.
[[nodiscard]] absl::Status FromRocks(const rocksdb::Status& status, std::string_view what);

}  // namespace sluice::projectors
