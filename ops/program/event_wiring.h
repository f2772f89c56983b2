#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "eventlog/log.h"
#include "gateways/events/event_service.h"
#include "gateways/sources/source_service.h"
#include "ops/config/config.h"
#include "projectors/provisioning/provisioning.h"
#include "schemas/base/clock.h"
#include "schemas/base/metrics.h"

namespace sluice::ops {

// Business events as the settings say. kInvalidArgument where they name one of the log's own
// topics. All but `config` must outlive it.
[[nodiscard]] absl::StatusOr<std::unique_ptr<gateways::EventService>> MakeEventService(
    const Config& config, eventlog::Log& log, const Clock& clock,
    projectors::DirectoryFollower& directory, gateways::SourceService& sources,
    std::shared_ptr<prometheus::Registry> registry);

}  // namespace sluice::ops
