#include "gateways/admin/preconditions.h"

namespace sluice::gateways {

void SetPreconditions(const HttpHead& http, v1::ProvisioningRequest& request) {
  request.set_if_match(http.HeaderList("If-Match"));
  request.set_if_none_match(http.HeaderList("If-None-Match") == "*");
}

std::string EtagOf(const projectors::OrgEntry& entry, const std::string& target) {
  const auto found = entry.etags.find(target);
  return found == entry.etags.end() ? std::string() : found->second;
}

}  // namespace sluice::gateways
