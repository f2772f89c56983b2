#include "projectors/store/rocks_env.h"

#include <fmt/format.h>
#if __has_include(<rocksdb/advanced_cache.h>)
#include <rocksdb/advanced_cache.h>  // since RocksDB 8.1 the class is there
#endif
#include <rocksdb/cache.h>
#include <rocksdb/compaction_filter.h>
#include <rocksdb/db.h>
#include <rocksdb/env.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/options.h>
#include <rocksdb/rate_limiter.h>
#include <rocksdb/slice_transform.h>
#include <rocksdb/table.h>
#include <rocksdb/table_properties.h>
#include <rocksdb/write_buffer_manager.h>
#include <spdlog/spdlog.h>
#include <sys/resource.h>

#include <algorithm>
#include <string>
#include <utility>

#include "projectors/store/record_codec.h"
#include "schemas/base/status.h"

namespace sluice::projectors {
namespace {

constexpr size_t kArenaBlockBytes = 32 << 10;  // an idle store's six memtables stay near 192 KiB
constexpr size_t kMemtableBytes = 32 << 20;    // of one family; the manager bounds the sum
constexpr int64_t kBackgroundBytesPerSecond = 512 << 20;
constexpr int kReservedFiles = 256;   // for everything that is not a store
constexpr int kFilesPerStoreMin = 8;  // LOCK, LOG, MANIFEST, the empty WAL, directories
constexpr int kTablesPerStoreMin = 20;
constexpr int kTablesPerStoreMax = 512;

// Marks a table for compaction when some stretch of it is mostly tombstones. RocksDB's own
// CompactOnDeletionCollector does not count single deletions, which are all that `deltas` has.
class TombstoneCollector final : public rocksdb::TablePropertiesCollector {
 public:
  rocksdb::Status AddUserKey(const rocksdb::Slice&, const rocksdb::Slice&, rocksdb::EntryType type,
                             rocksdb::SequenceNumber, uint64_t) override {
    entries_ += 1;
    if (type == rocksdb::kEntryDelete || type == rocksdb::kEntrySingleDelete) {
      tombstones_ += 1;
    }
    if (entries_ == kStretch) {
      need_compact_ = need_compact_ || tombstones_ >= kStretch / 2;
      entries_ = 0;
      tombstones_ = 0;
    }
    return rocksdb::Status::OK();
  }
  rocksdb::Status Finish(rocksdb::UserCollectedProperties*) override {
    return rocksdb::Status::OK();
  }
  rocksdb::UserCollectedProperties GetReadableProperties() const override { return {}; }
  const char* Name() const override { return "sluice.TombstoneCollector"; }
  bool NeedCompact() const override { return need_compact_; }

 private:
  static constexpr uint32_t kStretch = 2048;
  uint32_t entries_ = 0;
  uint32_t tombstones_ = 0;
  bool need_compact_ = false;
};

class TombstoneCollectorFactory final : public rocksdb::TablePropertiesCollectorFactory {
 public:
  rocksdb::TablePropertiesCollector* CreateTablePropertiesCollector(Context) override {
    return new TombstoneCollector();
  }
  const char* Name() const override { return "sluice.TombstoneCollectorFactory"; }
};

// Drops change sets of which the fold no longer asks. Two windows, not one, because a compaction
// does not see snapshots: a reader that computes a digest must not lose entries under its feet.
class ChangeSetFilter final : public rocksdb::CompactionFilter {
 public:
  explicit ChangeSetFilter(uint64_t floor) : floor_(floor) {}
  bool Filter(int, const rocksdb::Slice&, const rocksdb::Slice& value, std::string*,
              bool*) const override {
    const auto set = DecodeChangeSet({value.data(), value.size()});
    return set.ok() && set->ordinal < floor_;
  }
  const char* Name() const override { return "sluice.ChangeSetFilter"; }

 private:
  uint64_t floor_;
};

class ChangeSetFilterFactory final : public rocksdb::CompactionFilterFactory {
 public:
  ChangeSetFilterFactory(std::shared_ptr<const std::atomic<uint64_t>> flushed_events,
                         int64_t window)
      : flushed_events_(std::move(flushed_events)), window_(static_cast<uint64_t>(window)) {}
  std::unique_ptr<rocksdb::CompactionFilter> CreateCompactionFilter(
      const rocksdb::CompactionFilter::Context&) override {
    const uint64_t flushed = flushed_events_->load();
    return std::make_unique<ChangeSetFilter>(flushed / 2 > window_ ? flushed - 2 * window_ : 0);
  }
  const char* Name() const override { return "sluice.ChangeSetFilterFactory"; }

 private:
  std::shared_ptr<const std::atomic<uint64_t>> flushed_events_;
  uint64_t window_;
};

// How many files the process may have open.
int64_t FileLimit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) {
    return 1 << 20;
  }
  return static_cast<int64_t>(std::min<rlim_t>(limit.rlim_cur, 1 << 20));
}

// Of all databases, which there are thousands of.
void SetCommon(rocksdb::Env* files, rocksdb::DBOptions* options) {
  options->env = files;
  options->create_if_missing = true;
  options->max_background_jobs = 2;
  options->manifest_preallocation_size = 16 << 10;
  options->info_log_level = rocksdb::InfoLogLevel::WARN_LEVEL;
  options->max_log_file_size = 256 << 10;
  options->keep_log_file_num = 2;
  options->stats_dump_period_sec = 0;
  options->stats_persist_period_sec = 0;
}

rocksdb::BlockBasedTableOptions TableOptions(const std::shared_ptr<rocksdb::Cache>& cache) {
  rocksdb::BlockBasedTableOptions table;
  table.block_cache = cache;
  // Index and filter blocks count in the cache: otherwise thousands of stores have no bound.
  table.cache_index_and_filter_blocks = true;
  table.cache_index_and_filter_blocks_with_high_priority = true;
  table.pin_l0_filter_and_index_blocks_in_cache = false;
  table.format_version = 5;
  table.checksum = rocksdb::kXXH3;
  table.block_size = 8 << 10;
  table.optimize_filters_for_memory = true;
  return table;
}

}  // namespace

struct RocksEnv::Shared {
  std::unique_ptr<rocksdb::Env> files = NewRegularFilesEnv();
  std::shared_ptr<rocksdb::Cache> cache;
  std::shared_ptr<rocksdb::WriteBufferManager> write_buffers;
  std::shared_ptr<rocksdb::RateLimiter> rate_limiter;
};

RocksEnv::RocksEnv(const Limits& limits) : limits_(limits), shared_(std::make_unique<Shared>()) {
  // Index and filter blocks go to the high-priority half, so that bulk scans do not push them out.
  shared_->cache = rocksdb::NewLRUCache(limits.block_cache_bytes, -1, false, 0.5);
  shared_->write_buffers = std::make_shared<rocksdb::WriteBufferManager>(limits.write_buffer_bytes);
  // Smooths what flushes and compactions write, so that they do not starve synced log writes.
  shared_->rate_limiter.reset(
      rocksdb::NewGenericRateLimiter(kBackgroundBytesPerSecond, 100'000, 10,
                                     rocksdb::RateLimiter::Mode::kWritesOnly, /*auto_tuned=*/true));
  rocksdb::Env* env = rocksdb::Env::Default();
  env->IncBackgroundThreadsIfNeeded(2, rocksdb::Env::Priority::LOW);
  env->IncBackgroundThreadsIfNeeded(2, rocksdb::Env::Priority::HIGH);

  const int64_t files = std::max<int64_t>(FileLimit() / 2, FileLimit() - kReservedFiles) / 2;
  const int64_t stores_max = std::max<int64_t>(1, files / (kFilesPerStoreMin + kTablesPerStoreMin));
  open_stores_max_ = std::min<size_t>(std::max<size_t>(1, limits.open_stores_max),
                                      static_cast<size_t>(stores_max));
  if (open_stores_max_ < limits.open_stores_max) {
    spdlog::warn("open_stores_lowered wanted={} allowed={} file_limit={}", limits.open_stores_max,
                 open_stores_max_, FileLimit());
  }
  max_open_files_ = static_cast<int>(
      std::clamp<int64_t>(files / static_cast<int64_t>(open_stores_max_) - kFilesPerStoreMin,
                          kTablesPerStoreMin, kTablesPerStoreMax));
}

RocksEnv::~RocksEnv() = default;

size_t RocksEnv::cache_bytes() const { return shared_->cache->GetUsage(); }
size_t RocksEnv::memtable_bytes() const { return shared_->write_buffers->memory_usage(); }

rocksdb::DBOptions RocksEnv::DatabaseOptions() const {
  rocksdb::DBOptions options;
  SetCommon(shared_->files.get(), &options);
  options.create_missing_column_families = true;
  options.atomic_flush = true;
  options.write_buffer_manager = shared_->write_buffers;
  options.rate_limiter = shared_->rate_limiter;
  options.max_open_files = max_open_files_;
  options.max_file_opening_threads = 1;
  options.skip_stats_update_on_db_open = true;
  options.skip_checking_sst_file_sizes_on_db_open = true;
  options.avoid_unnecessary_blocking_io = true;
  // Whoever closes a store flushes it; a store that is only dropped is read on from the log.
  options.avoid_flush_during_shutdown = true;
  options.bytes_per_sync = 1 << 20;
  options.max_manifest_file_size = 4 << 20;
  return options;
}

std::vector<rocksdb::ColumnFamilyDescriptor> RocksEnv::StoreFamilies(
    std::shared_ptr<const std::atomic<uint64_t>> flushed_events) const {
  rocksdb::ColumnFamilyOptions base;  // scanned, and with the tables' own index alone
  base.write_buffer_size = kMemtableBytes;
  base.arena_block_size = kArenaBlockBytes;
  base.max_write_buffer_number = 4;
  base.level_compaction_dynamic_level_bytes = true;
  base.target_file_size_base = 16 << 20;
  base.max_bytes_for_level_base = 64 << 20;
  base.compression = rocksdb::kLZ4Compression;
  const std::shared_ptr<const rocksdb::FilterPolicy> bloom(rocksdb::NewBloomFilterPolicy(10));

  rocksdb::BlockBasedTableOptions point_table = TableOptions(shared_->cache);
  point_table.filter_policy = bloom;
  rocksdb::ColumnFamilyOptions point = base;
  point.table_factory.reset(rocksdb::NewBlockBasedTableFactory(point_table));
  point.compaction_pri = rocksdb::kMinOverlappingRatio;

  rocksdb::ColumnFamilyOptions records = point;
  records.bottommost_compression = rocksdb::kZSTD;
  records.bottommost_compression_opts.level = 1;
  records.bottommost_compression_opts.enabled = true;

  // Scanned: larger blocks, and a filter on the bucket, so that a reader of one bucket does not
  // open the tables that have nothing of it.
  rocksdb::BlockBasedTableOptions scan_table = TableOptions(shared_->cache);
  scan_table.block_size = 32 << 10;
  scan_table.filter_policy = bloom;
  scan_table.whole_key_filtering = false;
  rocksdb::ColumnFamilyOptions deltas = base;
  deltas.prefix_extractor.reset(rocksdb::NewFixedPrefixTransform(16));
  deltas.table_factory.reset(rocksdb::NewBlockBasedTableFactory(scan_table));
  deltas.table_properties_collector_factories.push_back(
      std::make_shared<TombstoneCollectorFactory>());

  rocksdb::ColumnFamilyOptions change_sets = point;
  change_sets.compaction_filter_factory =
      std::make_shared<ChangeSetFilterFactory>(std::move(flushed_events), limits_.dedup_window);

  return {{rocksdb::kDefaultColumnFamilyName, point},
          {"records", records},
          {"deltas", deltas},
          {"changesets", change_sets},
          {"links", base},
          {"places", point}};
}

rocksdb::Options RocksEnv::NodeOptions() const {
  rocksdb::Options options;
  SetCommon(shared_->files.get(), &options);
  options.write_buffer_size = 1 << 20;
  options.max_open_files = kTablesPerStoreMin;
  // A torn tail of the log is an interrupted, so unanswered, write; damage before it is an error.
  options.wal_recovery_mode = rocksdb::WALRecoveryMode::kTolerateCorruptedTailRecords;
  options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(TableOptions(shared_->cache)));
  return options;
}

absl::Status FromRocks(const rocksdb::Status& status, std::string_view what) {
  if (status.ok()) {
    return absl::OkStatus();
  }
  const std::string text = status.ToString();
  const std::string message = fmt::format("{}: {}", what, text);
  const auto has = [&](std::string_view part) { return text.find(part) != std::string::npos; };
  if (status.IsNoSpace() || has("No space left") || has("File too large") ||
      has("quota exceeded")) {
    return Error(StatusCode::kResourceExhausted, "disk_full",
                 message + ": make space; the store goes on by itself");
  }
  if (has("lock hold by current process") || (has("LOCK") && has("Resource temporarily"))) {
    return Error(StatusCode::kFailedPrecondition, "store_in_use",
                 message + ": another process (or another part of this one) has it open");
  }
  if (has("Read-only file system") || has("Permission denied")) {
    return Error(StatusCode::kFailedPrecondition, "store_read_only",
                 message + ": the folder must be writable");
  }
  if (status.IsCorruption() || status.IsInvalidArgument() || has("No such file or directory")) {
    return Error(StatusCode::kDataLoss, "store_corrupt", message);
  }
  return Error(StatusCode::kUnavailable, "store_io_error", message);
}

}  // namespace sluice::projectors
