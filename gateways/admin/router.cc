#include "gateways/admin/router.h"

#include <fmt/format.h>

#include "gateways/http/http_types.h"
#include "schemas/base/status.h"

namespace sluice::gateways {
namespace {

constexpr RouteInfo kRoutes[] = {
    {AdminRoute::kListOrgs, "GET", "/v1/orgs", Scope::kAdmin, "listOrgs"},
    {AdminRoute::kPutOrg, "PUT", "/v1/orgs/{org}", Scope::kAdmin, "putOrg"},
    {AdminRoute::kGetOrg, "GET", "/v1/orgs/{org}", Scope::kAdmin, "getOrg"},
    {AdminRoute::kDeleteOrg, "DELETE", "/v1/orgs/{org}", Scope::kAdmin, "deleteOrg"},
    {AdminRoute::kListEntities, "GET", "/v1/orgs/{org}/entities", Scope::kAdmin, "listEntities"},
    {AdminRoute::kPutEntity, "PUT", "/v1/orgs/{org}/entities/{name}", Scope::kAdmin, "putEntity"},
    {AdminRoute::kGetEntity, "GET", "/v1/orgs/{org}/entities/{name}", Scope::kAdmin, "getEntity"},
    {AdminRoute::kDeleteEntity, "DELETE", "/v1/orgs/{org}/entities/{name}", Scope::kAdmin,
     "deleteEntity"},
    {AdminRoute::kListProfiles, "GET", "/v1/orgs/{org}/profiles", Scope::kAdmin, "listProfiles"},
    {AdminRoute::kPutProfile, "PUT", "/v1/orgs/{org}/profiles/{name}", Scope::kAdmin, "putProfile"},
    {AdminRoute::kGetProfile, "GET", "/v1/orgs/{org}/profiles/{name}", Scope::kAdmin, "getProfile"},
    {AdminRoute::kDeleteProfile, "DELETE", "/v1/orgs/{org}/profiles/{name}", Scope::kAdmin,
     "deleteProfile"},
    {AdminRoute::kListRoles, "GET", "/v1/orgs/{org}/roles", Scope::kAdmin, "listRoles"},
    {AdminRoute::kPutRole, "PUT", "/v1/orgs/{org}/roles/{name}", Scope::kAdmin, "putRole"},
    {AdminRoute::kGetRole, "GET", "/v1/orgs/{org}/roles/{name}", Scope::kAdmin, "getRole"},
    {AdminRoute::kDeleteRole, "DELETE", "/v1/orgs/{org}/roles/{name}", Scope::kAdmin, "deleteRole"},
    {AdminRoute::kIngest, "POST", "/v1/orgs/{org}/changes", Scope::kIngest, "postChanges"},
    {AdminRoute::kHealthz, "GET", "/healthz", std::nullopt, "getHealthz"},
    {AdminRoute::kReadyz, "GET", "/readyz", std::nullopt, "getReadyz"},
    {AdminRoute::kMetrics, "GET", "/metrics", Scope::kAdmin, "getMetrics"},
    {AdminRoute::kOpenApi, "GET", "/openapi.json", std::nullopt, "getOpenApi"},
};

// Takes the next "/segment" off `path`, without its slash.
std::optional<std::string_view> NextSegment(std::string_view& path) {
  if (path.empty() || path.front() != '/') {
    return std::nullopt;
  }
  const size_t end = path.find('/', 1);
  const std::string_view segment =
      path.substr(1, end == std::string_view::npos ? std::string_view::npos : end - 1);
  path = end == std::string_view::npos ? std::string_view() : path.substr(end);
  return segment;
}

bool Matches(std::string_view pattern, std::string_view path, RouteMatch& match) {
  while (!pattern.empty() && !path.empty()) {
    const auto wanted = NextSegment(pattern);
    const auto given = NextSegment(path);
    if (!wanted.has_value() || !given.has_value()) {
      return false;
    }
    const auto decoded = PercentDecode(*given);
    if (!decoded.has_value()) {
      return false;
    }
    if (*wanted == "{org}" && !decoded->empty()) {
      match.org = *decoded;
    } else if (*wanted == "{name}" && !decoded->empty()) {
      match.name = *decoded;
    } else if (*wanted != *decoded) {
      return false;
    }
  }
  return pattern.empty() && path.empty();
}

}  // namespace

std::span<const RouteInfo> AdminRoutes() { return kRoutes; }

absl::StatusOr<RouteMatch> MatchRoute(std::string_view method, std::string_view path,
                                      std::string* allow) {
  allow->clear();
  for (const RouteInfo& route : kRoutes) {
    RouteMatch match;
    if (!Matches(route.pattern, path, match)) {
      continue;
    }
    if (route.method == method || (method == "HEAD" && route.method == "GET")) {
      match.info = &route;
      return match;
    }
    allow->append(allow->empty() ? "" : ", ");
    allow->append(route.method == "GET" ? "GET, HEAD" : route.method);
  }
  if (allow->empty()) {
    return Error(absl::StatusCode::kNotFound, "not_found",
                 "there is nothing at this path; /openapi.json lists what there is");
  }
  return Error(absl::StatusCode::kInvalidArgument, "method_not_allowed",
               fmt::format("{} is not possible here, but {}", method, *allow));
}

}  // namespace sluice::gateways
