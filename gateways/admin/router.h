#pragma once

#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "gateways/auth/authenticator.h"

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

struct RouteInfo {
  AdminRoute route;
  std::string_view method;
  std::string_view pattern;    // "/v1/orgs/{org}/entities/{name}"
  std::optional<Scope> scope;  // none: open to everybody
  std::string_view operation;  // OpenAPI's operationId, also the label in metrics
};

[[nodiscard]] std::span<const RouteInfo> AdminRoutes();

struct RouteMatch {
  const RouteInfo* info = nullptr;
  std::string org;   // the path's {org}, decoded, unchecked
  std::string name;  // the path's {name}, decoded, unchecked
};

// `path` is as sent: it is cut at '/' before its parts are decoded, so that no other spelling of a
// slash makes another path. kNotFound, code "not_found", for a path that is nobody's;
// kInvalidArgument, code "method_not_allowed", where only the method is wrong: `allow` then lists
// the right ones. HEAD is taken where GET is.
[[nodiscard]] absl::StatusOr<RouteMatch> MatchRoute(std::string_view method, std::string_view path,
                                                    std::string* allow);

}  // namespace sluice::gateways
