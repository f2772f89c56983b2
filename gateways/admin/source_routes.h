#pragma once

#include <chrono>

#include "absl/status/statusor.h"
#include "gateways/admin/applied_wait.h"
#include "gateways/admin/request_context.h"
#include "gateways/sources/source_service.h"
#include "projectors/provisioning/provisioning.h"

namespace sluice::gateways {

// Sources of an organisation (gateways/docs/api.md, section 7). Thread-safe.
class SourceRoutes {
 public:
  // All must outlive it.
  SourceRoutes(projectors::DirectoryFollower& directory, SourceService& service,
               const AppliedWait& applied, std::chrono::milliseconds provisioning_timeout)
      : directory_(directory),
        service_(service),
        applied_(applied),
        provisioning_timeout_(provisioning_timeout) {}

  [[nodiscard]] absl::StatusOr<Answer> Put(RequestContext& context) const;
  [[nodiscard]] absl::StatusOr<Answer> Get(RequestContext& context) const;
  [[nodiscard]] absl::StatusOr<Answer> List(RequestContext& context) const;
  [[nodiscard]] absl::StatusOr<Answer> Delete(RequestContext& context) const;
  [[nodiscard]] absl::StatusOr<Answer> Check(RequestContext& context) const;
  [[nodiscard]] absl::StatusOr<Answer> Run(RequestContext& context) const;
  [[nodiscard]] absl::StatusOr<Answer> Reseal(RequestContext& context) const;

 private:
  // Has `request` decided and answers {"position"}.
  absl::StatusOr<Answer> Carry(const OrgId& org, v1::ProvisioningRequest request,
                               RequestContext& context) const;

  projectors::DirectoryFollower& directory_;
  SourceService& service_;
  const AppliedWait& applied_;
  const std::chrono::milliseconds provisioning_timeout_;
};

}  // namespace sluice::gateways
