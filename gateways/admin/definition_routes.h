#pragma once

#include <chrono>

#include "absl/status/statusor.h"
#include "gateways/admin/applied_wait.h"
#include "gateways/admin/request_context.h"
#include "projectors/provisioning/provisioning.h"

namespace sluice::gateways {

// Entities, profiles and roles, by the route: PUT, GET, list, DELETE (gateways/docs/api.md,
// sections 1 and 4). Thread-safe.
class DefinitionRoutes {
 public:
  DefinitionRoutes(projectors::DirectoryFollower& directory, const AppliedWait& applied,
                   std::chrono::milliseconds provisioning_timeout)
      : directory_(directory), applied_(applied), provisioning_timeout_(provisioning_timeout) {}

  [[nodiscard]] absl::StatusOr<Answer> Put(RequestContext& context) const;
  [[nodiscard]] absl::StatusOr<Answer> Get(RequestContext& context) const;
  [[nodiscard]] absl::StatusOr<Answer> List(RequestContext& context) const;
  [[nodiscard]] absl::StatusOr<Answer> Delete(RequestContext& context) const;

 private:
  // Has `request` decided and answers {"position"}.
  absl::StatusOr<Answer> Carry(const OrgId& org, const std::string& target,
                               v1::ProvisioningRequest request, RequestContext& context) const;

  projectors::DirectoryFollower& directory_;
  const AppliedWait& applied_;
  const std::chrono::milliseconds provisioning_timeout_;
};

}  // namespace sluice::gateways
