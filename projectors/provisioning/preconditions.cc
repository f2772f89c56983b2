#include "projectors/provisioning/preconditions.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>

#include "schemas/base/ascii.h"
#include "schemas/base/status.h"

namespace sluice::projectors {
namespace {

// Is `etag` one of the comma-separated entity tags of `header`? Weak ones never match.
bool Lists(std::string_view header, std::string_view etag) {
  while (!header.empty()) {
    const std::string_view item = header.substr(0, header.find(','));
    header.remove_prefix(std::min(item.size() + 1, header.size()));
    if (TrimBlanks(item) == etag) {
      return true;
    }
  }
  return false;
}

}  // namespace

std::string TargetOf(const v1::ProvisioningRequest& request) {
  using Action = v1::ProvisioningRequest;
  switch (request.action_case()) {
    case Action::kOpenOrg:
    case Action::kCloseOrg:
      return "org";
    case Action::kPutEntity:
      return "entity/" + request.put_entity().name();
    case Action::kDeleteEntity:
      return "entity/" + request.delete_entity().name();
    case Action::kPutProfile:
      return "profile/" + request.put_profile().profile().name();
    case Action::kDeleteProfile:
      return "profile/" + request.delete_profile().name();
    case Action::kPutRole:
      return "role/" + request.put_role().role().name();
    case Action::kDeleteRole:
      return "role/" + request.delete_role().name();
    case Action::kPutSource:
      return "source/" + request.put_source().settings().name();
    case Action::kDeleteSource:
      return "source/" + request.delete_source().name();
    case Action::kRunSource:
      return "source/" + request.run_source().name();
    case Request::ACTION_NOT_SET:
      break;
  }
  return "";
}

std::string TargetOf(const v1::ProvisioningOutcome& outcome) {
  using Change = v1::ProvisioningOutcome;
  switch (outcome.change_case()) {
    case Change::kOrgOpened:
    case Change::kOrgRenamed:
      return "org";
    case Change::kEntityDefined:
      return "entity/" + outcome.entity_defined().schema().name();
    case Change::kEntityDeleted:
      return "entity/" + outcome.entity_deleted().name();
    case Change::kProfileDefined:
      return "profile/" + outcome.profile_defined().profile().name();
    case Change::kProfileDeleted:
      return "profile/" + outcome.profile_deleted().name();
    case Change::kRoleDefined:
      return "role/" + outcome.role_defined().role().name();
    case Change::kRoleDeleted:
      return "role/" + outcome.role_deleted().name();
    case Change::kSourceDefined:
      return "source/" + outcome.source_defined().settings().name();
    case Change::kSourceDeleted:
      return "source/" + outcome.source_deleted().name();
    default:
      return "";
  }
}

absl::Status CheckPreconditions(const OrgEntry* entry, const v1::ProvisioningRequest& request) {
  const std::string target = TargetOf(request);
  std::string_view etag;
  // What a closed organisation was is history: there is nothing that a condition could match.
  if (entry != nullptr && entry->state == OrgState::kReady) {
    if (const auto found = entry->etags.find(target); found != entry->etags.end()) {
      etag = found->second;
    }
  }
  if (!request.if_match().empty() &&
      (etag.empty() || (request.if_match() != "*" && !Lists(request.if_match(), etag)))) {
    return Error(StatusCode::kFailedPrecondition, "precondition_failed",
                 etag.empty() ? fmt::format("If-Match: there is no {}", target)
                              : fmt::format("If-Match: {} has another ETag now; read it again and "
                                            "repeat the change on what it says",
                                            target));
  }
  if (request.if_none_match() && !etag.empty()) {
    return Error(StatusCode::kFailedPrecondition, "precondition_failed", "If-None-Match: {} exists",
                 target);
  }
  return absl::OkStatus();
}

}  // namespace sluice::projectors
