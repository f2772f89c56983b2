#include "gateways/admin/org_entry.h"

#include <fmt/format.h>

#include "schemas/base/status.h"

namespace sluice::gateways {

absl::StatusOr<std::shared_ptr<const projectors::OrgEntry>> FindOrg(
    const projectors::Directory& directory, const OrgId& org) {
  auto entry = directory.Find(org);
  if (entry == nullptr) {
    return Error(absl::StatusCode::kNotFound, "org_not_found",
                 fmt::format("there is no organisation '{}'", org.value()));
  }
  return entry;
}

void SetPreconditions(const HttpHead& http, v1::ProvisioningRequest& request) {
  request.set_if_match(http.HeaderList("If-Match"));
  request.set_if_none_match(http.HeaderList("If-None-Match") == "*");
}

std::string EtagOf(const projectors::OrgEntry& entry, const std::string& target) {
  const auto found = entry.etags.find(target);
  return found == entry.etags.end() ? std::string() : found->second;
}

}  // namespace sluice::gateways
