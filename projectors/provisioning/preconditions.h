#pragma once

#include <string>

#include "absl/status/status.h"
#include "projectors/provisioning/directory.h"

namespace sluice::projectors {

// What `request` is about, as OrgEntry::etags names it: "org", "entity/account", ...; empty for a
// request without an action.
[[nodiscard]] std::string TargetOf(const v1::ProvisioningRequest& request);
// Likewise what the change of an outcome is about; empty for one without a definition.
[[nodiscard]] std::string TargetOf(const v1::ProvisioningOutcome& outcome);

// If-Match and If-None-Match (RFC 9110, section 13.1) against what the target is now. `entry` may
// be nullptr. kFailedPrecondition, code "precondition_failed".
[[nodiscard]] absl::Status CheckPreconditions(const OrgEntry* entry,
                                              const v1::ProvisioningRequest& request);

}  // namespace sluice::projectors
