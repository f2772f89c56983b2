#pragma once

#include "absl/status/status.h"
#include "eventlog/log.h"
#include "gateways/admin/request_context.h"
#include "gateways/admin/router.h"
#include "gateways/auth/authenticator.h"
#include "projectors/provisioning/provisioning.h"

// What stands between a request whose caller is known and its route. Both are thread-safe and
// quick.
namespace sluice::gateways {

// What the caller may do with this token on this route. A token of one organisation is good for
// that one alone, whatever its scopes; it sees no metrics, which are of all. kPermissionDenied.
[[nodiscard]] absl::Status Authorize(const Principal& principal, const AdminRouteMatch& match);

// DirectoryFollower::MayTell() of the organisation's partition, or of all of them.
[[nodiscard]] absl::Status MayTell(const AdminRouteMatch& match, const eventlog::Log& log,
                                   const projectors::DirectoryFollower& directory);

// Whether a process without the role admin, which keeps stores or does not, answers the request all
// the same: change sets that another node hands on, because only a store can tell whether one that
// does not fit was taken before, and where each role has processes of its own none with the role
// admin keeps one. kNotFound "not_served_here".
[[nodiscard]] absl::Status MayServeWithoutRole(const RequestContext& context, bool keeps_stores);

}  // namespace sluice::gateways
