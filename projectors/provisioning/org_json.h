#pragma once

#include <string_view>

#include "absl/status/statusor.h"
#include "schemas/sluice/v1/events.pb.h"

namespace sluice::projectors {

// Parses what PUT of an organisation takes (gateways/docs/api.md, section 1); empty: no display
// name. kInvalidArgument, codes "invalid_json" and "invalid_argument". Pure.
[[nodiscard]] absl::StatusOr<v1::ProvisioningRequest::OpenOrg> ParseOrg(std::string_view json);

}  // namespace sluice::projectors
