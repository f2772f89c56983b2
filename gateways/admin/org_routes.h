#pragma once

#include <chrono>

#include "absl/status/statusor.h"
#include "gateways/admin/applied_wait.h"
#include "gateways/admin/request_context.h"
#include "projectors/provisioning/provisioning.h"
#include "projectors/store/store_manager.h"

namespace sluice::gateways {

// Organisations: PUT, GET, list, DELETE (API section 1). Thread-safe.
class OrgRoutes {
 public:
  // What is known of an organisation's newest change that this process appended, or kNoOffset.
  using LastChange = std::function<Offset(const OrgId&)>;
  OrgRoutes(projectors::DirectoryFollower& directory, projectors::StoreManager* stores,
            const AppliedWait& applied, LastChange last_change,
            std::chrono::milliseconds provisioning_timeout)
      : directory_(directory),
        stores_(stores),
        applied_(applied),
        last_change_(std::move(last_change)),
        provisioning_timeout_(provisioning_timeout) {}

  [[nodiscard]] absl::StatusOr<HttpResponse> Put(RequestContext& context) const;
  [[nodiscard]] absl::StatusOr<HttpResponse> Get(RequestContext& context) const;
  [[nodiscard]] absl::StatusOr<HttpResponse> List(RequestContext& context) const;
  [[nodiscard]] absl::StatusOr<HttpResponse> Delete(RequestContext& context) const;

 private:
  bool WaitClosed(const OrgId& org, uint32_t incarnation, std::chrono::milliseconds timeout,
                  const HttpRequest& request) const;
  std::string_view StateOf(const projectors::OrgEntry& entry, Offset applied) const;

  projectors::DirectoryFollower& directory_;
  projectors::StoreManager* const stores_;
  const AppliedWait& applied_;
  const LastChange last_change_;
  const std::chrono::milliseconds provisioning_timeout_;
};

}  // namespace sluice::gateways
