#pragma once

#include <functional>

#include "absl/status/status.h"
#include "eventlog/log.h"
#include "gateways/admin/router.h"
#include "gateways/auth/authenticator.h"
#include "projectors/provisioning/provisioning.h"

// What stands between a request whose caller is known and its route. Both are thread-safe and
// quick.
namespace sluice::gateways {

// What the caller may do with this token on this route. A token of one organisation is good for
// that one alone, whatever its scopes; it sees no metrics, which are of all. kPermissionDenied.
[[nodiscard]] absl::Status Authorize(const Principal& principal, const RouteMatch& match);

// Whether this process knows for sure what it would tell of the organisation, or of all of them:
// definitions and rights are two topics of the log, and where they no longer fit each other, what
// is known may be wrong, and what is not known may be there. kUnavailable, with the code of
// DirectoryFollower::Agreement(), or of `may_append`: where nothing may be appended to a partition,
// as its history is lost, what is left of it says nothing either. It may be empty.
[[nodiscard]] absl::Status MayTell(const RouteMatch& match, const eventlog::Log& log,
                                   const projectors::DirectoryFollower& directory,
                                   const std::function<absl::Status(PartitionId)>& may_append = {});

// Whether everything has been read that the log had of them at start: until then an organisation
// that is not known may be there all the same. As DirectoryFollower::CaughtUp().
[[nodiscard]] absl::Status CaughtUp(const RouteMatch& match, const eventlog::Log& log,
                                    const projectors::DirectoryFollower& directory);

}  // namespace sluice::gateways
