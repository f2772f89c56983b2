#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "eventlog/log.h"
#include "schemas/base/clock.h"
#include "schemas/base/ids.h"

namespace sluice::eventlog {

// A record of a topic that others write.
struct Record {
  std::string topic;
  PartitionId partition;
  Offset offset;
  SystemTime time{};
  std::optional<std::string> key;  // nullopt: null
  std::optional<std::string> value;
  std::vector<std::pair<std::string, std::string>> headers;
};

struct RecordPlace {
  std::string topic;
  PartitionId partition;
  Offset next;  // first offset to be read; kNoOffset: the first that there is
};

// Reads topics that others write. Implementations: kafka/record_consumer and
// tests/support/memory_records, under one suite. Not thread-safe, but for Cancel().
class RecordSource {
 public:
  virtual ~RecordSource() = default;

  // Empty: there is no such topic. kUnavailable where the broker can't be reached.
  virtual absl::StatusOr<std::vector<PartitionId>> Partitions(const std::string& topic) = 0;
  // Reads these places from now on, and no others; a place may be given again to seek.
  virtual absl::Status Assign(std::vector<RecordPlace> places) = 0;
  // In order within a partition; empty when the wait ended. Committed records only.
  // kOutOfRange, codes "offset_below_begin" and "offset_beyond_end", name topic, partition and
  // offset. kUnavailable: calling again later goes on at the same places. kCancelled.
  virtual absl::StatusOr<std::vector<Record>> Read(const ReadLimits& limits) = 0;
  // Where Read() goes on with a place that is assigned: behind what it has returned, and behind
  // offsets that hold no record once the end behind them was reached. kNoOffset: not known yet.
  [[nodiscard]] virtual Offset next(const std::string& topic, PartitionId partition) const = 0;
  virtual absl::Status Pause(const std::string& topic, PartitionId partition, bool paused) = 0;
  // The first offset that there is, and the one behind the last committed record, asked of the
  // broker now.
  virtual absl::StatusOr<Offset> Begin(const std::string& topic, PartitionId partition) = 0;
  virtual absl::StatusOr<Offset> End(const std::string& topic, PartitionId partition) = 0;
  // Ends a waiting call, and makes every later one return kCancelled.
  virtual void Cancel() = 0;
};

struct RecordSourceOptions {
  std::string brokers;
  std::map<std::string, std::string> properties;  // of librdkafka
  size_t queue_bytes_max = size_t{32} << 20;      // fetched and not read yet
};

using RecordSourceFactory =
    std::function<absl::StatusOr<std::unique_ptr<RecordSource>>(const RecordSourceOptions&)>;

}  // namespace sluice::eventlog
