#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gateways/events/cloud_event.h"
#include "schemas/base/ids.h"
#include "schemas/sluice/v1/events.pb.h"

// What events of a business system ask for: gateways/docs/events.md. All functions are pure.
namespace sluice::gateways {

inline constexpr size_t kEventStepsMax = 1'000;  // requests that one event leads to

// A source as PUT …/sources/{name} takes it.
struct SourceDefinition {
  std::string name;
  std::string json;  // may hold secrets
};
// An entity of a source is read from now on, or is not.
struct SourceEntityChange {
  std::string source;
  std::string entity;
  bool enabled = false;
  std::string json;  // members of the entity's settings that change
};
// The latter two become requests only when they are carried out: by the secrets' keys, and by what
// the source is then.
using BusinessStep = std::variant<v1::ProvisioningRequest, SourceDefinition, SourceEntityChange>;

struct BusinessEvent {
  std::string source;  // with `id` it names the event for ever
  std::string id;
  OrgId org;
  std::vector<BusinessStep> steps;  // at least one; in this order
  size_t bytes = 0;                 // that it counts for in a limit
};

// kInvalidArgument, codes "invalid_event" and those of the readers of PUT's bodies.
[[nodiscard]] absl::StatusOr<BusinessEvent> ParseBusinessEvent(const CloudEvent& event);

// The id of the request that a step leads to, a UUID of version 8: the same for the same event,
// whoever carries it out and however often. `attempt`: how often somebody else had changed
// meanwhile what the step is about.
[[nodiscard]] std::string RequestIdOf(const BusinessEvent& event, size_t step, size_t attempt);

// Was the refused request to remove what is not there anyway?
[[nodiscard]] bool IsGoneAnyway(const v1::ProvisioningRequest& request,
                                const absl::Status& refusal);

}  // namespace sluice::gateways
