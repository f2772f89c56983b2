#pragma once

#include <memory>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "eventlog/epoch.h"
#include "eventlog/log.h"
#include "eventlog/partition_group.h"
#include "ops/config/config.h"

namespace prometheus {
class Registry;
}

namespace sluice::ops {

// The log that the configuration names: in the data folder, or in Kafka (kUnavailable while no
// broker answers: try again).
[[nodiscard]] absl::StatusOr<std::unique_ptr<eventlog::Log>> OpenLog(
    const Config& config, std::shared_ptr<prometheus::Registry> registry);

// What appends to it may hold.
[[nodiscard]] eventlog::AppendLimits AppendLimitsOf(const Config& config);

// The same log for a tool that only looks: nothing is made that is missing, any partition count is
// taken, and a log that a server would refuse is opened. kNotFound, code "no_log".
[[nodiscard]] absl::StatusOr<std::unique_ptr<eventlog::Log>> OpenLogToInspect(const Config& config);

// Declares a new epoch of the log (EmbeddedLog::StartEpoch(), KafkaLog::StartEpoch()). `agree` is
// called for a log in Kafka alone: the topics of an embedded one share a write-ahead log, and lose
// their ends together.
[[nodiscard]] absl::StatusOr<eventlog::EpochChange> StartLogEpoch(
    const Config& config, absl::FunctionRef<absl::Status(eventlog::Log&)> agree);

// Which partitions this process folds as a member of `set`: all of an embedded log's, a share of
// Kafka's. `member` is the process's lasting name in the group.
[[nodiscard]] absl::StatusOr<std::unique_ptr<eventlog::PartitionGroup>> MakeGroup(
    const Config& config, const eventlog::Log& log, const std::string& set,
    const std::string& member, std::shared_ptr<prometheus::Registry> registry);

}  // namespace sluice::ops
