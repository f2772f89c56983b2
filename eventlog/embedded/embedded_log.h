#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "eventlog/epoch.h"
#include "eventlog/log.h"
#include "schemas/base/clock.h"
#include "schemas/base/metrics.h"

namespace sluice::eventlog {

struct EmbeddedLogOptions {
  // The folder, made when missing; one process at a time. Its format: docs/embedded-log-format.md.
  std::string path;
  // Partitions of every topic but `nodes`, which has 1. Fixed when the log is created.
  int32_t partitions = 4;
  // May differ at each opening.
  AppendLimits limits = {};
  std::shared_ptr<const Clock> clock = std::make_shared<RealClock>();
  // Where the log's metrics go (sluice_eventlog_*); none when null.
  std::shared_ptr<prometheus::Registry> metrics = nullptr;
  // For tools that only look: nothing is made that is missing, the log tells its partition count,
  // and one that lost its end is opened all the same.
  bool inspect = false;
};

// The log in one folder of this machine: a RocksDB whose write-ahead log is synced before an append
// is acknowledged. Whatever is queued while one sync runs goes into the next, so that appenders
// share syncs. A batch is visible wholly or not at all; offsets have no gaps.
//
// When a write fails (disk full, I/O error) the appends that took part in it fail with
// kUnavailable, code "disk_full" or "log_write_failed"; the log tries once a second, and at each
// append, to go on, and does so by itself once the cause is gone. Reading goes on meanwhile.
//
// Thread-safe. Callbacks run on the log's own thread.
class EmbeddedLog final : public Log {
 public:
  // kFailedPrecondition, code "log_locked" (another process has it open), "log_read_only",
  // "log_foreign" (the folder holds something else), "log_format" (written by another version) or
  // "partitions_differ"; kDataLoss, code "log_corrupt", where its files are damaged, or
  // "log_truncated", where a partition ends before what was acknowledged: restore the log, or go on
  // with what is there by StartEpoch(); kUnavailable, code "log_open_failed" or "disk_full";
  // kNotFound, code "no_log", when there is none to inspect.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<EmbeddedLog>> Open(
      EmbeddedLogOptions options);

  // Accepts the log in `options.path` as it is: the ends that its partitions have now count, and a
  // new epoch makes it another log to stores and clients. Whatever its partition count. Errors as
  // Open() of a log to inspect; "log_locked" while a server has it open.
  [[nodiscard]] static absl::StatusOr<EpochChange> StartEpoch(const EmbeddedLogOptions& options);

  // Writes and answers what is queued, then closes. Readers must be gone.
  ~EmbeddedLog() override;

  const std::string& id() const override;
  std::vector<std::string> FormerIds() const override;
  int32_t PartitionCount(Topic topic) const override;
  void AppendAsync(Topic topic, PartitionId partition, std::vector<Event> batch,
                   AppendCallback done) override;
  absl::StatusOr<std::unique_ptr<Reader>> OpenReader(Topic topic, PartitionId partition,
                                                     Offset from) override;
  absl::StatusOr<OffsetRange> Range(Topic topic, PartitionId partition) override;
  absl::Status TruncateBefore(Topic topic, PartitionId partition, Offset begin) override;
  absl::Status Health() override;

 private:
  class Impl;
  explicit EmbeddedLog(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::eventlog
