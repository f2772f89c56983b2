#include "gateways/admin/admission.h"

#include <optional>
#include <string_view>

#include "gateways/ingest/set_relay.h"
#include "schemas/base/status.h"

namespace sluice::gateways {

namespace {

// The partition of the organisation that the route is of; nullopt where it is of all.
std::optional<PartitionId> PartitionOf(const AdminRouteMatch& match, const eventlog::Log& log) {
  return match.info->pattern.find("{org}") == std::string_view::npos
             ? std::nullopt
             : std::make_optional(log.PartitionFor(eventlog::Topic::kProvisioning, match.org));
}

}  // namespace

absl::Status Authorize(const Principal& principal, const AdminRouteMatch& match) {
  const bool metrics = match.info->route == AdminRoute::kMetrics;
  if (!metrics || !principal.Has(Scope::kMetrics)) {
    RETURN_IF_ERROR(RequireScope(principal, *match.info->scope));
  }
  if (match.info->pattern.find("{org}") != std::string_view::npos) {
    return RequireOrgIfBound(principal, match.org);
  }
  if (match.info->route == AdminRoute::kPostEvents && !principal.org.empty()) {
    return absl::PermissionDeniedError("events are of all organisations, and the token is for one");
  }
  if (metrics && !principal.org.empty()) {
    return absl::PermissionDeniedError(
        "metrics are of all organisations, and the token is for one");
  }
  return absl::OkStatus();
}

absl::Status MayTell(const AdminRouteMatch& match, const eventlog::Log& log,
                     const projectors::DirectoryFollower& directory) {
  if (match.info->route == AdminRoute::kPostEvents) {
    return absl::OkStatus();  // asked for each event's organisation, when its turn comes
  }
  if (const auto partition = PartitionOf(match, log); partition.has_value()) {
    return directory.MayTell(*partition);
  }
  for (int32_t p = 0; p < log.PartitionCount(eventlog::Topic::kProvisioning); ++p) {
    RETURN_IF_ERROR(directory.MayTell(PartitionId(p)));
  }
  return absl::OkStatus();
}

absl::Status MayServeWithoutRole(const RequestContext& context, bool keeps_stores) {
  const bool relayed = context.match.info->route == AdminRoute::kIngest &&
                       !context.http.Header(kRelayedHeader).empty();
  return relayed && keeps_stores
             ? absl::OkStatus()
             : Error(absl::StatusCode::kNotFound, "not_served_here",
                     "this process does not have the role admin: ask one that has");
}

}  // namespace sluice::gateways
