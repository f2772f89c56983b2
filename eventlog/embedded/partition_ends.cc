#include "eventlog/embedded/partition_ends.h"

#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <unistd.h>
#include <xxhash.h>

#include <cerrno>
#include <filesystem>
#include <system_error>
#include <utility>

#include "eventlog/embedded/event_codec.h"
#include "schemas/base/byte_codec.h"
#include "schemas/base/status.h"

namespace sluice::eventlog {
namespace {

std::string FileIn(const std::string& folder) { return folder + "/ends"; }

// A record lies in one sector of any disk, so that it is written wholly or not at all.
constexpr size_t kRecordBytes = 32;
constexpr size_t kEndAt = 8;
constexpr std::chrono::seconds kSyncInterval{1};

std::string EncodeRecord(Topic topic, PartitionId partition, Offset end, uint64_t log_hash) {
  std::string record(4, '\0');
  record[0] = static_cast<char>(TopicCode(topic));
  PutFixed32(static_cast<uint32_t>(partition.value()), &record);
  PutFixed64(static_cast<uint64_t>(end.value()), &record);
  PutFixed64(log_hash, &record);
  PutFixed64(XXH64(record.data(), record.size(), 0), &record);
  return record;
}

absl::Status FileError(const std::string& path, std::string_view code, std::string_view what) {
  return Error(StatusCode::kUnavailable, code, "the log's file {} cannot be {}: {}", path, what,
               std::generic_category().message(errno));
}

}  // namespace

PartitionEnds::PartitionEnds(std::string path, int file, uint64_t log_hash, int32_t partitions)
    : path_(std::move(path)), file_(file), log_hash_(log_hash), partitions_(partitions) {}

bool PartitionEnds::AnyIn(const std::string& folder) {
  std::error_code error;
  const auto size = std::filesystem::file_size(FileIn(folder), error);
  return !error && size > 0;
}

PartitionEnds::~PartitionEnds() {
  Sync();
  ::close(file_);
}

absl::StatusOr<std::unique_ptr<PartitionEnds>> PartitionEnds::Open(const std::string& folder,
                                                                   std::string_view log_name,
                                                                   int32_t partitions) {
  const std::string path = FileIn(folder);
  const int file = ::open(path.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600);
  if (file < 0) {
    return FileError(path, "log_write_failed", "opened");
  }
  const uint64_t log_hash = XXH64(log_name.data(), log_name.size(), 0);
  std::unique_ptr<PartitionEnds> ends(new PartitionEnds(path, file, log_hash, partitions));
  RETURN_IF_ERROR(ends->Load());
  return ends;
}

absl::Status PartitionEnds::Load() {
  for (const Topic topic : kAllTopics) {
    for (int32_t p = 0; p < (topic == Topic::kNodes ? 1 : partitions_); ++p) {
      const PartitionId partition(p);
      recorded_.push_back(kNoOffset);
      std::string found(kRecordBytes, '\0');
      const ssize_t got = ::pread(file_, found.data(), found.size(),
                                  static_cast<off_t>(SlotOf(topic, partition) * kRecordBytes));
      if (got < 0) {
        return FileError(path_, "log_read_failed", "read");
      }
      const uint64_t value = ByteReader(std::string_view(found).substr(kEndAt)).Fixed64();
      const Offset end(static_cast<int64_t>(value));
      if (got == static_cast<ssize_t>(kRecordBytes) &&
          found == EncodeRecord(topic, partition, end, log_hash_)) {
        recorded_.back() = end;
      }
    }
  }
  return absl::OkStatus();
}

size_t PartitionEnds::SlotOf(Topic topic, PartitionId partition) const {
  size_t slot = 0;
  for (const Topic before : kAllTopics) {
    if (before == topic) {
      break;
    }
    slot += before == Topic::kNodes ? 1 : static_cast<size_t>(partitions_);
  }
  return slot + static_cast<size_t>(partition.value());
}

Offset PartitionEnds::Recorded(Topic topic, PartitionId partition) const {
  return recorded_.at(SlotOf(topic, partition));
}

void PartitionEnds::Record(Topic topic, PartitionId partition, Offset end) {
  const auto record = EncodeRecord(topic, partition, end, log_hash_);
  const ssize_t put = ::pwrite(file_, record.data(), record.size(),
                               static_cast<off_t>(SlotOf(topic, partition) * kRecordBytes));
  dirty_ = true;
  const bool failed = put != static_cast<ssize_t>(record.size());
  if (failed && !failed_) {
    spdlog::warn("log_ends_not_written file={} cause=\"{}\"", path_,
                 std::generic_category().message(errno));
  }
  failed_ = failed;
}

void PartitionEnds::Sync() {
  if (dirty_) {
    // An error was told where the log itself failed to sync, or will be.
    (void)::fdatasync(file_);
    dirty_ = false;
  }
}

void PartitionEnds::SyncIfDue(SteadyTime now) {
  if (dirty_ && now - synced_at_ >= kSyncInterval) {
    Sync();
    synced_at_ = now;
  }
}

}  // namespace sluice::eventlog
