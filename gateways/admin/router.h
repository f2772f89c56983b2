#pragma once

#include <span>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "gateways/http/router.h"

namespace sluice::gateways {

// The requests that the admin listener answers; openapi.json describes the same ones.
enum class AdminRoute {
  kListOrgs,
  kPutOrg,
  kGetOrg,
  kDeleteOrg,
  kListEntities,
  kPutEntity,
  kGetEntity,
  kDeleteEntity,
  kListProfiles,
  kPutProfile,
  kGetProfile,
  kDeleteProfile,
  kListRoles,
  kPutRole,
  kGetRole,
  kDeleteRole,
  kIngest,
  kHealthz,
  kReadyz,
  kMetrics,
  kOpenApi,
};

using AdminRouteMatch = RouteMatch<AdminRoute>;

[[nodiscard]] std::span<const RouteInfo<AdminRoute>> AdminRoutes();

// `path` is as sent. kNotFound, code "not_found", for a path that is nobody's; kInvalidArgument,
// code "method_not_allowed", where only the method is wrong: `allow` then lists the right ones.
[[nodiscard]] absl::StatusOr<AdminRouteMatch> MatchRoute(std::string_view method,
                                                         std::string_view path, std::string* allow);

}  // namespace sluice::gateways
