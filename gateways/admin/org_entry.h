#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "gateways/http/http_types.h"
#include "projectors/provisioning/directory.h"

namespace sluice::gateways {

// kNotFound, code "org_not_found", where there is none.
[[nodiscard]] absl::StatusOr<std::shared_ptr<const projectors::OrgEntry>> FindOrg(
    const projectors::Directory& directory, const OrgId& org);

// If-Match and If-None-Match: * of a PUT or DELETE, for the sequencer to decide on.
void SetPreconditions(const HttpHead& http, v1::ProvisioningRequest& request);

// The ETag of "org", "entity/account", ...; empty where there is none.
[[nodiscard]] std::string EtagOf(const projectors::OrgEntry& entry, const std::string& target);

}  // namespace sluice::gateways
