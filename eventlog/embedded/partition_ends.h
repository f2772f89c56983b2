#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "eventlog/log.h"
#include "schemas/base/clock.h"

namespace sluice::eventlog {

// Where each partition of the embedded log ended when it was last written, in a small file of its
// own beside RocksDB's (docs/embedded-log-format.md). RocksDB takes a write-ahead log that is cut
// short, and a description of an earlier time, for all that there ever was; this file tells
// otherwise. An end is recorded only once its events are synced, so it is never ahead of what a
// kill or a power cut leaves. Not thread-safe.
class PartitionEnds {
 public:
  // Opens the file in `folder`, or makes it. `log_name` tells records of another log, which count
  // for nothing. kUnavailable, code "log_write_failed" or "log_read_failed".
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<PartitionEnds>> Open(
      const std::string& folder, std::string_view log_name, int32_t partitions);
  // Whether an end was ever recorded in `folder`: its log had events.
  [[nodiscard]] static bool AnyIn(const std::string& folder);
  // Syncs what is recorded.
  ~PartitionEnds();
  PartitionEnds(const PartitionEnds&) = delete;
  PartitionEnds& operator=(const PartitionEnds&) = delete;

  // The end as recorded when the file was opened; kNoOffset where none is, or it is damaged.
  [[nodiscard]] Offset Recorded(Topic topic, PartitionId partition) const;

  // Records an end: one write without a sync, which a kill of the process survives. A failure is
  // logged once; the events are safe, only the record is not.
  void Record(Topic topic, PartitionId partition, Offset end);

  // Something is recorded and not synced yet.
  bool dirty() const { return dirty_; }
  void Sync();
  // Syncs where that was not done for a second.
  void SyncIfDue(SteadyTime now);

 private:
  PartitionEnds(std::string path, int file, uint64_t log_hash, int32_t partitions);

  size_t SlotOf(Topic topic, PartitionId partition) const;
  absl::Status Load();

  const std::string path_;
  const int file_;
  const uint64_t log_hash_;
  const int32_t partitions_;
  std::vector<Offset> recorded_;  // by slot
  SteadyTime synced_at_{};
  bool dirty_ = false;
  bool failed_ = false;
};

}  // namespace sluice::eventlog
