#pragma once

#include <memory>

#include "absl/status/statusor.h"
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

// Which partitions this process folds as a member of `set`: all of an embedded log's, a share of
// Kafka's. `member` is the process's lasting name in the group.
[[nodiscard]] absl::StatusOr<std::unique_ptr<eventlog::PartitionGroup>> MakeGroup(
    const Config& config, const eventlog::Log& log, const std::string& set,
    const std::string& member);

}  // namespace sluice::ops
