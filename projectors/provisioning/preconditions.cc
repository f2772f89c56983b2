#include "projectors/provisioning/preconditions.h"

#include <fmt/format.h>

#include <string_view>

#include "schemas/base/status.h"

namespace sluice::projectors {
namespace {

// Is `etag` one of the comma-separated entity tags of `header`? Weak ones never match.
bool Lists(std::string_view header, std::string_view etag) {
  while (!header.empty()) {
    const size_t comma = header.find(',');
    std::string_view item = header.substr(0, comma);
    header = comma == std::string_view::npos ? std::string_view() : header.substr(comma + 1);
    while (!item.empty() && (item.front() == ' ' || item.front() == '\t')) {
      item.remove_prefix(1);
    }
    while (!item.empty() && (item.back() == ' ' || item.back() == '\t')) {
      item.remove_suffix(1);
    }
    if (item == etag) {
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
    return Error(absl::StatusCode::kFailedPrecondition, "precondition_failed",
                 etag.empty() ? fmt::format("If-Match: there is no {}", target)
                              : fmt::format("If-Match: {} has another ETag now; read it again and "
                                            "repeat the change on what it says",
                                            target));
  }
  if (request.if_none_match() && !etag.empty()) {
    return Error(absl::StatusCode::kFailedPrecondition, "precondition_failed",
                 fmt::format("If-None-Match: {} exists", target));
  }
  return absl::OkStatus();
}

}  // namespace sluice::projectors
