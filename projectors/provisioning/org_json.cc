#include "projectors/provisioning/org_json.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <string>

#include "schemas/base/status.h"
#include "schemas/base/strict_json.h"

namespace sluice::projectors {
namespace {

constexpr size_t kDisplayNameBytesMax = 512;

}  // namespace

absl::StatusOr<v1::ProvisioningRequest::OpenOrg> ParseOrg(std::string_view text) {
  v1::ProvisioningRequest::OpenOrg org;
  if (text.empty()) {
    return org;
  }
  const absl::StatusOr<nlohmann::json> json = ParseStrictObject(text);
  if (!json.ok()) {
    return Error(
        absl::StatusCode::kInvalidArgument, "invalid_json",
        fmt::format("the body must be an object, such as {{\"display_name\":\"Contoso\"}}: {}",
                    Message(json.status())));
  }
  for (const auto& [member, value] : json->items()) {
    if (member != "display_name" || !value.is_string()) {
      return Invalid("invalid_argument", "'{}': the body has one member, display_name, a string",
                     member);
    }
    org.set_display_name(value.get<std::string>());
  }
  if (org.display_name().size() > kDisplayNameBytesMax) {
    return Invalid("invalid_argument", "display_name has {} bytes, at most {} are taken",
                   org.display_name().size(), kDisplayNameBytesMax);
  }
  return org;
}

}  // namespace sluice::projectors
