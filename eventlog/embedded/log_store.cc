#include "eventlog/embedded/log_store.h"

#include <rocksdb/convenience.h>
#include <rocksdb/db.h>
#include <rocksdb/table.h>
#include <rocksdb/write_batch.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/str_split.h"
#include "eventlog/embedded/event_codec.h"
#include "eventlog/embedded/log_folder.h"
#include "eventlog/embedded/partition_ends.h"
#include "schemas/base/status.h"
#include "schemas/base/text_values.h"
#include "schemas/base/uuid.h"

namespace sluice::eventlog {
namespace {

using absl::StatusCode;

// Keys of the log's description; every event's key begins with a topic's code, which is not 0.
constexpr std::string_view kFormatKey("\0format", 7);
constexpr std::string_view kIdKey("\0id", 3);
constexpr std::string_view kEpochKey("\0epoch", 6);
constexpr std::string_view kPartitionsKey("\0partitions", 11);
constexpr std::string_view kBeginKey("\0begin/", 7);  // then the partition's prefix
constexpr std::string_view kFormat = "sluice-embedded-log-1";

rocksdb::Slice ToSlice(std::string_view s) { return {s.data(), s.size()}; }

std::string BeginKey(Topic topic, PartitionId partition) {
  return std::string(kBeginKey) + PartitionPrefix(topic, partition);
}

// For appending and scanning. Fixed on measurements with 4 partitions, written interleaved.
rocksdb::Options DatabaseOptions() {
  rocksdb::Options options;
  options.create_if_missing = true;
  options.paranoid_checks = true;
  // A torn record is forgiven at the end of a log file only, where no acknowledged batch can be.
  // The default would silently drop whatever comes after a damaged one.
  options.wal_recovery_mode = rocksdb::WALRecoveryMode::kTolerateCorruptedTailRecords;
  options.track_and_verify_wals_in_manifest = true;
  // Opening then needs no room for table files, also on a disk that is nearly full.
  options.avoid_flush_during_recovery = true;
  // Large buffers make few, large level 0 files. There is one writer (and no insert hint: the
  // memtable's hints and DeleteRange do not go together in RocksDB 7.8).
  options.write_buffer_size = 64 << 20;
  options.max_write_buffer_number = 3;
  options.allow_concurrent_memtable_write = false;
  // Each partition's keys only grow, so from level 1 on most files are moved, not rewritten.
  // Measured once, over 1 GB of 300-byte events in 4 partitions (all sizes a quarter of these): 3.2
  // bytes written for each byte, the flush included; 3.9 in universal style. No compaction at all
  // wrote 1.0 and scanned faster, but leaves a level 0 that only grows.
  options.compaction_style = rocksdb::kCompactionStyleLevel;
  options.level0_file_num_compaction_trigger = 4;
  options.max_bytes_for_level_base = 256 << 20;
  options.target_file_size_base = 64 << 20;
  // One compression for all levels, else a move would become a rewrite.
  options.compression = rocksdb::kLZ4Compression;
  rocksdb::BlockBasedTableOptions table;
  // Scans only: large blocks, no bloom filters, and the page cache instead of a block cache.
  table.block_size = 64 << 10;
  table.format_version = 5;
  table.no_block_cache = true;
  options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  options.max_background_jobs = 2;
  options.keep_log_file_num = 2;
  options.max_log_file_size = 4 << 20;
  options.info_log_level = rocksdb::WARN_LEVEL;
  options.stats_dump_period_sec = 0;
  options.stats_persist_period_sec = 0;
  return options;
}

bool Contains(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

absl::Status OpenError(const std::string& path, const rocksdb::Status& status) {
  const std::string cause = status.ToString();
  if (status.IsNoSpace()) {
    return Error(StatusCode::kUnavailable, "disk_full",
                 "the log {} cannot be opened: {}; free some space", path, cause);
  }
  if (Contains(cause, "lock hold by current process") || Contains(cause, "While lock file")) {
    return Error(StatusCode::kFailedPrecondition, "log_locked",
                 "the log {} is open in another process ({}); stop that one or use another folder",
                 path, cause);
  }
  if (Contains(cause, "Permission denied") || Contains(cause, "Read-only file system")) {
    return Error(StatusCode::kFailedPrecondition, "log_read_only",
                 "the log {} cannot be written: {}", path, cause);
  }
  if (status.IsCorruption()) {
    return Error(StatusCode::kDataLoss, "log_corrupt",
                 "the log {} is damaged or incomplete: {}; restore it from a copy", path, cause);
  }
  if (status.IsInvalidArgument()) {
    return Error(StatusCode::kFailedPrecondition, "log_foreign", "{} is not a log of Sluice's: {}",
                 path, cause);
  }
  return Error(StatusCode::kUnavailable, "log_open_failed", "the log {} cannot be opened: {}", path,
               cause);
}

}  // namespace

LogStore::LogStore(std::string path, std::unique_ptr<rocksdb::DB> db)
    : path_(std::move(path)), db_(std::move(db)) {}

LogStore::~LogStore() = default;

absl::StatusOr<std::unique_ptr<LogStore>> LogStore::Open(const std::string& path,
                                                         int32_t partitions, const Clock& clock,
                                                         Use use) {
  if (use == Use::kInspect) {
    RETURN_IF_ERROR(CheckHoldsLog(path));
  }
  RETURN_IF_ERROR(PrepareFolder(path));
  RETURN_IF_ERROR(ProbeFolder(path));
  rocksdb::DB* raw = nullptr;
  const rocksdb::Status opened = rocksdb::DB::Open(DatabaseOptions(), path, &raw);
  std::unique_ptr<rocksdb::DB> db(raw);
  if (!opened.ok()) {
    return OpenError(path, opened);
  }
  std::unique_ptr<LogStore> store(new LogStore(path, std::move(db)));
  RETURN_IF_ERROR(store->LoadDescription(partitions, clock, use));
  return store;
}

absl::Status LogStore::LoadDescription(int32_t partitions, const Clock& clock, Use use) {
  ASSIGN_OR_RETURN(const std::string format, Get(kFormatKey));
  ASSIGN_OR_RETURN(log_name_, Get(kIdKey));
  ASSIGN_OR_RETURN(const std::string epochs, Get(kEpochKey));
  former_epochs_ = absl::StrSplit(epochs, '\n', absl::SkipEmpty());
  std::string epoch;
  if (!former_epochs_.empty()) {  // the last one is in force
    epoch = std::move(former_epochs_.back());
    former_epochs_.pop_back();
  }
  ASSIGN_OR_RETURN(const std::string stored, Get(kPartitionsKey));
  if (format.empty() && PartitionEnds::AnyIn(path_)) {
    return Error(StatusCode::kDataLoss, "log_truncated",
                 "the log {} had events and holds nothing now: its write-ahead log is lost; "
                 "restore it, or remove the folder to begin an empty log",
                 path_);
  }
  if (format.empty()) {
    return use == Use::kServe ? WriteDescription(partitions, clock) : NoLogError(path_);
  }
  if (format != kFormat) {
    return Error(StatusCode::kFailedPrecondition, "log_format",
                 "the log {} has format \"{}\", this program reads \"{}\"", path_, format, kFormat);
  }
  if (use == Use::kInspect) {
    ASSIGN_OR_RETURN(const int64_t count, ParseInt64(stored));
    partitions_ = static_cast<int32_t>(count);
    log_id_ = LogIdOf(log_name_, epoch);
    return absl::OkStatus();
  }
  if (stored != std::to_string(partitions)) {
    return Error(
        StatusCode::kFailedPrecondition, "partitions_differ",
        "the log {} was made with {} partitions, not {}: the number is fixed when a log is created",
        path_, stored, partitions);
  }
  partitions_ = partitions;
  log_id_ = LogIdOf(log_name_, epoch);
  return epoch.empty() ? StartEpoch() : absl::OkStatus();
}

absl::Status LogStore::StartEpoch() {
  const std::string epoch = NewEpoch();
  ASSIGN_OR_RETURN(const std::string before, Get(kEpochKey));
  rocksdb::WriteBatch batch;
  batch.Put(ToSlice(kEpochKey), before.empty() ? epoch : before + '\n' + epoch);
  RETURN_IF_ERROR(WriteSynced(batch));
  former_epochs_ = absl::StrSplit(before, '\n', absl::SkipEmpty());
  log_id_ = LogIdOf(log_name_, epoch);
  return absl::OkStatus();
}

absl::Status LogStore::WriteDescription(int32_t partitions, const Clock& clock) {
  {
    const absl::ReaderMutexLock lock(&db_mu_);
    const std::unique_ptr<rocksdb::Iterator> any(db_->NewIterator({}));
    any->SeekToFirst();
    if (any->Valid() || !any->status().ok()) {
      return Error(StatusCode::kFailedPrecondition, "log_foreign",
                   "{} is a RocksDB, but not a log of Sluice's", path_);
    }
  }
  const std::string epoch = NewEpoch();
  log_name_ = NewUuid7(clock);
  log_id_ = LogIdOf(log_name_, epoch);
  partitions_ = partitions;
  rocksdb::WriteBatch batch;
  batch.Put(ToSlice(kFormatKey), ToSlice(kFormat));
  batch.Put(ToSlice(kIdKey), log_name_);
  batch.Put(ToSlice(kEpochKey), epoch);
  batch.Put(ToSlice(kPartitionsKey), std::to_string(partitions));
  return WriteSynced(batch);
}

absl::StatusOr<std::string> LogStore::Get(std::string_view key) const {
  const absl::ReaderMutexLock lock(&db_mu_);
  std::string value;
  const rocksdb::Status found = db_->Get({}, ToSlice(key), &value);
  if (!found.ok() && !found.IsNotFound()) {
    return ReadError(found);
  }
  return value;
}

absl::StatusOr<OffsetRange> LogStore::LoadRange(Topic topic, PartitionId partition) const {
  OffsetRange range{Offset(0), Offset(0)};
  ASSIGN_OR_RETURN(const std::string begin, Get(BeginKey(topic, partition)));
  if (!begin.empty()) {
    range.begin = OffsetOfKey(begin);
  }
  const absl::ReaderMutexLock lock(&db_mu_);
  const std::unique_ptr<rocksdb::Iterator> last(db_->NewIterator({}));
  last->SeekForPrev(EventKey(topic, partition, Offset(std::numeric_limits<int64_t>::max())));
  if (!last->status().ok()) {
    return ReadError(last->status());
  }
  range.end = range.begin;
  if (last->Valid() && last->key().starts_with(PartitionPrefix(topic, partition))) {
    range.end = std::max(range.end, Offset(OffsetOfKey(last->key().ToStringView()).value() + 1));
  }
  return range;
}

absl::Status LogStore::Write(const std::vector<Entry>& entries) {
  size_t bytes = 64;
  for (const Entry& entry : entries) {
    bytes += entry.bytes.size() + 32;
  }
  RETURN_IF_ERROR(CheckSpace(path_, bytes));
  rocksdb::WriteBatch batch(bytes);
  // What a write that failed may have left on disk goes in the same batch, and before the new
  // events, which may have the same keys: after a restart it would be taken for acknowledged.
  for (const auto& [first, end] : doubtful_) {
    batch.DeleteRange(first, end);
  }
  for (const Entry& entry : entries) {
    batch.Put(EventKey(entry.topic, entry.partition, entry.offset), ToSlice(entry.bytes));
  }
  absl::Status written = WriteSynced(batch);
  // Whether they are on disk is not known: a sync that failed may have written all, or some.
  if (written.ok()) {
    doubtful_.clear();
  } else {
    Doubt(entries);
  }
  return written;
}

void LogStore::Doubt(const std::vector<Entry>& entries) {
  std::map<std::string, std::string> firsts;  // by partition
  for (const Entry& entry : entries) {
    const std::string prefix = PartitionPrefix(entry.topic, entry.partition);
    const auto first =
        firsts.try_emplace(prefix, EventKey(entry.topic, entry.partition, entry.offset)).first;
    std::string& end = doubtful_[first->second];
    end = std::max(end, EventKey(entry.topic, entry.partition, Offset(entry.offset.value() + 1)));
  }
}

absl::Status LogStore::WriteSynced(rocksdb::WriteBatch& batch) {
  const absl::ReaderMutexLock lock(&db_mu_);
  if (must_reopen_) {
    return Error(StatusCode::kUnavailable, "log_write_failed",
                 "the log {} is recovering from a failed write", path_);
  }
  rocksdb::WriteOptions options;
  options.sync = true;
  const rocksdb::Status written = db_->Write(options, &batch);
  if (!written.ok()) {
    must_reopen_ = true;
    return WriteError(written);
  }
  return absl::OkStatus();
}

absl::Status LogStore::Recover() {
  if (!must_reopen_) {
    return CheckSpace(path_, 0);
  }
  RETURN_IF_ERROR(ProbeFolder(path_));
  // Opening anew, as after a kill: what is on disk is then what this process sees, too. RocksDB's
  // own Resume() would write on to the log file that has failed.
  const absl::MutexLock lock(&db_mu_);
  db_.reset();
  rocksdb::DB* raw = nullptr;
  const rocksdb::Status opened = rocksdb::DB::Open(DatabaseOptions(), path_, &raw);
  db_.reset(raw);
  if (opened.ok()) {
    must_reopen_ = false;
    return absl::OkStatus();
  }
  // So that reading goes on at least.
  if (rocksdb::DB::OpenForReadOnly(DatabaseOptions(), path_, &raw).ok()) {
    db_.reset(raw);
  }
  return WriteError(opened);
}

absl::Status LogStore::RemoveBefore(Topic topic, PartitionId partition, Offset old_begin,
                                    Offset begin) {
  const std::string first = EventKey(topic, partition, old_begin);
  const std::string end = EventKey(topic, partition, begin);
  rocksdb::WriteBatch batch;
  // In one batch: a deletion whose begin is lost would leave a hole, which is taken for another
  // log.
  batch.Put(BeginKey(topic, partition), end);
  batch.DeleteRange(first, end);
  RETURN_IF_ERROR(WriteSynced(batch));
  // Whole files go at once, without a compaction. What is left in files that hold other events too
  // is below the begin and so invisible: a failure here costs space and nothing else.
  const rocksdb::Slice from(first);
  const rocksdb::Slice to(end);
  const absl::ReaderMutexLock lock(&db_mu_);
  if (db_ == nullptr) {
    return absl::OkStatus();
  }
  rocksdb::DeleteFilesInRange(db_.get(), db_->DefaultColumnFamily(), &from, &to, false)
      .PermitUncheckedError();
  return absl::OkStatus();
}

absl::Status LogStore::Scan(Topic topic, PartitionId partition, Offset from, Offset end,
                            absl::FunctionRef<bool(Offset, std::string_view)> visit) const {
  const std::string end_key = EventKey(topic, partition, end);
  const rocksdb::Slice upper(end_key);
  rocksdb::ReadOptions options;
  options.iterate_upper_bound = &upper;
  const absl::ReaderMutexLock lock(&db_mu_);
  if (db_ == nullptr) {
    return ReadError(rocksdb::Status::IOError("it could not be opened again after a failure"));
  }
  const std::unique_ptr<rocksdb::Iterator> it(db_->NewIterator(options));
  for (it->Seek(EventKey(topic, partition, from)); it->Valid(); it->Next()) {
    if (!visit(OffsetOfKey(it->key().ToStringView()), it->value().ToStringView())) {
      return absl::OkStatus();
    }
  }
  return it->status().ok() ? absl::OkStatus() : ReadError(it->status());
}

absl::Status LogStore::WriteError(const rocksdb::Status& status) const {
  if (status.IsNoSpace()) {
    return Error(StatusCode::kUnavailable, "disk_full",
                 "the log {} cannot be written: {}; free some space, it then goes on by itself",
                 path_, status.ToString());
  }
  return Error(StatusCode::kUnavailable, "log_write_failed", "the log {} cannot be written: {}",
               path_, status.ToString());
}

absl::Status LogStore::ReadError(const rocksdb::Status& status) const {
  if (status.IsCorruption() || status.IsNotFound()) {
    return Error(StatusCode::kDataLoss, "log_corrupt",
                 "the log {} is damaged: {}; restore it from a copy", path_, status.ToString());
  }
  return Error(StatusCode::kUnavailable, "log_read_failed", "the log {} cannot be read: {}", path_,
               status.ToString());
}

}  // namespace sluice::eventlog
