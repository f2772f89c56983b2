#pragma once

#include <chrono>

#include "absl/status/statusor.h"
#include "gateways/admin/applied_wait.h"
#include "gateways/admin/request_context.h"
#include "projectors/provisioning/provisioning.h"

namespace sluice::gateways {

// Entities, profiles and roles: PUT, GET, list, DELETE (API sections 1 and 4). Thread-safe.
class DefinitionRoutes {
 public:
  enum class Kind { kEntity, kProfile, kRole };

  DefinitionRoutes(projectors::DirectoryFollower& directory, const AppliedWait& applied,
                   size_t definition_bytes_max, std::chrono::milliseconds provisioning_timeout)
      : directory_(directory),
        applied_(applied),
        definition_bytes_max_(definition_bytes_max),
        provisioning_timeout_(provisioning_timeout) {}

  [[nodiscard]] absl::StatusOr<HttpResponse> Put(Kind kind, RequestContext& context) const;
  [[nodiscard]] absl::StatusOr<HttpResponse> Get(Kind kind, RequestContext& context) const;
  [[nodiscard]] absl::StatusOr<HttpResponse> List(Kind kind, RequestContext& context) const;
  [[nodiscard]] absl::StatusOr<HttpResponse> Delete(Kind kind, RequestContext& context) const;

 private:
  // Has `request` decided and answers {"position"}.
  absl::StatusOr<HttpResponse> Carry(const OrgId& org, const std::string& target,
                                     v1::ProvisioningRequest request,
                                     RequestContext& context) const;

  projectors::DirectoryFollower& directory_;
  const AppliedWait& applied_;
  const size_t definition_bytes_max_;
  const std::chrono::milliseconds provisioning_timeout_;
};

}  // namespace sluice::gateways
