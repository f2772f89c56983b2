#include "gateways/admin/router.h"

namespace sluice::gateways {
namespace {

constexpr RouteInfo<AdminRoute> kRoutes[] = {
    {AdminRoute::kListOrgs, "GET", "/v1/orgs", Scope::kAdmin, "listOrgs"},
    {AdminRoute::kPutOrg, "PUT", "/v1/orgs/{org}", Scope::kAdmin, "putOrg"},
    {AdminRoute::kGetOrg, "GET", "/v1/orgs/{org}", Scope::kAdmin, "getOrg"},
    {AdminRoute::kDeleteOrg, "DELETE", "/v1/orgs/{org}", Scope::kAdmin, "deleteOrg"},
    {AdminRoute::kListDefinitions, "GET", "/v1/orgs/{org}/entities", Scope::kAdmin, "listEntities"},
    {AdminRoute::kPutDefinition, "PUT", "/v1/orgs/{org}/entities/{name}", Scope::kAdmin,
     "putEntity"},
    {AdminRoute::kGetDefinition, "GET", "/v1/orgs/{org}/entities/{name}", Scope::kAdmin,
     "getEntity"},
    {AdminRoute::kDeleteDefinition, "DELETE", "/v1/orgs/{org}/entities/{name}", Scope::kAdmin,
     "deleteEntity"},
    {AdminRoute::kListDefinitions, "GET", "/v1/orgs/{org}/profiles", Scope::kAdmin, "listProfiles"},
    {AdminRoute::kPutDefinition, "PUT", "/v1/orgs/{org}/profiles/{name}", Scope::kAdmin,
     "putProfile"},
    {AdminRoute::kGetDefinition, "GET", "/v1/orgs/{org}/profiles/{name}", Scope::kAdmin,
     "getProfile"},
    {AdminRoute::kDeleteDefinition, "DELETE", "/v1/orgs/{org}/profiles/{name}", Scope::kAdmin,
     "deleteProfile"},
    {AdminRoute::kListDefinitions, "GET", "/v1/orgs/{org}/roles", Scope::kAdmin, "listRoles"},
    {AdminRoute::kPutDefinition, "PUT", "/v1/orgs/{org}/roles/{name}", Scope::kAdmin, "putRole"},
    {AdminRoute::kGetDefinition, "GET", "/v1/orgs/{org}/roles/{name}", Scope::kAdmin, "getRole"},
    {AdminRoute::kDeleteDefinition, "DELETE", "/v1/orgs/{org}/roles/{name}", Scope::kAdmin,
     "deleteRole"},
    {AdminRoute::kIngest, "POST", "/v1/orgs/{org}/changes", Scope::kIngest, "postChanges"},
    {AdminRoute::kHealthz, "GET", "/healthz", std::nullopt, "getHealthz"},
    {AdminRoute::kReadyz, "GET", "/readyz", std::nullopt, "getReadyz"},
    {AdminRoute::kMetrics, "GET", "/metrics", Scope::kAdmin, "getMetrics"},
    {AdminRoute::kOpenApi, "GET", "/openapi.json", std::nullopt, "getOpenApi"},
};

}  // namespace

std::span<const RouteInfo<AdminRoute>> AdminRoutes() { return kRoutes; }

AdminRouteMatch MatchRoute(std::string_view method, std::string_view path) {
  return FindRoute(AdminRoutes(), method, path);
}

}  // namespace sluice::gateways
